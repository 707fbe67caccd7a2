package import DiskDirectory
import Glibc
public import HugeMemory
public import Logging
import Synchronization

/// A disk as the registry had it when you asked. Its `space` and `traffic` are live.
public struct Disk: Sendable {
  public internal(set) var name: String
  /// The contents. This is the same object for the whole life of the disk: a reset changes it in
  /// place.
  public let space: AddressSpace
  public let settings: DiskSettings
  /// The disk that this one was forked from, which may be gone. Nil for a created or imported disk.
  let lineage: DiskSettings?
  /// Its name.
  public var origin: String? { lineage?.name }
  /// The contents that a reset restores: those that the origin had at the fork.
  let snapshot: AddressSpace?
  /// The number of connected clients.
  public internal(set) var connections = 0
  /// The bytes that clients have read and written.
  public let traffic = Traffic()
  /// Whether the disk is removed with its only connection.
  public let isTemporary: Bool
  /// Whether a client made the disk by connecting to `origin@name` or `origin@`.
  let isMadeByConnecting: Bool
  let quota: DiskQuota
  /// Who made the disk by connecting, if rules were asked about that.
  let ownership: Ownership?
  var owner: Identity? { ownership?.owner }

  init(
    _ name: String, _ space: AddressSpace, size: UInt64, _ options: DiskOptions = DiskOptions(),
    origin: (disk: DiskSettings, contents: AddressSpace)? = nil, originalSize: UInt64? = nil,
    quota: DiskQuota,
    isTemporary: Bool = false, isMadeByConnecting: Bool = false, ownership: Ownership? = nil
  ) {
    self.name = name
    self.space = space
    settings = DiskSettings(name: name, size: size, original: originalSize, options)
    (lineage, snapshot) = (origin?.disk, origin?.contents)
    self.quota = quota
    self.isTemporary = isTemporary
    self.isMadeByConnecting = isMadeByConnecting
    self.ownership = ownership
  }

  /// In bytes; the space may be larger.
  public var size: UInt64 { settings.size }
}

/// All disks by name. One lock guards names, lineage and connection counts. Reads and writes never
/// take it: they use only the address space of a disk.
///
/// - Thread safety: you may call every method on any thread. A method changes all the disks that it
///   names, or none.
public final class Disks: Sendable {
  public let machine: Machine
  let connectForks: ConnectForks
  /// The most disks that may exist.
  public let limit: Int
  public let access: AccessControl
  /// What happens to the disks.
  public let events: DiskEvents
  let table: Mutex<DiskTable>
  /// What still brings contents of disks.
  let loader = Mutex<(any LateContents)?>(nil)

  public convenience init(
    machine: Machine, connectForks: ConnectForks = ConnectForks(), limit: Int = standardLimit,
    access: AccessControl? = nil, log: Logger? = nil
  ) {
    self.init(
      machine: machine, directory: nil, connectForks: connectForks, limit: limit, access: access,
      log: log)
  }

  /// With a directory, the disks outlive the process. The machine's memory is in the same file.
  package init(
    machine: Machine, directory: DiskDirectory?, connectForks: ConnectForks = ConnectForks(),
    limit: Int = standardLimit, access: AccessControl? = nil, log: Logger? = nil
  ) {
    events = DiskEvents(log: log)
    table = Mutex(DiskTable(events, directory))
    self.access = access ?? AccessControl(.standard(user: getuid()))
    self.machine = machine
    self.limit = limit
    self.connectForks = connectForks
  }

  public static let standardLimit = 65536

  /// Creates an empty disk of `size` bytes. Only what is written takes memory.
  public func create(
    _ name: String, size: UInt64, limits: DiskLimits = DiskLimits(),
    options: DiskOptions = DiskOptions()
  ) throws(DiskError) {
    try Self.check(name)
    try options.check()
    let space = try memory { () throws(MemoryError) in try machine.makeDiskSpace(size: size) }
    try limits.apply(to: space, named: name)
    try add(name, space: space, size: size, options: options)
  }

