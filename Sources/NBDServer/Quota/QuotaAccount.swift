import HugeMemory
import Synchronization

/// One quota for a disk and all the forks that clients made of it by connecting, and of those.
///
/// A space counts only what it took since it was last shared: a fork sets its charge to 0, and what it
/// had is nobody's. So a client that forks by connecting could freeze one quota's worth after another.
/// The account keeps that in mind:
///
///     memory of all members  ≤  Σ lease + Σ frozen + Σ lingering  ≤  total
///
///     lease       what the engine lets a member have of its own: its space's quota. Members get more
///                 when a write finds it used, and lose what they do not use when others need it.
///     frozen      of each fork: the charge that its origin had, and lost by it. Stays as long as a disk
///                 descends from the fork; then it goes to the origin's next younger fork, since what
///                 was there may be in that as well, or else is lingering.
///     lingering   may be the origin's alone again, uncounted by its space until it writes there. When
///                 memory gets short that is looked up: what a space has of its own (`Usage.own`),
///                 less its charge.
///
/// All are upper bounds, so the total is kept at every moment, whatever clients do, but for the
/// tables that trims take (`DiskQuota.discard`: 96 KiB for each member at most), and for what waits until readers are done with it.
///
/// Locking: `state` is taken under the table of disks, and before the locks of spaces. Not on the path
/// of a request, but for a write that found its lease used.
final class QuotaAccount: Sendable {
  struct Fork {
    let number: UInt64
    var frozen: UInt64
  }
  struct Member {
    /// Nil once the disk is removed: its forks may have what it had.
    var space: AddressSpace?
    var lease: UInt64
    var lingering: UInt64 = 0
    /// Its forks that disks descend from, the oldest first.
    var forks: [Fork] = []
  }
  struct Descent {
    /// The member that was forked, and the fork that made that.
    let origin: UInt64
    let parent: UInt64?
    /// How many disks and forks descend from it directly.
    var count = 1
  }
  struct State {
    /// In bytes; nil once the quota was lifted.
    var total: UInt64?
    var members: [UInt64: Member] = [:]
    /// Of each fork that disks descend from.
    var descent: [UInt64: Descent] = [:]
    var last: UInt64 = 0
  }
  /// What a member gets at once, if there is so much: a page and the tables above it, several times.
  private static let step: UInt64 = 64 << 10

  private let machine: Machine
  private let state: Mutex<State>
  /// What the clients of all members may hold; see there.
  let pins: PinAllowance

  init(total: UInt64, pins: PinAllowance, machine: Machine) {
    self.machine = machine
    state = Mutex(State(total: total))
    self.pins = pins
  }

  /// Adds the disk whose quota it is. Its space's quota becomes its lease.
  func addOwner(_ space: AddressSpace, quota: UInt64) -> AccountMember {
    let number = state.withLock { state in
      state.add(Member(space: space, lease: quota))
    }
    return AccountMember(account: self, number: number, birth: nil)
  }

  /// In bytes; nil once it was lifted.
  var total: UInt64? { state.withLock { $0.total } }

  /// What counts for the total: not what is only leased.
  var charge: UInt64 {
    state.withLock { state in
      state.settle(machine, pinned: pins.bytesHeld)
      return state.members.values.reduce(0) {
        $0 + ($1.space?.charge ?? 0) + $1.lingering + $1.frozen
      }
    }
  }

  /// Leases more to a member whose lease is used; false if there is nothing left.
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
      let more = min(free, max(Self.step, free / 4)) & ~4095
      guard more > 0 else { return false }
      state.members[number]?.lease += more
      let lease = (state.members[number]?.lease ?? 0)
      try? space.setLimits(quota: lease, reserve: space.reserve)
      return true
    }
  }

  /// Makes a fork of a member by `body`, which returns its space, and lets it join.
  func fork(
    of origin: AccountMember, _ body: () throws(DiskError) -> (AddressSpace, AddressSpace)
  ) throws(DiskError) -> (snapshot: AddressSpace, space: AddressSpace, member: AccountMember) {
    let (snapshot, space, birth, number) = try state.withLock { state throws(DiskError) in
      // Nothing is taken by the origin from here on, so that its charge is what becomes shared.
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
        // A reserve was promised again.
        state.resume(origin.number, lease: state.members[origin.number]!.space?.reserve ?? 0)
      }
      let number = state.add(Member(space: space, lease: 0))
      if state.total != nil { try? space.setLimits(quota: 0, reserve: 0) }
      return (snapshot, space, birth, number)
    }
    return (snapshot, space, AccountMember(account: self, number: number, birth: birth))
  }

  /// A disk is removed. The caller has dropped it, so that its memory goes here.
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

  /// A disk that a fork has made is gone.
  func release(fork: UInt64) { state.withLock { $0.release(fork) } }

  /// Changes the quota of all; nil lifts it.
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

  /// Changes a member's reserve: false if it, and what others have, is more than the total.
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
