// The model checker's side of the seam. The production files of this directory (links to `Sources`)
// are compiled against it.
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

/// What the engine's spin-locked sections return: whether it was done, or the number of a frame.
public protocol Answer {
  var hash: UInt64 { get }
}
extension Bool: Answer {
  public var hash: UInt64 { self ? 1 : 0 }
}
extension FrameNumber: Answer {
  public var hash: UInt64 { UInt64(self) }
}
extension Optional: Answer where Wrapped == FrameNumber {
  public var hash: UInt64 { self?.hash ?? .max }
}

/// The production lock is checked by itself (`LockModel`). Here threads wait for the lock without
/// spinning, which makes the engine small enough to explore.
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
  /// A section that returns an answer leaves nothing else to the thread.
  public borrowing func withLock<Result: Answer, Failure: Error>(
    file: StaticString = #fileID, line: UInt = #line, _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try keepingOnlyResult(\.hash) { () throws(Failure) in try section(file, line, body) }
  }
  public borrowing func withLock<Result, Failure: Error>(
    file: StaticString = #fileID, line: UInt = #line, _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try section(file, line, body)
  }
  private borrowing func section<Result, Failure: Error>(
    _ file: StaticString, _ line: UInt, _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    lock(file: file, line: line)
    defer { unlock(file: file, line: line) }
    return try body()
  }
}

/// A few adjacent slots. The model has no cache lines.
@usableFromInline enum ReaderSlot {
  /// One for each thread of a scenario and one for the set-up. With a memory file there are more words
  /// of other kinds, and two threads.
  @usableFromInline static var count: Int { memoryFile == nil ? 4 : 3 }
  @usableFromInline static let stride = 1

  private static let owned = ModelThreadLocal(-1)

  @usableFromInline static var current: Int32 { Int32(owned.value) }
  static func assign(_ slot: Int32) { owned.value = Int(slot) }

  /// Releases the running thread's slot, as the end of a thread does.
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
