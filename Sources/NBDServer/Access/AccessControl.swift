import Glibc
import HugeMemory
import Primitives
import Synchronization

/// Applies rules to clients, and counts what each identity has.
///
/// A change of the rules holds at once: new connections and forks are decided by the new rules, and a
/// connection whose rights to its disk went away, or were reduced, is told so at its next request.
///
/// - Thread safety: you may call every method on any thread. Requests look only at atomic words.
public final class AccessControl: Sendable {
  fileprivate struct State {
    var rules: Rules
    var accounts: [Identity: ClientAccount] = [:]
    /// The number of accounts at which those that count nothing are dropped.
    var mostAccounts = 64
    /// The connections in transmission, and what they were allowed.
    var grants: [ObjectIdentifier: Grant] = [:]
  }
  private let state: Mutex<State>

  public init(_ rules: Rules) { state = Mutex(State(rules: rules)) }

  public var rules: Rules { state.withLock { $0.rules } }

  /// Replaces the rules.
  public func change(to rules: Rules) {
    state.withLock { state in
      state.rules = rules
      for (identity, account) in state.accounts { account.change(to: rules.allowance(identity)) }
      for grant in state.grants.values { grant.update(rules) }
    }
  }

  /// What a client may do with a disk.
  func rights(_ client: Identity, _ disk: Disk) -> Rights {
    Self.fixedRights(client, disk) ?? rights(client, named: disk.name)
  }

  /// What no rule decides: a disk that a client made by connecting belongs to it, and one that is being
  /// filled or saved to who may use the control socket.
  static func fixedRights(_ client: Identity, _ disk: Disk) -> Rights? {
    if disk.isHeld { return client == .user(getuid()) || client == .user(0) ? .all : [] }
    return disk.owner == client ? .all : nil
  }

  /// What a client may do with a disk of that name, which it does not own.
  func rights(_ client: Identity, named name: String) -> Rights {
    state.withLock { $0.rules.decide(client, name).rights }
  }

  /// Counts one connection more of a client, and returns its account; nil if it may have no more.
  func connect(_ client: Identity) -> ClientAccount? {
    state.withLock { state in
      let account = state.account(client)
      return account.takeConnection() ? account : nil
    }
  }

  func disconnect(_ client: Identity) { account(client).giveConnection() }

  /// The account of a client that is connected.
  func account(_ client: Identity) -> ClientAccount {
    state.withLock { $0.account(client) }
  }

  var accounts: Int { state.withLock { $0.accounts.count } }

  /// Notes a connection in transmission. What it may do is decided by the rules of this moment, which
  /// may have changed since the client was told.
  func grant(_ client: Identity, _ disk: Disk) -> Grant {
    let grant = Grant(client, disk)
    state.withLock { state in
      grant.update(state.rules)
      state.grants[ObjectIdentifier(grant)] = grant
    }
    return grant
  }

  func end(_ grant: Grant) { state.withLock { $0.grants[ObjectIdentifier(grant)] = nil } }
}

extension AccessControl.State {
  /// Accounts that count nothing are dropped when there are many, so that clients with ever new names
  /// take no memory for ever.
  fileprivate mutating func account(_ client: Identity) -> ClientAccount {
    if let account = accounts[client] { return account }
    if accounts.count >= mostAccounts {
      accounts = accounts.filter { $0.value.isInUse }
      mostAccounts = max(64, 2 * accounts.count)
    }
    let account = ClientAccount(rules.allowance(client))
    accounts[client] = account
    return account
  }
}

/// What one connection may do with its disk now.
final class Grant: Sendable {
  private let client: Identity
  private let disk: DiskSettings
  private let isFixed: Bool
  /// (A) The raw value of the rights.
  private let rights: AtomicWord

  init(_ client: Identity, _ disk: Disk) {
    self.client = client
    self.disk = disk.settings
    let fixed = AccessControl.fixedRights(client, disk)
    isFixed = fixed != nil
    rights = AtomicWord(UInt64((fixed ?? []).rawValue))
  }

  func update(_ rules: Rules) {
    guard !isFixed else { return }
    rights.store(UInt64(rules.decide(client, disk.name).rights.rawValue), .relaxed)
  }

  @inline(__always)
  var now: Rights { Rights(rawValue: UInt8(truncatingIfNeeded: rights.load(.relaxed))) }
}

/// The owner of a disk that was made by connecting, and its place among the owner's forks.
final class Ownership: Sendable {
  let owner: Identity
  private let account: ClientAccount

  /// Returns nil if the owner may have no more.
  init?(_ owner: Identity, _ account: ClientAccount) {
    guard account.takeFork() else { return nil }
    self.owner = owner
    self.account = account
  }

  /// For a disk that an earlier server made, which counts even if the owner may have no more.
  init(recovered owner: Identity, _ account: ClientAccount) {
    account.addFork()
    self.owner = owner
    self.account = account
  }

  deinit { account.giveFork() }
}

/// What one identity has, and may have.
final class ClientAccount: Sendable {
  /// (A) each. `.max` means no limit.
  private let mostConnections = AtomicWord(.max)
  private let mostForks = AtomicWord(.max)
  private let mostRequests = AtomicWord(.max)
  private let connections = AtomicWord(0)
  private let forks = AtomicWord(0)
  private let requests = AtomicWord(0)
  /// The limit in bytes, and the quota of the disks that count for it once there is one.
  private let memory: Mutex<(limit: UInt64?, quota: QuotaAccount?)>

  init(_ allowance: Rules.Allowance) {
    memory = Mutex((allowance.memory, nil))
    change(to: allowance)
  }

  func change(to allowance: Rules.Allowance) {
    mostConnections.store(allowance.connections.map { UInt64($0) } ?? .max, .relaxed)
    mostForks.store(allowance.forks.map { UInt64($0) } ?? .max, .relaxed)
    mostRequests.store(allowance.requests.map { UInt64($0) } ?? .max, .relaxed)
    memory.withLock { memory in
      memory.limit = allowance.memory
      memory.quota?.setTotal(allowance.memory)
    }
  }

  private func take(_ count: borrowing AtomicWord, _ most: borrowing AtomicWord) -> Bool {
    if count.add(1, .relaxed) < most.load(.relaxed) { return true }
    count.subtract(1, .relaxed)
    return false
  }

  /// Whether a connection or a disk counts here.
  var isInUse: Bool { connections.load(.relaxed) != 0 || forks.load(.relaxed) != 0 }

  func takeConnection() -> Bool { take(connections, mostConnections) }
  func giveConnection() { connections.subtract(1, .relaxed) }
  func takeFork() -> Bool { take(forks, mostForks) }
  func addFork() { forks.add(1, .relaxed) }
  func giveFork() { forks.subtract(1, .relaxed) }

  /// The quota that all disks of this identity share; nil without a limit of memory.
  func quota(on machine: Machine) -> QuotaAccount? {
    memory.withLock { memory in
      guard let limit = memory.limit else { return nil }
      if memory.quota == nil {
        memory.quota = QuotaAccount(
          total: limit, pins: PinAllowance(quota: limit), machine: machine)
      }
      return memory.quota
    }
  }

  @inline(__always)
  var limitsRequests: Bool { mostRequests.load(.relaxed) != .max }
  func takeRequest() -> Bool { take(requests, mostRequests) }
  func giveRequest() { requests.subtract(1, .relaxed) }
}
