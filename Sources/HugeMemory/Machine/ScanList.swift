import Primitives

/// The spaces of a machine that have tables, for scanners to go through; the kernel's list of
/// `mm_slot`. A space is added with its first table, so idle forks are not here.
final class ScanList: @unchecked Sendable {
  // Sendable: (L) under `lock`, which is taken last of all and holds nothing up.
  private struct Weak { weak var space: AddressSpace? }

  private let lock = Lock()
  private var spaces: [Weak] = []

  func add(_ space: AddressSpace) {
    lock.withLock {
      // Spaces come and go; the list does not grow with those that went.
      if spaces.count == spaces.capacity { spaces.removeAll { $0.space == nil } }
      spaces.append(Weak(space: space))
    }
  }

  /// Those that are alive now.
  var alive: [AddressSpace] { lock.withLock { spaces.compactMap(\.space) } }

  /// The first that is alive from a position on, and its position; nil at the end.
  func first(from position: Int) -> (space: AddressSpace, position: Int)? {
    lock.withLock {
      for index in min(position, spaces.count)..<spaces.count {
        if let space = spaces[index].space { return (space, index) }
      }
      return nil
    }
  }
}
