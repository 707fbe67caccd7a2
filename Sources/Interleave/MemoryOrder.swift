/// The memory orders of C11. The methods of `ModelWord` take one as an argument, in the same place
/// as the methods of the production code's own atomics.
@frozen public enum MemoryOrder: Hashable, Sendable {
  /// Orders nothing but the accesses to this one location.
  case relaxed
  /// A load that sees a release store sees all that came before that store.
  case acquire
  /// All that came before this store is seen by an acquire load that sees the store.
  case release
  /// Both, for an operation that loads and stores.
  case acquireRelease
  /// Both, and all sequential operations have one order.
  case sequential

  @inline(__always) var acquires: Bool {
    self == .acquire || self == .acquireRelease || self == .sequential
  }
  @inline(__always) var releases: Bool {
    self == .release || self == .acquireRelease || self == .sequential
  }
  /// The order of a compare-and-swap that does not swap.
  @inline(__always) var ofFailure: MemoryOrder {
    switch self {
    case .relaxed, .release: .relaxed
    case .acquire, .acquireRelease: .acquire
    case .sequential: .sequential
    }
  }
}

/// A place in the source under test, for traces.
package struct Site: Sendable {
  var file: StaticString
  var line: UInt

  package init(file: StaticString, line: UInt) {
    self.file = file
    self.line = line
  }

  /// The file's name without its directories and module.
  var fileName: String {
    let path = "\(file)"
    return path.split(separator: "/").last.map(String.init) ?? path
  }

  package var description: String { "\(fileName):\(line)" }
}
