// swift-tools-version: 6.2
import PackageDescription

// HugeArray beside what you would use without it. A package of its own, so that the library needs
// none of them.
let package = Package(
  name: "ArrayBenchmarks",
  dependencies: [
    .package(name: "HugeMemory", path: "../..", traits: []),
    .package(url: "https://github.com/apple/swift-collections", from: "1.1.0"),
  ],
  targets: [
    .executableTarget(
      name: "ArrayBenchmarks",
      dependencies: [
        .product(name: "HugeMemory", package: "HugeMemory"),
        .product(name: "Collections", package: "swift-collections"),
      ])
  ],
  swiftLanguageModes: [.v6]
)
