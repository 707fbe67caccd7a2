public import HugeMemory

/// The server's memory as a whole, in bytes.
public struct MemoryStatus: Codable, Sendable, Equatable {
  public var limit: UInt64
  /// The highest limit that can be set without a restart.
  public var capacity: UInt64
  public var used: UInt64
  /// Memory kept for disks with a reserve that they have not used yet.
  public var promised: UInt64

  public init(_ machine: Machine) {
    limit = machine.limit
    capacity = machine.capacity
    used = machine.memoryUsed
    promised = machine.memoryPromised
  }
}

extension Machine {
  /// Changes the limit. Throws if it is out of range or would break the promise of a reserve.
  package func limitMemory(_ bytes: UInt64) throws(ControlError) {
    let size = ByteSize(bytes)
    guard bytes >= 2 << 20 else {
      throw ControlError("a memory limit of \(size) is too low; use 2 MiB or more")
    }
    guard bytes <= capacity else {
      throw ControlError(
        "a memory limit of \(size) is too high: this server can have \(ByteSize(capacity)); to "
          + "have more, start it with a larger --memory")
    }
    shrink()
    guard setLimit(bytes, keepsPromises: true) else {
      throw ControlError(
        "a memory limit of \(size) is too low: \(ByteSize(memoryUsed)) are used, and "
          + "\(ByteSize(memoryPromised)) more are kept for disks with a reserve; lower their reserves "
          + "or remove data first")
    }
  }
}
