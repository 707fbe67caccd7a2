import HugeMemory
import Primitives

/// What can change about a disk while clients use it. Each request looks at it once.
///
/// - Thread safety: you may call every method on any thread.
public final class DiskSettings: Sendable {
  /// (A) In bytes.
  private let bytes: AtomicWord
  /// (A) 1 if clients may not change the disk.
  private let protection = AtomicWord(0)

  /// (C) The size that a reset restores.
  private let original: UInt64
  private let resizing = Lock()

  init(size: UInt64) {
    bytes = AtomicWord(size)
    original = size
  }

  /// In bytes.
  public var size: UInt64 { bytes.load(.relaxed) }

  /// Changes the size, up to that of the space. What is cut off is gone: a disk that grows gets zeros.
  /// (A write that another client began before the disk was cut may end after that. So the range is
  /// cleared before the disk grows, too.)
  func resize(
    to size: UInt64, _ space: AddressSpace, _ quota: DiskQuota
  ) throws(MemoryError) {
    try resizing.withLock { () throws(MemoryError) in
      let old = self.size
      let (low, high) = (min(old, size), max(old, size))
      if size < old { bytes.store(size, .relaxed) }
      let end = min((high + 4095) & ~4095, space.size)
      if low < end { try quota.discard(space, at: low, length: end - low) }
      if size > old { bytes.store(size, .relaxed) }
    }
  }

  /// After a reset: a fork has the size again that it was made with.
  func restoreSize() { resizing.withLock { bytes.store(original, .relaxed) } }

  /// Whether clients may not change the disk.
  public internal(set) var isReadOnly: Bool {
    get { protection.load(.relaxed) != 0 }
    set { protection.store(newValue ? 1 : 0, .relaxed) }
  }
}
