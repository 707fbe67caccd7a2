// The production spin lock against the checker's atomics, in a module of its own: in
// `ProtocolsModel` that name is a `ModelLock`, which is what this one is checked to be.
public import Interleave

public typealias AtomicWord = ModelWord

@frozen public struct SpinWait: ~Copyable {
  public init() {}
  public mutating func turn(file: StaticString = #fileID, line: UInt = #line) {
    pause(file: file, line: line)
  }
}
