// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "Sparse",
  dependencies: [.package(name: "HugeMemory", path: "../..", traits: [])],
  targets: [
    .executableTarget(
      name: "Sparse", dependencies: [.product(name: "HugeMemory", package: "HugeMemory")])
  ]
)
