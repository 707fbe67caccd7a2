// swift-tools-version: 6.2
import PackageDescription

// Builds the engine and its stress tests for `swift test --sanitize=thread`: see scripts/tsan. This
// is a package of its own because the compiler crashes on the server's targets with that option.
let settings: [SwiftSetting] = [.define("THREAD_SANITIZER")]

let package = Package(
  name: "ThreadSanitizer",
  targets: [
    .target(name: "CLinux"),
    .target(name: "Primitives", dependencies: ["CLinux"], swiftSettings: settings),
    .target(name: "HugeZeroPage", dependencies: ["Primitives"]),
    .target(name: "Frames", dependencies: ["Primitives", "CLinux"]),
    .target(name: "GracePeriods", dependencies: ["Primitives", "CLinux"]),
    .target(name: "Paging", dependencies: ["Frames"]),
    .target(name: "MemoryPressure", dependencies: ["Primitives", "CLinux"]),
    .target(
      name: "HugeMemory",
      dependencies: ["MemoryPressure", "Paging", "GracePeriods", "HugeZeroPage"]),
    .target(
      name: "HugeArrays", dependencies: ["HugeMemory", "Primitives"],
      swiftSettings: [.enableExperimentalFeature("Lifetimes")]),
    .testTarget(
      name: "HugeArraysTests", dependencies: ["HugeArrays", "HugeMemory", "Frames", "Primitives"]),
    .testTarget(name: "PrimitivesTests", dependencies: ["Primitives"]),
    .testTarget(name: "HugeZeroPageTests", dependencies: ["HugeZeroPage", "Primitives"]),
    .testTarget(name: "FramesTests", dependencies: ["CLinux", "Frames", "Primitives"]),
    .testTarget(name: "GracePeriodsTests", dependencies: ["GracePeriods"]),
    .testTarget(
      name: "HugeMemoryTests",
      dependencies: ["HugeMemory", "MemoryPressure", "Paging", "Frames", "CLinux"]),
  ],
  swiftLanguageModes: [.v6]
)
