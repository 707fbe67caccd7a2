import Primitives

/// What can change about a disk while clients use it. Each request looks at it once.
///
/// - Thread safety: you may call every method on any thread.
public final class DiskSettings: Sendable {
  /// (A) In bytes.
  private let bytes: AtomicWord
  /// (A) 1 if clients may not change the disk.
  private let protection = AtomicWord(0)

  init(size: UInt64) { bytes = AtomicWord(size) }

  /// In bytes.
  public var size: UInt64 { bytes.load(.relaxed) }

  /// Whether clients may not change the disk.
  public internal(set) var isReadOnly: Bool {
    get { protection.load(.relaxed) != 0 }
    set { protection.store(newValue ? 1 : 0, .relaxed) }
  }
}
