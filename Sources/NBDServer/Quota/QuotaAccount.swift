import HugeMemory
import Synchronization

/// One quota for a disk, for all forks that clients made of it by connecting, and for their forks.
///
/// A space counts only what it took since it was last shared. A fork sets its charge to 0, and what
/// it had counts for nobody. So a client that forks by connecting could freeze one quota's worth of
/// memory after another. The account counts that as well:
///
///     memory of all members  ≤  Σ lease + Σ frozen + Σ lingering  ≤  total
///
///     lease       what the engine lets a member have of its own: the quota of its space. A member
///                 gets more when a write finds its lease used. It loses what it does not use when
///                 others need it.
///     frozen      the charge that the origin of a fork had and lost by the fork. It stays as long
///                 as a disk descends from the fork. Then it goes to the next younger fork of the
///                 origin, which may have the same memory. If there is none, it is lingering.
///     lingering   memory that may be the origin's alone again, but that its space does not count
///                 until it writes there. When memory gets short, the account measures it: what a
///                 space has of its own (`Usage.own`), less its charge.
///
/// All are upper bounds, so the total is kept at every moment, whatever clients do. There are two
/// exceptions: tables that trims take (`DiskQuota.discard`, at most 96 KiB for each member), and
/// retired memory that waits for readers.
///
/// Locking: `state` is taken under `Disks.table`, and before the locks of spaces. A request takes
/// it only if its write finds the lease used.
final class QuotaAccount: Sendable {
  struct Fork {
    let number: UInt64
    var frozen: UInt64
  }
  struct Member {
    /// Nil once the disk is removed. Its forks may still have its memory.
    var space: AddressSpace?
    var lease: UInt64
    var lingering: UInt64 = 0
    /// Those of its forks that disks descend from, the oldest first.
    var forks: [Fork] = []
  }
  struct Descent {
    /// The member that was forked, and the fork that made that member.
    let origin: UInt64
    let parent: UInt64?
    /// How many disks and forks descend from it directly.
    var count = 1
  }
  struct State {
    /// In bytes; nil once the quota was lifted.
    var total: UInt64?
    var members: [UInt64: Member] = [:]
    /// The descent of each fork that disks descend from, by the fork's number.
    var descent: [UInt64: Descent] = [:]
    var last: UInt64 = 0
  }
  /// What a member gets at a time, if that much is left. It suffices for several pages with the
  /// tables above them.
  private static let step: UInt64 = 64 << 10

  private let machine: Machine
  private let state: Mutex<State>
  /// How much memory the clients of all members may hold together.
  let pins: PinAllowance

  init(total: UInt64, pins: PinAllowance, machine: Machine) {
    self.machine = machine
    state = Mutex(State(total: total))
    self.pins = pins
  }

  /// Adds the disk that owns the quota. The quota of its space becomes its lease.
  func addOwner(_ space: AddressSpace, quota: UInt64) -> AccountMember {
    let number = state.withLock { state in
      state.add(Member(space: space, lease: quota))
    }
    return AccountMember(account: self, number: number, birth: nil)
  }

  /// Adds a disk that shares nothing with the other members, or nothing that is not shared with their
  /// origin too. Its lease is the memory that it has. It gets more as it writes.
  func adopt(_ space: AddressSpace) -> AccountMember {
    let number = state.withLock { state in
      let lease = state.total == nil ? 0 : space.charge
      if state.total != nil { try? space.setLimits(quota: lease, reserve: 0) }
      return state.add(Member(space: space, lease: lease))
    }
    return AccountMember(account: self, number: number, birth: nil, isOwner: false)
  }

  /// The quota of all members together, in bytes; nil once it was lifted.
  var total: UInt64? { state.withLock { $0.total } }

  /// The memory that counts for the total. What is only leased does not.
  var charge: UInt64 {
    state.withLock { state in
      state.settle(machine, pinned: pins.bytesHeld)
      return state.members.values.reduce(0) {
        $0 + ($1.space?.charge ?? 0) + $1.lingering + $1.frozen
      }
    }
  }

