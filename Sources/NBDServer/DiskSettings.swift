import HugeMemory
import Primitives
import Synchronization

/// What can change about a disk while clients use it. Each request looks at it once.
///
/// - Thread safety: you may call every method on any thread.
public final class DiskSettings: Sendable {
  /// (A) In bytes.
  private let bytes: AtomicWord
  /// (A) In bytes: the largest size before the disk became smaller; 0 if it never did.
  private let former = AtomicWord(0)
  /// (A) 1 if clients may not change the disk.
  private let protection: AtomicWord

  /// (A) 1 while a reset changes contents and size.
  private let resetting = AtomicWord(0)

  /// (C) The size that a reset restores.
  let original: UInt64
  private let resizing = Lock()
  /// What the disk is called in the directory of a memory file, and where its record is; nil if the disk
  /// ends with the process. Changed under the lock of the registry.
  let record = Mutex<(id: UInt64, slot: Int)?>(nil)

  /// What people call the disk. Also changed under the lock of the registry.
  private let labels: Mutex<(name: String, description: String)>

  init(name: String, size: UInt64, original: UInt64? = nil, _ options: DiskOptions) {
    labels = Mutex((name, options.description ?? ""))
    protection = AtomicWord(options.isReadOnly == true ? 1 : 0)
    bytes = AtomicWord(size)
    self.original = original ?? size
  }

  /// The disk's name now.
  public internal(set) var name: String {
    get { labels.withLock { $0.name } }
    set { labels.withLock { $0.name = newValue } }
  }

  /// A line about the disk, for people; empty if nobody gave it one.
  public internal(set) var description: String {
    get { labels.withLock { $0.description } }
    set { labels.withLock { $0.description = newValue } }
  }

  /// In bytes.
  public var size: UInt64 { bytes.load(.relaxed) }

  /// The size before the disk became smaller, in bytes; 0 if it never did.
  var formerSize: UInt64 { former.load(.relaxed) }

  /// Changes the size, up to that of the space. What is cut off is gone: a disk that grows gets zeros.
  /// (A write that another client began before the disk was cut may end after that. So the range is
  /// cleared before the disk grows, too.)
  ///
  /// `record` makes the new size outlive the process. What is cut off goes after that, and what is new is
  /// cleared before: a process that ends in between leaves the old disk or the new one. Only a disk that
  /// grows can fail, and stays as it was.
  func resize(
    to size: UInt64, _ space: AddressSpace, _ quota: DiskQuota, _ late: (any LateContents)?,
    record: () -> Void
  ) throws(MemoryError) {
    try resizing.withLock { () throws(MemoryError) in
      let old = self.size
      let end = min((max(old, size) + 4095) & ~4095, space.size)
      let low = min(old, size)
      if low < end {
        do throws(LateError) { try late?.bringEdges(of: low..<end, of: space) } catch {
          switch error {
          case .noMemory(let limit): throw .outOfMemory(limit: limit)
          case .unreadable: throw .system(call: "to read the checkpoint", errno: 5)
          }
        }
      }
      if size < old {
        if old > formerSize { former.store(old, .relaxed) }
        bytes.store(size, .relaxed)
        record()
        // Nobody can see what is cut off, and it is cleared before the disk grows. So it only takes memory,
        // if there is none for a table that a fork shares.
        if size < end { try? quota.discard(space, at: size, length: end - size) }
      } else {
        if old < end { try quota.discard(space, at: old, length: end - old) }
        guard size > old else { return }
        bytes.store(size, .relaxed)
        record()
      }
    }
  }

  /// After a reset: a fork has the size again that it was made with.
  func restoreSize() { resizing.withLock { bytes.store(original, .relaxed) } }

  /// Whether a reset is changing contents and size. Recorded before it does, so that a process that ends in
  /// between leaves no half of it.
  var isResetting: Bool {
    get { resetting.load(.relaxed) != 0 }
    set { resetting.store(newValue ? 1 : 0, .relaxed) }
  }

  /// Whether clients may not change the disk.
  public internal(set) var isReadOnly: Bool {
    get { protection.load(.relaxed) != 0 }
    set { protection.store(newValue ? 1 : 0, .relaxed) }
  }

  /// Gives clients that are still connected errors from now on. For a disk that is gone.
  func end() { bytes.store(0, .relaxed) }
}

/// What can be chosen for a disk beside its size and its limits. Nil leaves it as it is.
public struct DiskOptions: Codable, Sendable, Equatable {
  /// Whether clients may only read it.
  public var isReadOnly: Bool?
  /// A line for people. Clients see it too.
  public var description: String?
  public init(isReadOnly: Bool? = nil, description: String? = nil) {
    self.isReadOnly = isReadOnly
    self.description = description
  }

  /// In bytes. A list names 32 disks at a time, so this bounds what a client that does not read holds.
  static let longestDescription = 255

  package func check() throws(DiskError) {
    guard let description else { return }
    guard description.utf8.count <= Self.longestDescription else {
      throw .invalidDescription("is longer than \(Self.longestDescription) bytes")
    }
    guard description.unicodeScalars.allSatisfy({ $0.properties.generalCategory != .control })
    else { throw .invalidDescription("has control characters, such as a line break") }
  }
}
