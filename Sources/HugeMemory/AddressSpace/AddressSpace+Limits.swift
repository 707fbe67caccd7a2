import Frames
import Paging

/// What a space may take and what is kept for it, in frames. (L) The space's lock.
struct Limits {
  /// The most that allocations may raise `charge` to.
  var quota: Int?
  /// What `charge` can rise to, whatever other spaces do.
  var reserve: Int
  /// The number of frames, of data and tables, that the space took since a fork last shared it, and
  /// still has. These are what entries with `C` name, below a path of entries with `C` from the
  /// root. No other space refers to them.
  ///
  /// Btrfs calls this a qgroup's *exclusive*. A quota and a reserve of it are ZFS's `refquota` and
  /// `refreservation`. `Usage.own` is the exact figure. It is larger where memory that was shared
  /// no longer is, until the space writes there and takes the memory back.
  var charge: Int
  /// How far this space's huge frames were looked through, for a write over the quota.
  var look = Look()

  struct Look {
    /// Where the next look continues.
    var offset: UInt64 = 0
    /// Whether it also takes apart frames that are mostly data.
    var isLast = false
    /// Whether the space got another huge frame since the last look began.
    var hasNew = false
    /// When the next look may begin, after one that found nothing; in nanoseconds of
    /// `monotonicTime`.
    var notBefore: UInt64 = 0
  }

  /// What is kept for the space: its share of `Arena.framesPromised`.
  var promised: Int { max(0, reserve - charge) }
}

extension AddressSpace {
  /// Sets the limits of this space, in bytes, or lifts them if nil. Forks do not inherit them.
  ///
  /// - `quota`: the most memory of its own, data and tables, that this space may take, rounded down
  ///   to whole pages. A write that needs more throws `overQuota`. Memory shared with forks counts
  ///   for none of them until one writes to it. If the space is above the quota already, it keeps
  ///   what it has.
  /// - `reserve`: how much memory of its own, data and tables, this space can take whatever others
  ///   do, rounded up to whole pages. Throws `outOfMemory` and changes nothing if that much cannot
  ///   be promised.
  ///
  /// Tables take 1/512 of dense data, or a page for each 2 MiB of sparse data.
  ///
  /// - Complexity: O(entries of this space's own) for the first limits, else O(1).
  public func setLimits(quota: UInt64?, reserve: UInt64?) throws(MemoryError) {
    try setLimits(quota: quota, reserve: reserve, urgent: false)
  }

  /// As `setLimits`, for limits that the space had in a process that has ended. What was kept there may be
  /// kept again, though the frames for urgent callers are in use.
  package func setLimitsAgain(quota: UInt64?, reserve: UInt64?) throws(MemoryError) {
    try setLimits(quota: quota, reserve: reserve, urgent: true)
  }

  private func setLimits(
    quota: UInt64?, reserve: UInt64?, urgent: Bool
  ) throws(MemoryError) {
    let mask = UInt64(FrameGeometry.frameSize - 1)
    let reserve = reserve ?? 0
    guard reserve <= quota ?? .max else {
      throw .invalidSize(reserve, reason: "a reserve is at most the quota, \(quota ?? 0) bytes")
    }
    guard reserve <= machine.capacity else { throw machine.full }
    try withRoom { () throws(MemoryError) in
      regainRoot()
      let new = Limits(
        quota: quota.map(Machine.frames),
        reserve: Machine.frames(reserve + mask),
        charge: limits?.charge ?? chargeOf(Entry(raw: root.load(.relaxed))))
      let more = new.promised - (limits?.promised ?? 0)
      if more > 0 {
        guard machine.promise(more, urgent: urgent) else { throw machine.full }
      } else {
        arena.changePromise(by: more)
      }
      limits = quota == nil && reserve == 0 ? nil : new
    }
  }

  /// The most memory of its own that this space may take, in bytes; nil if it has no quota.
  public var quota: UInt64? { lock.withLock { limits?.quota.map(Machine.bytes) } }

  /// The memory of its own that this space can take whatever others do, in bytes; nil if it has no
  /// reserve.
  public var reserve: UInt64? {
    lock.withLock { limits.flatMap { $0.reserve > 0 ? Machine.bytes($0.reserve) : nil } }
  }

  /// The memory that counts for `quota` and `reserve`, in bytes: data and tables that this space
  /// took since a fork last shared it, and still has. At most `Usage.own`.
  ///
  /// - Complexity: O(1) with limits, else O(entries of this space's own). Holds the lock.
  public var charge: UInt64 {
    lock.withLock { Machine.bytes(limits?.charge ?? chargeOf(Entry(raw: root.load(.relaxed)))) }
  }

  /// Runs `body` under the lock. If `body` finds no memory, frees what nobody uses and runs it once
  /// more.
  func withRoom<Result>(_ body: () throws(MemoryError) -> Result) throws(MemoryError) -> Result {
    do { return try lock.withLock(body) } catch {
      guard case .outOfMemory = error else { throw error }
    }
    machine.freeUnused()
    return try lock.withLock(body)
  }

  // MARK: Under the lock: the quota

  /// Whether the quota allows `frames` frames more. A quota never keeps a space from giving memory
  /// back, which may take a table.
  @inline(__always)
  func admits(_ frames: Int) -> Bool {
    guard let limits, let quota = limits.quota else { return true }
    return frames <= 0 || givesBack || limits.charge + frames <= quota
  }

  func admit(_ frames: Int) throws(MemoryError) {
    guard admits(frames) else { throw overQuota }
  }

  private var overQuota: MemoryError { .overQuota(quota: Machine.bytes(limits?.quota ?? 0)) }

