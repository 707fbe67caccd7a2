import HugeMemory
import Primitives
import Synchronization

/// The limits of a disk beyond those of its space: the account that it shares with forks made by
/// connecting, and the memory that its clients may hold. This is the same object for the whole life
/// of the disk, so a connection also sees an account that was made after it connected.
final class DiskQuota: Sendable {
  let pins: PinAllowance
  private let member: Mutex<AccountMember?>
  /// (A) The lowest charge above the quota that a discard has seen, in bytes; `.max`: there was none.
  private let lowest = AtomicWord(.max)

  init(pins: PinAllowance, member: AccountMember? = nil) {
    self.pins = pins
    self.member = Mutex(member)
  }

  /// For a disk with a quota of its own, in bytes, or without one.
  convenience init(_ quota: UInt64?) { self.init(pins: PinAllowance(quota: quota)) }

  var account: AccountMember? { member.withLock { $0 } }
  func join(_ new: AccountMember?) { member.withLock { $0 = new } }

  /// Call this when a write finds the quota of its space used. Returns true if the account had
  /// more; then try the write again.
  func extend() -> Bool { account?.extend() ?? false }

  /// Discards a range. A disk above its quota may still give memory back. That may take a table for
  /// each 2 MiB that is discarded only in part, and frees nothing if the data is shared. So once the
  /// charge of the disk is more than `tables` above the quota, and above the lowest charge since, only
  /// whole 2 MiB are discarded; for the rest this throws `overQuota`.
  func discard(
    _ space: AddressSpace, at offset: UInt64, length: UInt64
  ) throws(MemoryError) {
    guard let excess = excess(of: space), excess > Self.tables, !extend() else {
      return try space.discard(at: offset, length: length)
    }
    let huge: UInt64 = 2 << 20
    let first = (offset + huge - 1) / huge * huge
    let last = (offset + length) / huge * huge
    if first < last { try space.discard(at: first, length: last - first) }
    if first != offset || last != offset + length { throw .overQuota(quota: space.quota ?? 0) }
  }

  /// How far the charge of a space is above its quota, or above the lowest charge that a discard has
  /// seen since, in bytes; nil if it is not above the quota. Two discards at the same time may see a
  /// lowest charge that is a little too high.
  private func excess(of space: AddressSpace) -> UInt64? {
    guard pins.isLimited, let quota = space.quota else { return nil }
    let charge = space.charge
    guard charge > quota else {
      lowest.store(.max, .relaxed)
      return nil
    }
    let start = lowest.load(.relaxed)
    let floor = min(start, charge)
    if floor != start { lowest.store(floor, .relaxed) }
    return charge - floor
  }

  /// How much trims may take above the quota before they discard only whole 2 MiB, in bytes.
  private static let tables: UInt64 = 64 << 10
}

/// The membership of a disk in an account. It ends after the last use of the disk. The disk then no
/// longer descends from the fork that made it. The account gives up what that fork had in common
/// with its origin, unless other disks descend from the fork.
final class AccountMember: Sendable {
  let account: QuotaAccount
  let number: UInt64
  /// The fork that made the disk; nil for the disk that owns the quota.
  let birth: UInt64?

  /// Whether the disk's own quota is that of the account.
  let isOwner: Bool

  init(account: QuotaAccount, number: UInt64, birth: UInt64?, isOwner: Bool? = nil) {
    self.account = account
    self.number = number
    self.birth = birth
    self.isOwner = isOwner ?? (birth == nil)
  }

  deinit { if let birth { account.release(fork: birth) } }

  func extend() -> Bool { account.extend(number) }
}
