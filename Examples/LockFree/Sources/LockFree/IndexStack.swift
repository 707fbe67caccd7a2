#if INTERLEAVE
  import InterleaveSynchronization
#else
  import Synchronization
#endif

/// A stack of the indices 0 ..< capacity without a lock (Treiber 1986). It is what is left of a pool:
/// `pop` allocates an index, and `push` gives it back.
///
/// ```
///   top ──▶ (index 2, tag 7)
///                 │ next[2]
///                 ▼
///                 0 ──▶ 3 ──▶ none
/// ```
///
/// `pop` reads the top index and what is below it, and then swaps the top. In between, others can pop
/// both indices and push the first one back. Then the top is the same as before, but what is below it
/// is not: the swap would put an index on the stack that somebody uses. This is the ABA problem. The
/// tag prevents it, because every swap raises it.
///
/// - Thread safety: all methods may be called by any thread.
public final class IndexStack<Tags: TagPolicy>: Sendable {
  /// The first word is 1 + the top index, or 0. The second is the tag.
  private let top: Atomic<WordPair>
  private let nodes: [Node]

  /// 1 + the index below, or 0. Atomic, because a `pop` that will fail may read it while its new owner
  /// writes it.
  private final class Node: Sendable {
    let next: Atomic<UInt>
    init(next: UInt) { self.next = Atomic(next) }
  }

  /// Makes a stack of all indices, with 0 on top.
  public init(capacity: Int) {
    precondition(capacity > 0)
    nodes = (1...capacity).map { Node(next: $0 < capacity ? UInt($0 + 1) : 0) }
    top = Atomic(WordPair(first: 1, second: 0))
  }

  /// Takes the top index. Returns nil if the stack is empty.
  public func pop() -> Int? {
    var old = top.load(ordering: .acquiring)
    while old.first != 0 {
      // Relaxed is enough: the acquire of `old` orders it after the push of this index.
      let next = nodes[Int(old.first) - 1].next.load(ordering: .relaxed)
      let (exchanged, found) = top.compareExchange(
        expected: old, desired: WordPair(first: next, second: Tags.tag(after: old.second)),
        ordering: .acquiring)
      if exchanged { return Int(old.first) - 1 }
      old = found
    }
    return nil
  }

  /// Puts an index on top. It must not be on the stack.
  public func push(_ index: Int) {
    var old = top.load(ordering: .relaxed)
    while true {
      nodes[index].next.store(old.first, ordering: .relaxed)
      // Releases for the acquires in `pop`: `next`, and what the owner of the index did.
      let (exchanged, found) = top.compareExchange(
        expected: old,
        desired: WordPair(first: UInt(index) + 1, second: Tags.tag(after: old.second)),
        successOrdering: .releasing, failureOrdering: .relaxed)
      if exchanged { return }
      old = found
    }
  }
}

/// How the tag changes when the top is swapped.
public protocol TagPolicy: Sendable { static func tag(after tag: UInt) -> UInt }

/// A new tag for every swap. It comes back after 2⁶⁴ swaps.
public enum Tagged: TagPolicy { public static func tag(after tag: UInt) -> UInt { tag &+ 1 } }

/// The planted bug: always the same tag.
public enum Untagged: TagPolicy { public static func tag(after tag: UInt) -> UInt { tag } }
