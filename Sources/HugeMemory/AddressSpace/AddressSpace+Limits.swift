import Frames
import Paging

/// What a space may take and what is kept for it, in frames. (L) The space's lock.
struct Limits {
  /// The most that `charge` may become by allocations.
  var quota: Int?
  /// What the charge can become whatever others do.
  var reserve: Int
  /// The frames, data and tables, that the space took since it was last shared by a fork and still
  /// has: what entries with `C` name, below a path of `C` from the root. Nobody else refers to them.
  ///
  /// Btrfs calls this a qgroup's *exclusive*; a quota and a reserve of it are ZFS's `refquota` and
  /// `refreservation`. `Usage.own` is the exact figure: it is larger where what was shared is not any
  /// more, until the space writes there and so takes it back.
  var charge: Int
  /// How far this space's huge frames were looked through, for a write over the quota.
  var look = Look()

  struct Look {
    /// Where it goes on.
    var offset: UInt64 = 0
    /// Whether it takes apart frames that are rather dense, too.
    var isLast = false
    /// Whether the space has a huge frame more since.
    var hasNew = false
    /// Nanoseconds of `monotonicTime`: until when it is not begun again, having found nothing.
    var notBefore: UInt64 = 0
  }

  /// What is kept for the space: its part of `Arena.framesPromised`.
  var promised: Int { max(0, reserve - charge) }
}

extension AddressSpace {
  /// Sets or lifts (nil) the limits of this space, in bytes; forks do not inherit them.
  ///
  /// - `quota`: a write that needs more memory of this space's own, data and tables, throws
  ///   `overQuota`. What is shared with forks counts for none of them, until one writes to it. What
  ///   is there stays, also above the quota; rounded down to whole pages.
  /// - `reserve`: this space can write until it has so much memory of its own, data and tables,
  ///   whatever others do. Rounded up to whole pages. Throws `outOfMemory`, with nothing changed, if
  ///   so much cannot be promised.
  ///
  /// Tables take 1/512 of dense data, and a page for each 2 MiB of sparse.
  ///
  /// - Complexity: O(entries of this space's own) for the first limits, else O(1).
  public func setLimits(quota: UInt64?, reserve: UInt64?) throws(MemoryError) {
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
        guard machine.promise(more) else { throw machine.full }
      } else {
        arena.changePromise(by: more)
      }
      limits = quota == nil && reserve == 0 ? nil : new
    }
  }

  /// The most memory of its own that this space may take, in bytes; nil if it has no quota.
  public var quota: UInt64? { lock.withLock { limits?.quota.map(Machine.bytes) } }

  /// The memory of its own that this space can have whatever others do, in bytes; nil if it has none.
  public var reserve: UInt64? {
    lock.withLock { limits.flatMap { $0.reserve > 0 ? Machine.bytes($0.reserve) : nil } }
  }

  /// The memory of its own, in bytes, that counts for `quota` and `reserve`: data and tables that it
  /// took since it was last shared by a fork and still has. At most `Usage.own`.
  ///
  /// - Complexity: O(1) with limits, else O(entries of its own). Holds the lock.
  public var charge: UInt64 {
    lock.withLock { Machine.bytes(limits?.charge ?? chargeOf(Entry(raw: root.load(.relaxed)))) }
  }

  /// Takes the lock; what finds no memory gets a second try after a reclaim.
  func withRoom<Result>(_ body: () throws(MemoryError) -> Result) throws(MemoryError) -> Result {
    do { return try lock.withLock(body) } catch {
      guard case .outOfMemory = error else { throw error }
    }
    machine.freeUnused()
    return try lock.withLock(body)
  }

  // MARK: Under the lock: the quota

  /// Whether the quota allows so many frames more. It does not keep a space from giving memory back,
  /// which may take a table.
  @inline(__always)
  func admits(_ frames: Int) -> Bool {
    guard let limits, let quota = limits.quota else { return true }
    return frames <= 0 || givesBack || limits.charge + frames <= quota
  }

  func admit(_ frames: Int) throws(MemoryError) {
    guard admits(frames) else { throw overQuota }
  }

  private var overQuota: MemoryError { .overQuota(quota: Machine.bytes(limits?.quota ?? 0)) }

  /// Why there is no frame to write in the place of what an entry maps.
  func full(for entry: Entry) -> MemoryError { admits(Self.need(entry)) ? machine.full : overQuota }

  // MARK: Under the lock: frames, charged

  /// A table for this space.
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

  /// A small frame in the place of what an entry maps; nil if there is none, or by the quota.
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

  /// Tries to take what was promised. It may be on its way still, unmapped by this space or one that
  /// has a reserve too; then grace periods are waited for. More than a few only where others unmap as
  /// fast, or a reply on its way to a socket holds the memory.
  private func kept<Taken>(_ take: () -> Taken?) -> Taken? {
    for _ in 0..<64 {
      if let taken = take() { return taken }
      machine.settle()
      machine.budget?.follow(machine)
    }
    return nil
  }

  /// What goes as soon as its copy is there is not needed twice.
  private static func need(_ entry: Entry) -> Int { entry.isCharged ? 0 : 1 }

  /// A huge frame; nil if there is none. The quota has been asked.
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

  /// Frames that an entry has in the charge of a space whose tables above it are in it.
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

  /// The space has frames that were taken without its promise.
  @inline(__always)
  func charge(_ frames: Int) { if limits != nil { raiseCharge(by: frames) } }

  /// An entry without `C` was made writable: what it names is this space's alone again, with all
  /// below it that was never copied. That takes no memory, so the quota is not asked.
  @inline(__always)
  func regain(_ entry: Entry) {
    if limits != nil && !entry.isCharged { raiseCharge(by: chargeOf(entry.charged)) }
  }

  /// An entry is in its table no more. Returns how many of the frames are to be promised again, when
  /// they are on their way back.
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

  /// Promises the reserve again as a whole, since from now on all is shared.
  func promiseAll() throws(MemoryError) {
    guard let limits else { return }
    guard machine.promise(limits.reserve - limits.promised) else { throw machine.full }
    self.limits?.charge = 0
  }

  /// Takes the tree back if its other sharers are gone, as the next write would.
  func regainRoot() {
    let entry = Entry(raw: root.load(.relaxed))
    guard entry.kind == .table, !entry.isWritable, arena.references(entry.frame) == 1 else {
      return
    }
    root.store(entry.madeWritable.raw, .release)
    regain(entry)
  }

  /// Frames taken with `own` have lowered the promise already, and come not by this.
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
  /// Bytes kept for spaces with a reserve that they have not used yet.
  public var memoryPromised: UInt64 { Self.bytes(arena.framesPromised) }

  /// Keeps frames for a space; false if there are not so many. Where the limit follows the system,
  /// they may be of all that it can spare now: the next look grants what is promised.
  fileprivate func promise(_ frames: Int) -> Bool {
    if arena.promise(frames) { return true }
    guard let budget else { return false }
    budget.follow(self)
    setGrant(max(Self.bytes(arena.limit), budget.limit))
    defer { budget.follow(self) }
    return arena.promise(frames)
  }
}
