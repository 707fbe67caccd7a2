import Foundation
import Synchronization
import Primitives
import Testing

@testable import HugeMemory

let kib: UInt64 = 1 << 10
let page: UInt64 = 4 << 10
let mib: UInt64 = 1 << 20
let slot: UInt64 = 2 << 20
let gib: UInt64 = 1 << 30

extension Policy {
  init(huge: Bool = true, zero: Bool = true, reference: ZeroReference = .perTable) {
    self = .linux
    enabled = huge ? .always : .never
    useZeroPage = zero
    zeroReference = reference
  }
}

extension Machine {
  /// The machine for tests. It pages as Linux does and has no background, so nothing happens but
  /// what the test does, and counts are exact. This replaces the library's initializer.
  convenience init(
    limit: UInt64, capacity: UInt64? = nil, policy: Policy = .linux
  ) throws(MemoryError) {
    try self.init(limit: limit, capacity: capacity, policy: policy, background: .none)
  }
}

extension AddressSpace {
  func write(_ bytes: [UInt8], at offset: UInt64) throws {
    try unsafe bytes.withUnsafeBytes { try unsafe write(at: offset, from: $0) }
  }

  /// `count` bytes of one value.
  func fill(_ value: UInt8, at offset: UInt64, count: UInt64) throws {
    try write([UInt8](repeating: value, count: Int(count)), at: offset)
  }

  func bytes(at offset: UInt64, count: UInt64) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0xaa, count: Int(count))
    try unsafe bytes.withUnsafeMutableBytes { try unsafe read(at: offset, into: $0) }
    return bytes
  }

  func byte(at offset: UInt64) throws -> UInt8 { try bytes(at: offset, count: 1)[0] }

  func extents(at offset: UInt64 = 0, length: UInt64? = nil) throws -> [Extent] {
    var found: [Extent] = []
    try walk(at: offset, length: length ?? size - offset) {
      found.append($0)
      return true
    }
    return found
  }
}

/// Starts a thread of its own, which may hold a section or block. After `join` the thread has ended
/// and holds no object any more.
func startThread(_ body: @escaping @Sendable () -> Void) -> WorkerThread { WorkerThread(body)! }

/// Runs `body(index)` on `count` threads and waits for all of them.
func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
  let threads = (0..<count).map { index in startThread { body(index) } }
  for thread in threads { thread.join() }
}