  /// Adds a disk with the contents of a space that was made elsewhere, for example by an import.
  /// The disk is the first `size` bytes of the space.
  public func add(
    _ name: String, space: AddressSpace, size: UInt64, options: DiskOptions = DiskOptions()
  ) throws(DiskError) {
    try Self.check(name)
    try options.check()
    try table.withLock { (table) throws(DiskError) in
      guard table[name] == nil else { throw .exists(name) }
      try checkRoom(table, for: 1)
      table.insert([
        Disk(name, space, size: size, options, quota: DiskQuota(space.quota))
      ])
    }
  }

  /// Throws unless a new disk could have this name now.
  public func checkFree(_ name: String) throws(DiskError) {
    try Self.check(name)
    try table.withLock { (table) throws(DiskError) in
      guard table[name] == nil else { throw .exists(name) }
      try checkRoom(table, for: 1)
    }
  }

  /// Throws if so many more disks would exceed the limit, or there is no memory to record them.
  func checkRoom(_ table: borrowing DiskTable, for more: Int) throws(DiskError) {
    guard more <= limit - table.count else {
      throw .tooManyDisks(more: more, disks: table.count, limit: limit)
    }
    guard table.directory?.makeRoom(for: more) != false else {
      throw .memoryFileIsFull
    }
  }

  /// Forks `source` once for each of `names`, all at the same point: after every write that was
  /// completed before the call. The forks share one snapshot, to which a reset returns. Each fork
  /// has the limits `limits`; it inherits none of `source`. `check` is called between forks. If
  /// it throws, no fork is made.
  ///
  /// - Complexity: O(names), whatever the size and the depth of `source`.
  public func fork(
    _ source: String, names: [String], limits: DiskLimits = DiskLimits(),
    options: DiskOptions = DiskOptions(),
    check: () throws(DiskError) -> Void = { () throws(DiskError) in }
  ) throws(DiskError) {
    for name in names { try Self.check(name) }
    try options.check()
    try table.withLock { (table) throws(DiskError) in
      guard table[source] != nil else { throw .notFound(source) }
      try checkRoom(table, for: names.count)
      try table.fork(source, names: names, limits: limits, options: options, check: check)
    }
  }

  /// Returns a fork to the contents that it was made with. Its clients stay connected.
  public func reset(_ name: String) throws(DiskError) {
    let disk = try lookup(name)
    guard let snapshot = disk.snapshot else { throw .noOrigin(name) }
    // The requests of clients that use the disk have seen that its contents are there. So what the disk gets
    // instead has to be there too.
    try loaded(name) { (late) throws(LateError) in
      try late.bring(snapshot.bounds, of: snapshot)
    }
    if disk.size != disk.settings.original {
      disk.settings.isResetting = true
      recordChange(of: disk)
    }
    defer {
      disk.settings.isResetting = false
      recordChange(of: disk)
    }
    try memory { () throws(MemoryError) in try disk.space.reset(to: snapshot) }
    disk.settings.restoreSize()
    events.note(.reset, disk.name)
  }

  /// Removes disks. Their forks stay.
  public func remove(_ names: [String]) throws(DiskError) {
    // Drop the last references outside the lock, since freeing a large disk takes time.
    let removed: [Disk] = try table.withLock { (table) throws(DiskError) in
      for name in names {
        guard let disk = table[name] else { throw .notFound(name) }
        guard disk.connections == 0 else { throw .inUse(name, connections: disk.connections) }
      }
      return table.remove(names)
    }
    Self.drop(removed)
  }

  /// Drops the last references to disks, and then takes the disks out of their accounts.
  static func drop(_ removed: consuming [Disk]) {
    let members = removed.compactMap(\.quota.account)
    _ = consume removed
    for member in members { member.account.leave(member.number) }
  }

  /// All disks, in the order of their names.
  public func list() -> [Disk] {
    table.withLock { $0.disks(after: nil, count: .max) }
  }

  /// Returns the disks after `name`, in the order of their names, but at most `count`. Use this to
  /// read a long list in pieces. Disks may come and go between two pieces.
  public func list(after name: String?, count: Int) -> [Disk] {
    table.withLock { $0.disks(after: name, count: count) }
  }

  public var count: Int { table.withLock { $0.count } }

  public func lookup(_ name: String) throws(DiskError) -> Disk {
    guard let disk = table.withLock({ $0[name] }) else { throw .notFound(name) }
    return disk
  }

