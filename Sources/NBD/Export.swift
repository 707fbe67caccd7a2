/// What the server tells a client about a disk.
public struct Export: Sendable, Equatable {
  public var name: String
  public var description: String
  /// In bytes.
  public var size: UInt64
  public var isReadOnly: Bool
  /// Whether several connections see each other's completed writes. False if each connection gets a
  /// disk of its own.
  public var allowsSeveralConnections: Bool

  public init(
    name: String, description: String, size: UInt64, isReadOnly: Bool = false,
    allowsSeveralConnections: Bool = true
  ) {
    self.name = name
    self.description = description
    self.size = size
    self.isReadOnly = isReadOnly
    self.allowsSeveralConnections = allowsSeveralConnections
  }

  func flags(structured: Bool) -> TransmissionFlags {
    var flags: TransmissionFlags = [
      .hasFlags, .flush, .forceUnitAccess, .trim, .writeZeroes, .cache, .fastZero,
    ]
    if isReadOnly { flags.insert(.readOnly) }
    if structured { flags.insert(.dontFragment) }
    if allowsSeveralConnections { flags.insert(.multiConnection) }
    return flags
  }
}

/// What a client and the server negotiated for the transmission phase of one connection.
public struct Session: Sendable, Equatable {
  /// READ is answered by structured replies.
  public var structured = false
  /// BLOCK_STATUS reports `base:allocation`.
  public var allocation = false
  public init(structured: Bool = false, allocation: Bool = false) {
    self.structured = structured
    self.allocation = allocation
  }
}

/// The only metadata context that the server supports.
public enum AllocationContext {
  public static let name = "base:allocation"
  public static let identifier: UInt32 = 1
}