  /// Leases more to a member whose lease is used. Returns false if nothing is left.
  func extend(_ number: UInt64) -> Bool {
    state.withLock { state in
      guard let member = state.members[number], let space = member.space else { return false }
      guard let total = state.total else {
        try? space.setLimits(quota: nil, reserve: space.reserve)
        return true
      }
      if state.used + Self.step > total { state.takeBackUnused(but: number) }
      if state.used + Self.step > total { state.settle(machine, pinned: pins.bytesHeld) }
      let free = total - min(total, state.used)
      let more = min(free, max(Self.step, free / 2)) & ~4095
      guard more > 0 else { return false }
      state.members[number]?.lease += more
      let lease = (state.members[number]?.lease ?? 0)
      try? space.setLimits(quota: lease, reserve: space.reserve)
      return true
    }
  }

  /// Forks a member and adds the fork to the account. `body` makes the fork, and returns its
  /// snapshot and its space.
  func fork(
    of origin: AccountMember, _ body: () throws(DiskError) -> (AddressSpace, AddressSpace)
  ) throws(DiskError) -> (snapshot: AddressSpace, space: AddressSpace, member: AccountMember) {
    let (snapshot, space, birth, number) = try state.withLock { state throws(DiskError) in
      // From here on the origin takes nothing more, so its charge is what becomes shared.
      let frozen = state.stop(origin.number)
      let snapshot: AddressSpace
      let space: AddressSpace
      do throws(DiskError) {
        (snapshot, space) = try body()
      } catch {
        state.resume(origin.number, lease: frozen)
        throw error
      }
      let birth = state.addFork(of: origin)
      if state.members[origin.number] != nil {
        let lingering = state.members[origin.number]!.lingering
        state.members[origin.number]!.lingering = 0
        state.members[origin.number]!.forks.append(
          Fork(number: birth, frozen: frozen + lingering))
        // The fork has promised the origin's reserve again.
        state.resume(origin.number, lease: state.members[origin.number]!.space?.reserve ?? 0)
      }
      let number = state.add(Member(space: space, lease: 0))
      if state.total != nil { try? space.setLimits(quota: 0, reserve: 0) }
      return (snapshot, space, birth, number)
    }
    return (snapshot, space, AccountMember(account: self, number: number, birth: birth))
  }

  /// Call this when a disk is removed, after you have dropped it. Its memory is freed here.
  func leave(_ number: UInt64) {
    let space = state.withLock { state in
      let space = state.members[number]?.space
      state.members[number]?.space = nil
      return space
    }
    _ = consume space
    state.withLock { state in
      state.members[number]?.lease = 0
      state.members[number]?.lingering = 0
      state.drop(number)
    }
  }

  /// Call this when a disk that a fork made is gone.
  func release(fork: UInt64) { state.withLock { $0.release(fork) } }

  /// Changes the quota of all members together; nil lifts it.
  func setTotal(_ total: UInt64?) {
    state.withLock { state in
      state.total = total
      if total == nil {
        for member in state.members.values {
          if let space = member.space {
            try? space.setLimits(quota: nil, reserve: space.reserve)
          }
        }
      } else {
        state.takeBackUnused(but: nil)
      }
    }
    pins.follow(quota: total)
  }

  /// Changes the reserve of a member. Returns false if the reserve and what others have together
  /// exceed the total.
  func setReserve(_ reserve: UInt64?, of number: UInt64) throws(MemoryError) -> Bool {
    try state.withLock { state throws(MemoryError) in
      guard let member = state.members[number], let space = member.space else { return true }
      let wanted = ((reserve ?? 0) + 4095) & ~4095
      var lease = member.lease
      if let total = state.total, wanted > lease {
        state.takeBackUnused(but: number)
        state.settle(machine, pinned: pins.bytesHeld)
        guard state.used + (wanted - lease) <= total else { return false }
        lease = wanted
      }
      try space.setLimits(quota: state.total == nil ? nil : lease, reserve: reserve)
      state.members[number]?.lease = lease
      return true
    }
  }
}
