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

  /// The flags as this export and this session serve them.
  func flags(_ session: Session, hasContexts: Bool) -> TransmissionFlags {
    var flags: TransmissionFlags = [.hasFlags, .flush, .forceUnitAccess, .cache]
    flags.formUnion(isReadOnly ? .readOnly : [.trim, .writeZeroes, .fastZero, .resize])
    if session.structured { flags.insert(.dontFragment) }
    if session.extended && hasContexts { flags.insert(.blockStatusPayload) }
    if allowsSeveralConnections { flags.insert(.multiConnection) }
    return flags
  }
}

/// What a client and the server negotiated for the transmission phase of one connection.
public struct Session: Sendable, Equatable {
  /// READ is answered by structured replies, or by extended ones.
  public var structured = false
  /// Requests and replies have extended headers, with lengths of 64 bits.
  public var extended = false
  /// What BLOCK_STATUS reports.
  public var contexts: MetaContexts = []
  public init(structured: Bool = false, extended: Bool = false, contexts: MetaContexts = []) {
    self.structured = structured
    self.extended = extended
    self.contexts = contexts
  }
}
