/// A disk as it was when the server was asked. All sizes are in bytes.
public struct Disk: Sendable, Equatable, Decodable {
  /// The name, which clients of NBD use as the export.
  public let name: String
  /// The disk's address for any NBD client.
  public let uri: String
  /// What clients can address. The disk takes only `data`.
  public let size: UInt64
  /// Memory with data that the disk can see.
  public let data: UInt64
  /// The part of `data` that other disks see as well.
  public let shared: UInt64
  /// The part of `data` that is in huge pages.
  public let huge: UInt64
  /// The memory that only this disk refers to. Removing the disk would free this much.
  public let own: UInt64
  /// The most memory of its own that the disk may take; nil without a quota.
  public let quota: UInt64?
  /// The memory of its own that is kept for the disk; nil without a reserve.
  public let reserve: UInt64?
  /// Whether the server refuses writes to the disk. Its forks can be written.
  public let readOnly: Bool
  /// The line for people that was given to the disk; nil without one.
  public let description: String?
  /// The disk that this one was forked from, which may be gone. Nil if it is no fork.
  public let origin: String?
  /// The number of connections that are open now.
  public let clients: Int
  /// What clients have read, since the disk was made.
  public let bytesRead: UInt64
  /// What clients have written, since the disk was made.
  public let bytesWritten: UInt64
}

/// What can be chosen for a disk that is being made.
public struct DiskOptions: Sendable, Encodable {
  /// The most memory of its own that the disk may take, in bytes; nil for no quota.
  public var quota: UInt64?
  /// The memory of its own to keep for the disk, in bytes; nil for no reserve.
  public var reserve: UInt64?
  /// Whether the server refuses writes to the disk; nil means that it takes them.
  public var readOnly: Bool?
  /// A line for people, at most 255 bytes.
  public var description: String?

  /// Chooses what is not nil. The server has defaults for the rest.
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
  /// The number of the event. Events that come later have higher ones.
  public let id: UInt64
  /// The disk's name; empty for `missed`.
  public let disk: String
  /// The disk that the new one was forked from, for `forked`; otherwise nil.
  public let origin: String?
  /// The name before `renamed`; otherwise nil.
  public let formerName: String?
  /// How many events were missed, for `missed`; otherwise 0.
  public let count: Int
}