  /// The error to throw when there is no frame to replace what an entry maps.
  func full(for entry: Entry) -> MemoryError { admits(Self.need(entry)) ? machine.full : overQuota }

  // MARK: Under the lock: frames, charged

  /// Makes a table for this space.
  func makeTable() throws(MemoryError) -> Table {
    try admit(1)
    let own = limits?.promised ?? 0
    if own > 0, let table = kept({ Table.make(in: arena, own: own) }) {
      limits?.charge += 1
      return table
    }
    let table = try machine.makeTable(own: own, urgent: givesBack)
    limits?.charge += 1
    return table
  }

  /// A small frame to replace what an entry maps; nil if there is none, or if the quota does not
  /// allow it.
  @inline(__always)
  func takeSmall(for entry: Entry) -> FrameNumber? {
    guard limits != nil else { return arena.allocateSmall() }
    return takeSmallLimited(for: entry)
  }

  @inline(never)
  private func takeSmallLimited(for entry: Entry) -> FrameNumber? {
    guard admits(Self.need(entry)) else { return nil }
    let own = limits?.promised ?? 0
    let frame = own > 0 ? kept { arena.allocateSmall(own: own) } : arena.allocateSmall()
    if frame != nil { limits?.charge += 1 }
    return frame
  }

  /// Tries to take promised frames. They may still be on their way back, unmapped by this space or
  /// by another one with a reserve; then this waits for grace periods. It waits for more than a few
  /// only if others unmap just as fast, or if a reply on its way to a socket holds the memory.
  private func kept<Taken>(_ take: () -> Taken?) -> Taken? {
    for _ in 0..<64 {
      if let taken = take() { return taken }
      machine.settle()
      machine.budget?.follow(machine)
    }
    return nil
  }

  /// How many frames the charge grows by. An entry that is charged goes as soon as its copy is
  /// there, so its frame is not needed twice.
  private static func need(_ entry: Entry) -> Int { entry.isCharged ? 0 : 1 }

  /// A huge frame; nil if there is none. The caller has checked the quota.
  func takeHuge(zeroed: Bool) -> FrameNumber? {
    let frame = arena.allocate(
      order: FrameGeometry.hugeOrder, zeroed: zeroed, own: limits?.promised ?? 0)
    if frame != nil {
      limits?.charge += FrameGeometry.framesPerHuge
      limits?.look.hasNew = true
    }
    return frame
  }

  // MARK: Under the lock: the charge

  /// How many frames an entry adds to the charge of a space, if the tables above the entry are
  /// charged too.
  func chargeOf(_ entry: Entry) -> Int {
    guard entry.isCharged else { return 0 }
    switch entry.kind {
    case .none, .zero: return 0
    case .small: return 1
    case .huge: return FrameGeometry.framesPerHuge
    case .table:
      let table = Table(entry.frame, in: arena)
      guard table.liveEntries > 0 else { return 1 }
      return (0..<Table.count).reduce(1) { $0 + chargeOf(table[$1]) }
    }
  }

  /// Adds frames that were taken without the promise to the charge.
  @inline(__always)
  func charge(_ frames: Int) { if limits != nil { raiseCharge(by: frames) } }

  /// Called when an entry without `C` was made writable. What it names is this space's alone again,
  /// with everything below it that was never copied. That takes no memory, so the quota is not
  /// checked.
  @inline(__always)
  func regain(_ entry: Entry) {
    if limits != nil && !entry.isCharged { raiseCharge(by: chargeOf(entry.charged)) }
  }

  /// Called when an entry was removed from its table. Returns how many of its frames are to be
  /// promised again once they are on their way back.
  @inline(__always)
  func discharge(_ entry: Entry) -> Int { limits == nil ? 0 : dischargeLimited(entry) }

  @inline(never)
  private func dischargeLimited(_ entry: Entry) -> Int {
    guard var limits else { return 0 }
    let before = limits.promised
    limits.charge -= chargeOf(entry)
    precondition(limits.charge >= 0, "limits: more was given back than taken")
    self.limits = limits
    return limits.promised - before
  }

  /// Promises the whole reserve again, since all memory is shared from now on.
  func promiseAll() throws(MemoryError) {
    guard let limits else { return }
    guard machine.promise(limits.reserve - limits.promised) else { throw machine.full }
    self.limits?.charge = 0
  }

  /// Makes the tree this space's own again if its other sharers are gone, as the next write would.
  func regainRoot() {
    let entry = Entry(raw: root.load(.relaxed))
    guard entry.kind == .table, !entry.isWritable, arena.hasOneReference(entry.frame) else {
      return
    }
    storeRoot(entry.madeWritable)
    regain(entry)
  }

  /// Raises the charge and lowers the promise. Not for frames taken with `own`: those have lowered
  /// the promise already.
  @inline(never)
  private func raiseCharge(by frames: Int) {
    guard var limits else { return }
    let before = limits.promised
    limits.charge += frames
    if frames >= FrameGeometry.framesPerHuge { limits.look.hasNew = true }
    arena.changePromise(by: limits.promised - before)
    self.limits = limits
  }
}

extension Machine {
  /// Bytes kept for spaces with a reserve that have not used them yet.
  public var memoryPromised: UInt64 { Self.bytes(arena.framesPromised) }

  /// Keeps frames for a space; false if there are not enough. If the limit follows the system, the
  /// frames may come from all that it can spare now: the next look grants what is promised.
  fileprivate func promise(_ frames: Int, urgent: Bool = false) -> Bool {
    if arena.promise(frames, urgent: urgent) { return true }
    guard let budget else { return false }
    budget.follow(self)
    setGrant(max(Self.bytes(arena.limit), budget.limit))
    defer { budget.follow(self) }
    return arena.promise(frames, urgent: urgent)
  }
}
