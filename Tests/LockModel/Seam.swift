// The production spin lock, compiled against the checker's atomics. It has a module of its own
// because in `ProtocolsModel` a `ModelLock` stands in for it. The tests here show that it may.
public import Interleave

public typealias AtomicWord = ModelWord

@frozen public struct SpinWait: ~Copyable {
  public init() {}
  public mutating func turn(file: StaticString = #fileID, line: UInt = #line) {
    pause(file: file, line: line)
  }
}
