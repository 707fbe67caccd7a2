// The other side of the seam: what the production files of this folder (links to `Sources`) are
// compiled against when a model checker is to run them.
public import Interleave

public typealias MemoryOrder = Interleave.MemoryOrder
public typealias AtomicWord = ModelWord
public typealias AtomicWordPointer = UnsafeMutablePointer<AtomicWord>

@frozen public struct SpinWait: ~Copyable {
  public init() {}
  public mutating func turn(file: StaticString = #fileID, line: UInt = #line) {
    pause(file: file, line: line)
  }
}

/// The production lock is checked by itself (`LockModel`); here it is one that threads wait for
/// without spinning, which is what makes the engine small enough.
public struct SpinLock: ~Copyable, Sendable {
  private let word: ModelLock
  public init(file: StaticString = #fileID, line: UInt = #line) {
    word = ModelLock(name: "lock", file: file, line: line)
  }
  public borrowing func guards(_ hash: @escaping () -> UInt64) { word.guards(hash) }
  public borrowing func lock(file: StaticString = #fileID, line: UInt = #line) {
    word.lock(file: file, line: line)
  }
  public borrowing func unlock(file: StaticString = #fileID, line: UInt = #line) {
    word.unlock(file: file, line: line)
  }
  public borrowing func withLock<Result, Failure: Error>(
    file: StaticString = #fileID, line: UInt = #line, _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    lock(file: file, line: line)
    defer { unlock(file: file, line: line) }
    return try body()
  }
}

/// A few slots, next to each other: the model has no cache lines.
@usableFromInline enum ReaderSlot {
  @usableFromInline static let count = 4
  @usableFromInline static let stride = 1

  private static let owned = ModelThreadLocal(-1)

  @usableFromInline static var current: Int32 { Int32(owned.value) }
  static func assign(_ slot: Int32) { owned.value = Int(slot) }

  /// What the end of a thread does.
  static func release(in grace: GracePeriod) {
    guard current >= 0 else { return }
    grace.releaseSlot(current)
    assign(-1)
  }
}

@usableFromInline enum ExpeditedBarrier {
  static func register() -> Bool { true }
  @usableFromInline static func light() {}
  static func heavy(file: StaticString = #fileID, line: UInt = #line) {
    processFence(file: file, line: line)
  }
}
