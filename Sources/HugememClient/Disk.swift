/// A disk as it was when the server was asked. All sizes are in bytes.
public struct Disk: Sendable, Equatable, Decodable {
  public let name: String
  /// The disk's address for any NBD client.
  public let uri: String
  public let size: UInt64
  /// Memory with data that the disk can see; other disks see `shared` of it as well, and `huge` of it is
  /// in huge pages. Removing the disk would free `own`.
  public let data: UInt64
  public let shared: UInt64
  public let huge: UInt64
  public let own: UInt64
  /// The most memory that the disk may take, and the memory that is kept for it; nil without a limit.
  public let quota: UInt64?
  public let reserve: UInt64?
  public let readOnly: Bool
  public let description: String?
  /// The disk that this one was forked from, which may be gone. Nil if it is no fork.
  public let origin: String?
  public let clients: Int
  public let bytesRead: UInt64
  public let bytesWritten: UInt64
}

/// What can be chosen for a disk that is being made.
public struct DiskOptions: Sendable, Encodable {
  /// In bytes.
  public var quota: UInt64?
  public var reserve: UInt64?
  public var readOnly: Bool?
  /// A line for people, at most 255 bytes.
  public var description: String?

  public init(
    quota: UInt64? = nil, reserve: UInt64? = nil, readOnly: Bool? = nil, description: String? = nil
  ) {
    (self.quota, self.reserve) = (quota, reserve)
    (self.readOnly, self.description) = (readOnly, description)
  }
}

/// Something that happened to a disk.
public struct Event: Sendable, Equatable {
  /// `created`, `forked`, `renamed`, `reset`, `resized`, `changed` or `removed`. Or `missed`: so many
  /// events before this one are no longer known, as `count` says.
  public let kind: String
  public let id: UInt64
  public let disk: String
  public let origin: String?
  public let formerName: String?
  public let count: Int
}
