/// The memory orders of C11. `ModelWord` takes them as an argument, in the order that
/// production code passes them to its own atomics.
@frozen public enum MemoryOrder: Hashable, Sendable {
  case relaxed, acquire, release, acquireRelease, sequential

  @inline(__always) var acquires: Bool {
    self == .acquire || self == .acquireRelease || self == .sequential
  }
  @inline(__always) var releases: Bool {
    self == .release || self == .acquireRelease || self == .sequential
  }
  /// What is left of the order of a compare-and-swap that does not swap.
  @inline(__always) var ofFailure: MemoryOrder {
    switch self {
    case .relaxed, .release: .relaxed
    case .acquire, .acquireRelease: .acquire
    case .sequential: .sequential
    }
  }
}

/// A place in the source that is checked, for traces.
struct Site: Sendable {
  var file: StaticString
  var line: UInt

  /// Without its folders and module.
  var fileName: String {
    let path = "\(file)"
    return path.split(separator: "/").last.map(String.init) ?? path
  }

  var description: String { "\(fileName):\(line)" }
}
