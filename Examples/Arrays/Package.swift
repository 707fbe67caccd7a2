// swift-tools-version: 6.2
import PackageDescription

// What HugeArray is for, one program each: `swift run -c release Rollback`.
let names = ["Rollback", "Undo", "Histogram", "Snapshots", "ParallelFill"]

let package = Package(
  name: "Arrays",
  // Without the traits of the package you get the library alone, and none of the server's packages.
  dependencies: [.package(name: "HugeMemory", path: "../..", traits: [])],
  targets: names.map {
    .executableTarget(
      name: $0, dependencies: [.product(name: "HugeMemory", package: "HugeMemory")])
  },
  swiftLanguageModes: [.v6]
)
