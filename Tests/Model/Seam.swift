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

/// A few slots, next to each other: the model has no cache lines.
@usableFromInline enum ReaderSlot {
  @usableFromInline static let count = 3
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
