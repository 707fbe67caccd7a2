// swift-tools-version: 6.2
import PackageDescription

// Builds the library, the model checker and the tests of both with an optimizer: see `make interleave`. This
// is a package of its own because `swift test` builds all of a package, and the server takes minutes.
let lifetimes: [SwiftSetting] = [.enableExperimentalFeature("Lifetimes")]
// Fibres run one at a time, so nothing is lost with these checks, and they take a quarter of the time. The tests of
// the main package make them.
let unchecked: SwiftSetting = .unsafeFlags(["-enforce-exclusivity=unchecked"])
let model: [SwiftSetting] = [.define("INTERLEAVE"), unchecked]

let package = Package(
  name: "Optimized",
  targets: [
    .target(name: "CLinux"),
    .target(name: "CFiber"),
    .target(name: "Primitives", dependencies: ["CLinux"]),
    .target(name: "HugeZeroPage", dependencies: ["Primitives"]),
    .target(name: "Frames", dependencies: ["Primitives", "CLinux"]),
    .target(name: "GracePeriods", dependencies: ["Primitives", "CLinux"]),
    .target(name: "Paging", dependencies: ["Frames"]),
    .target(name: "MemoryPressure", dependencies: ["Primitives", "CLinux"]),
    .target(
      name: "HugeMemory",
      dependencies: ["MemoryPressure", "Paging", "GracePeriods", "HugeZeroPage"]),
    .target(
      name: "HugeArrays", dependencies: ["HugeMemory", "Primitives"], swiftSettings: lifetimes),
    .testTarget(
      name: "HugeArraysTests", dependencies: ["HugeArrays", "HugeMemory", "Frames", "Primitives"]),
    .target(name: "Interleave", dependencies: ["CFiber"], swiftSettings: [unchecked]),
    .target(
      name: "InterleaveSynchronization", dependencies: ["Interleave"], swiftSettings: [unchecked]),
    .target(name: "RealSynchronization", path: "Tests/RealSynchronization"),
    .target(
      name: "ModelSynchronization", dependencies: ["InterleaveSynchronization"],
      path: "Tests/ModelSynchronization", swiftSettings: model),
    .testTarget(
      name: "InterleaveTests",
      dependencies: [
        "Interleave", "InterleaveSynchronization", "ModelSynchronization", "RealSynchronization",
      ]),
    .target(
      name: "ProtocolsModel", dependencies: ["Interleave", "HugeMemory"], path: "Tests/Model",
      swiftSettings: model),
    .target(
      name: "LockModel", dependencies: ["Interleave"], path: "Tests/LockModel",
      swiftSettings: model),
    .target(name: "Linux", dependencies: ["Interleave"], path: "Tests/LinuxModel"),
    .target(
      name: "KernelModel", dependencies: ["Interleave", "Linux", "HugeZeroPage"],
      path: "Tests/KernelModel", swiftSettings: model),
    .testTarget(
      name: "ProtocolTests",
      dependencies: ["LockModel", "ProtocolsModel", "KernelModel", "Linux", "Interleave"]),
  ],
  swiftLanguageModes: [.v6]
)