  static func check(_ name: String) throws(DiskError) {
    func refuse(_ reason: String) -> DiskError { .invalidName(name, reason: reason) }
    guard !name.isEmpty else { throw refuse("is empty") }
    guard name.utf8.count <= 255 else { throw refuse("is longer than 255 bytes") }
    guard !name.hasPrefix(".") else { throw refuse("begins with a dot") }
    // Commands would take it for an option, or for standard input.
    guard !name.hasPrefix("-") else { throw refuse("begins with a dash") }
    for character in name.unicodeScalars {
      let letter = "a"..."z" ~= character || "A"..."Z" ~= character || "0"..."9" ~= character
      guard letter || "._-".unicodeScalars.contains(character) else {
        throw refuse("contains \"\(character)\"")
      }
    }
  }

  private func memory<Result>(
    _ body: () throws(MemoryError) -> Result
  ) throws(DiskError) -> Result {
    do { return try body() } catch { throw .memory(error) }
  }
}

extension DiskTable {
  mutating func fork(
    _ source: String, names: [String], limits: DiskLimits, options: DiskOptions,
    check: () throws(DiskError) -> Void
  ) throws(DiskError) {
    guard let disk = self[source] else { throw .notFound(source) }
    var taken = Set<String>()
    for name in names where self[name] != nil || !taken.insert(name).inserted {
      throw .exists(name)
    }
    let (snapshot, spaces) = try disk.forks(named: names, limits, check)
    insert(
      zip(names, spaces).map { name, space in
        Disk(
          name, space, size: disk.size, options, origin: (disk.settings, snapshot),
          quota: DiskQuota(limits.quota))
      })
  }

  /// Makes the fork of a client that connects. The fork counts for the quota of its origin, if that
  /// has one.
  mutating func connectFork(
    _ source: String, name: String, isTemporary: Bool, on machine: Machine, for client: Client?
  ) throws(DiskError) {
    guard let disk = self[source] else { throw .notFound(source) }
    guard self[name] == nil else { throw .exists(name) }
    func fork() throws(DiskError) -> (snapshot: AddressSpace, space: AddressSpace) {
      let made = try disk.forks(named: [name], DiskLimits()) { () throws(DiskError) in }
      return (made.snapshot, made.spaces[0])
    }
    var quota = DiskQuota(nil)
    let space: AddressSpace
    let snapshot: AddressSpace
    var ownership: Ownership?
    if let client {
      ownership = Ownership(client.identity, client.account)
      guard ownership != nil else {
        throw .tooManyOfClient("\(client.identity)", what: "forks; remove some first")
      }
    }
    // A limit of the client's memory counts instead of a quota of the origin, unless the origin
    // counts for that limit already.
    let own = client?.account.quota(on: machine)
    let joined =
      own == nil || disk.quota.account?.account === own ? disk.joinedAccount(machine) : nil
    if let origin = joined {
      let member: AccountMember
      (snapshot, space, member) = try origin.account.fork(of: origin, fork)
      quota = DiskQuota(pins: origin.account.pins, member: member)
    } else {
      (snapshot, space) = try fork()
      if let own { quota = DiskQuota(pins: own.pins, member: own.adopt(space)) }
    }
    insert([
      Disk(
        name, space, size: disk.size, origin: (disk.settings, snapshot), quota: quota,
        isTemporary: isTemporary, isMadeByConnecting: true, ownership: ownership)
    ])
  }
}

extension Disk {
  /// Returns the account of this disk's quota, or nil if it has no quota. Makes the account if
  /// there is none yet.
  func joinedAccount(_ machine: Machine) -> AccountMember? {
    if let member = quota.account { return member.account.total == nil ? nil : member }
    guard let total = space.quota else { return nil }
    let account = QuotaAccount(total: total, pins: quota.pins, machine: machine)
    let member = account.addOwner(space, quota: total)
    quota.join(member)
    return member
  }
}

extension Machine {
  /// A space for a disk of `size` bytes, with as much room to grow as costs nothing.
  public func makeDiskSpace(size: UInt64) throws(MemoryError) -> AddressSpace {
    guard size > 0, size <= AddressSpace.maximalSize else { return try makeSpace(size: size) }
    return try makeSpace(size: AddressSpace.largestSize(asDeepAs: size))
  }
}
