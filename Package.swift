// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [.strictMemorySafety(), .treatAllWarnings(as: .error)]

// One target a layer: the compiler keeps the arrows of the design pointing down.
let package = Package(
  name: "HugeMemory",
  products: [
    .library(name: "HugeMemory", targets: ["HugeMemory", "HugeArrays"]),
    .library(name: "HugeZeroPage", targets: ["HugeZeroPage"]),
    .library(name: "Interleave", targets: ["Interleave", "InterleaveSynchronization"]),
    .library(name: "MemoryPressure", targets: ["MemoryPressure"]),
    .library(name: "HugememClient", targets: ["HugememClient"]),
    .executable(name: "hugemem", targets: ["hugemem"]),
  ],
  traits: [
    .default(enabledTraits: ["Server"]),
    .trait(name: "Server", description: "The server and its client."),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.80.0"),
    .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
  ],
  targets: [
    .target(name: "CLinux"),
    .target(name: "Primitives", dependencies: ["CLinux"], swiftSettings: settings),
    .target(name: "Frames", dependencies: ["Primitives", "CLinux"], swiftSettings: settings),
    .target(name: "HugeZeroPage", dependencies: ["Primitives"], swiftSettings: settings),
    .target(
      name: "GracePeriods", dependencies: ["Primitives", "CLinux"], swiftSettings: settings),
    .target(name: "Paging", dependencies: ["Frames"], swiftSettings: settings),
    .target(
      name: "HugeMemory",
      dependencies: ["MemoryPressure", "Paging", "GracePeriods", "HugeZeroPage"],
      swiftSettings: settings),
    .target(
      name: "HugeArrays", dependencies: ["HugeMemory", "Primitives"],
      // A span that a method returns needs the feature.
      swiftSettings: settings + [.enableExperimentalFeature("Lifetimes")]),
    .testTarget(
      name: "HugeArraysTests", dependencies: ["HugeArrays", "HugeMemory", "Frames", "Primitives"],
      swiftSettings: settings),
    .target(
      name: "MemoryPressure", dependencies: ["Primitives", "CLinux"], swiftSettings: settings),
    // Memory that outlives the server. The engine knows nothing of it.
    .target(
      name: "MemoryFiles",
      dependencies: [
        "CLinux", "Primitives",
        .product(name: "Logging", package: "swift-log", condition: .when(traits: ["Server"])),
      ],
      swiftSettings: settings),
    .testTarget(
      name: "MemoryFilesTests",
      dependencies: [
        "MemoryFiles", "CLinux", "Primitives",
        .product(name: "Logging", package: "swift-log", condition: .when(traits: ["Server"])),
      ],
      swiftSettings: settings),
    .target(name: "Benchmarks", dependencies: ["HugeMemory", "CLinux"], swiftSettings: settings),
    .target(name: "NBD", swiftSettings: settings),
    // Only the server uses it. The library products are free of it (scripts/dependencies).
    .systemLibrary(
      name: "CGnuTLS", pkgConfig: "gnutls", providers: [.apt(["libgnutls28-dev"])]),
    .target(
      name: "TLS", dependencies: ["CGnuTLS", "CLinux", "Primitives"], swiftSettings: settings),
    .target(
      name: "DiskDirectory", dependencies: ["HugeMemory", "Frames", "Primitives", "CLinux"],
      swiftSettings: settings),
    .target(
      name: "NBDServer",
      dependencies: [
        "CLinux", "DiskDirectory", "HugeMemory", "NBD", "TLS",
        .product(name: "Logging", package: "swift-log", condition: .when(traits: ["Server"])),
      ],
      swiftSettings: settings),
    .target(
      name: "Checkpoints",
      dependencies: ["HugeMemory", "Paging", "Frames", "Primitives", "CLinux"],
      swiftSettings: settings),
    .target(
      name: "ControlPlane", dependencies: ["NBDServer", "Checkpoints"], swiftSettings: settings),
    .target(
      name: "HTTPCodec",
      dependencies: [
        .product(name: "NIOCore", package: "swift-nio", condition: .when(traits: ["Server"])),
        .product(name: "NIOEmbedded", package: "swift-nio", condition: .when(traits: ["Server"])),
      ],
      swiftSettings: settings),
    .target(
      name: "HTTPAPI",
      dependencies: [
        "CLinux", "Checkpoints", "ControlPlane", "HTTPCodec",
        .product(name: "NIOCore", package: "swift-nio", condition: .when(traits: ["Server"])),
        .product(name: "NIOHTTP1", package: "swift-nio", condition: .when(traits: ["Server"])),
      ],
      resources: [.embedInCode("Resources/openapi.json"), .embedInCode("Resources/index.html")],
      swiftSettings: settings),
    // A client of that, for other programs.
    .target(
      name: "HugememClient",
      dependencies: [
        "CLinux", "HTTPCodec",
        .product(name: "NIOCore", package: "swift-nio", condition: .when(traits: ["Server"])),
        .product(name: "NIOHTTP1", package: "swift-nio", condition: .when(traits: ["Server"])),
      ],
      swiftSettings: settings),
    .testTarget(
      name: "HugememClientTests",
      dependencies: ["HugememClient", "HTTPAPI", "ControlPlane", "HugeMemory"],
      swiftSettings: settings),
    .executableTarget(
      name: "hugemem",
      dependencies: [
        "Benchmarks", "CLinux", "Checkpoints", "ControlPlane", "HTTPAPI", "HugememClient",
        "MemoryFiles", "MemoryPressure", "NBD",
        "Primitives",
        "TLS",
        .product(
          name: "ArgumentParser", package: "swift-argument-parser",
          condition: .when(traits: ["Server"])),
        .product(name: "TOMLKit", package: "TOMLKit", condition: .when(traits: ["Server"])),
      ],
      swiftSettings: settings),
    .target(name: "CFiber"),
    .target(name: "Interleave", dependencies: ["CFiber"], swiftSettings: settings),
    // Stands in for `Synchronization`, so that other packages can check their own sources.
    .target(
      name: "InterleaveSynchronization", dependencies: ["Interleave"], swiftSettings: settings),
    .testTarget(
      name: "InterleaveTests",
      dependencies: [
        "Interleave", "InterleaveSynchronization", "ModelSynchronization", "RealSynchronization",
      ],
      swiftSettings: settings),
    // One file, compiled against `Synchronization` and against what stands in for it.
    .target(
      name: "RealSynchronization", path: "Tests/RealSynchronization", swiftSettings: settings),
    .target(
      name: "ModelSynchronization", dependencies: ["InterleaveSynchronization"],
      path: "Tests/ModelSynchronization", swiftSettings: settings + [.define("INTERLEAVE")]),
    // Production files, compiled against the checker's atomics.
    .target(
      name: "ProtocolsModel", dependencies: ["Interleave", "HugeMemory"], path: "Tests/Model",
      swiftSettings: [.define("INTERLEAVE")]),
    .target(
      name: "LockModel", dependencies: ["Interleave"], path: "Tests/LockModel",
      swiftSettings: [.define("INTERLEAVE")]),
    // Those of the live patch (GPL-2.0-only, so for tests alone), and the kernel that they import.
    .target(name: "Linux", dependencies: ["Interleave"], path: "Tests/LinuxModel"),
    .target(
      name: "KernelModel", dependencies: ["Interleave", "Linux", "HugeZeroPage"],
      path: "Tests/KernelModel", swiftSettings: [.define("INTERLEAVE")]),
    .testTarget(
      name: "ProtocolTests",
      dependencies: ["LockModel", "ProtocolsModel", "KernelModel", "Linux", "Interleave"],
      swiftSettings: settings),
    .testTarget(name: "PrimitivesTests", dependencies: ["Primitives"], swiftSettings: settings),
    .testTarget(
      name: "HugeZeroPageTests", dependencies: ["HugeZeroPage", "Primitives"],
      swiftSettings: settings),
    .testTarget(
      name: "FramesTests", dependencies: ["CLinux", "Frames", "Primitives"], swiftSettings: settings
    ),
    .testTarget(
      name: "GracePeriodsTests", dependencies: ["GracePeriods"], swiftSettings: settings),
    .testTarget(
      name: "MemoryPressureTests", dependencies: ["MemoryPressure", "Primitives"],
      swiftSettings: settings),
    .testTarget(name: "PagingTests", dependencies: ["Paging"], swiftSettings: settings),
    .testTarget(
      name: "HugeMemoryTests",
      dependencies: ["HugeMemory", "Paging", "Frames", "CLinux", "MemoryPressure"],
      swiftSettings: settings),
    // The kernel that this runs on, as what the engine is compared with.
    .target(name: "CKernelOracle", path: "Tests/CKernelOracle"),
    .testTarget(
      name: "KernelOracleTests", dependencies: ["HugeMemory", "Paging", "Frames", "CKernelOracle"],
      swiftSettings: settings),
    .testTarget(name: "NBDTests", dependencies: ["NBD"], swiftSettings: settings),
    .testTarget(
      name: "DiskDirectoryTests", dependencies: ["DiskDirectory", "CLinux"],
      swiftSettings: settings),
    .testTarget(
      name: "ServerTests", dependencies: ["CLinux", "ControlPlane"], swiftSettings: settings),
  ],
  swiftLanguageModes: [.v6]
)
