// swift-tools-version: 6.2
import PackageDescription

// The data structures are compiled twice: for programs, against Synchronization, and for the model
// checker, against what stands in for it. Two targets cannot share a path, so the sources of the
// second are links.
let package = Package(
  name: "LockFree",
  products: [.library(name: "LockFree", targets: ["LockFree"])],
  dependencies: [.package(name: "HugeMemory", path: "../..")],
  targets: [
    .target(name: "LockFree"),
    .testTarget(name: "LockFreeTests", dependencies: ["LockFree"]),
    .target(
      name: "LockFreeModel",
      dependencies: [.product(name: "Interleave", package: "HugeMemory")],
      path: "Model/LockFree", swiftSettings: [.define("INTERLEAVE")]),
    .testTarget(
      name: "ModelTests",
      dependencies: ["LockFreeModel", .product(name: "Interleave", package: "HugeMemory")]),
  ],
  swiftLanguageModes: [.v6]
)
