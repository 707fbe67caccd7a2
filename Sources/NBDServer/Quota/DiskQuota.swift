import HugeMemory
import Synchronization

/// What bounds a disk beyond its own space: the account that it shares with forks made by connecting,
/// and the memory that its clients may hold. The same object for the disk's whole life, so that a
/// connection sees an account that was made after it.
final class DiskQuota: Sendable {
  let pins: PinAllowance
  private let member: Mutex<AccountMember?>

  init(pins: PinAllowance, member: AccountMember? = nil) {
    self.pins = pins
    self.member = Mutex(member)
  }

  var account: AccountMember? { member.withLock { $0 } }
  func join(_ new: AccountMember?) { member.withLock { $0 = new } }

  /// Called when a write found its space's quota used: true if the account had more, so that the
  /// write is worth another try.
  func extend() -> Bool { account?.extend() ?? false }

  /// Discards a range. A quota keeps nobody from giving memory back, which may take a table for each
  /// 2 MiB of which a part goes; where the data is shared, nothing comes back for it. So a disk that is
  /// above its quota by such tables discards whole 2 MiB only, as a trim may, until it is below again.
  func discard(
    _ space: AddressSpace, at offset: UInt64, length: UInt64
  ) throws(MemoryError) {
    guard pins.isLimited, let quota = space.quota, space.charge > quota + Self.tables, !extend()
    else { return try space.discard(at: offset, length: length) }
    let huge: UInt64 = 2 << 20
    let first = (offset + huge - 1) / huge * huge
    let last = (offset + length) / huge * huge
    if first < last { try space.discard(at: first, length: last - first) }
  }

  /// What trims may take above the quota, in bytes.
  private static let tables: UInt64 = 64 << 10
}

/// A disk's part in an account. Goes after the disk's last use, and with it what the disk's fork had in
/// common with its origin, unless other disks descend from that fork.
final class AccountMember: Sendable {
  let account: QuotaAccount
  let number: UInt64
  /// The fork that made the disk; nil of the disk whose quota it is.
  let birth: UInt64?

  init(account: QuotaAccount, number: UInt64, birth: UInt64?) {
    self.account = account
    self.number = number
    self.birth = birth
  }

  deinit { if let birth { account.release(fork: birth) } }

  var isOwner: Bool { birth == nil }

  func extend() -> Bool { account.extend(number) }
}
