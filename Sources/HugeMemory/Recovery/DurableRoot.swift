import Paging
import Primitives

// The model checker's build replaces this file.

/// The word in a memory file that holds the root of a space.
@safe package final class DurableRoot: @unchecked Sendable {
  // Sendable: the pointer is constant, and the word atomic.

  /// (A)
  private let word: AtomicWordPointer
  /// Which of the file's words it is.
  package let number: Int
  private let end: @Sendable () -> Void

  /// `end` is called when the word is no longer in use: when the space is gone, with all that its root
  /// named.
  package init(
    _ word: UnsafeMutableRawPointer, number: Int = 0, end: @escaping @Sendable () -> Void = {}
  ) {
    self.number = number
    unsafe self.word = word.assumingMemoryBound(to: AtomicWord.self)
    self.end = end
  }

  deinit { end() }

  /// What a recovery finds.
  func load() -> UInt64 { unsafe word.pointee.load(.relaxed) }

  /// `release` pairs with nothing but the end of the process: what the root names was stored before.
  func store(_ entry: Entry) { unsafe word.pointee.store(entry.raw, .release) }
}
