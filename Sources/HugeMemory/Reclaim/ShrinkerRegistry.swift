import Primitives

/// The shrinkers of a machine. Distributes what is to be reclaimed among them by size, cost and
/// priority, as `do_shrink_slab` (mm/shrinker.c) does:
///
///     share = (objects >> priority) × 4 / seeks       priority 12: a little of everything … 0: all
///
/// A share smaller than a batch is not lost but deferred to the next call, so that small caches are
/// asked as well. Priority 0 is the last attempt before memory is refused. There a share is at
/// least all objects, whatever they cost, and nothing is deferred. The kernel instead repeats its
/// calls.
///
/// - Thread safety: every method may be called on any thread, but not by a shrinker's `scan`.
public final class ShrinkerRegistry: Sendable {
  /// `DEF_PRIORITY`: where reclaim begins.
  package static let mildest = 12

  /// Identifies a registration.
  public struct Token: Sendable, Hashable { let number: UInt64 }

  private final class Entry {
    let token: Token
    let shrinker: any Shrinker
    /// Objects of past shares that were too few for a batch.
    var deferred = 0
    var scanned: UInt64 = 0
    var freed: UInt64 = 0
    init(_ token: Token, _ shrinker: any Shrinker) {
      self.token = token
      self.shrinker = shrinker
    }
  }

  /// Held for one batch at a time.
  private let scanning = Lock()
  /// (L) scanning.
  @safe private nonisolated(unsafe) var entries: [Entry] = []
  @safe private nonisolated(unsafe) var registered: UInt64 = 0

  /// (A) The thread that runs a shrinker's `scan`, or 0. A thread only compares it with itself.
  private let scanner = AtomicWord(0)
  /// Whether this thread runs a shrinker's `scan`. Memory is not reclaimed for it (`PF_MEMALLOC`).
  var isScanning: Bool { scanner.load(.relaxed) == currentThread() }

  /// Why a shrinker is asked, and how urgent it is.
  struct Need {
    /// The priority, as in `shrink`.
    var priority = ShrinkerRegistry.mildest
    /// Whether a write waits for the memory and is refused if there is none.
    var isDirect = false
  }
  /// (L) scanning: the need for which `count` and `scan` are being called.
  @safe private(set) nonisolated(unsafe) var need = Need()

  /// Adds a shrinker. It is asked from now on, after those registered before it.
  @discardableResult
  public func register(_ shrinker: some Shrinker) -> Token {
    scanning.withLock {
      registered += 1
      let token = Token(number: registered)
      entries.append(Entry(token, shrinker))
      return token
    }
  }

  /// Removes a shrinker. When this returns, the shrinker is not running and is never asked again.
  public func unregister(_ token: Token) {
    scanning.withLock { entries.removeAll { $0.token == token } }
  }

  /// What each shrinker has done, in the order of registration.
  public var statistics: [ShrinkerStatistics] {
    scanning.withLock {
      entries.map {
        ShrinkerStatistics(
          name: $0.shrinker.name, count: $0.shrinker.count(), scanned: $0.scanned, freed: $0.freed)
      }
    }
  }

  /// Runs `body` while no shrinker scans.
  func withoutScans(_ body: () -> Void) { scanning.withLock(body) }

  /// The result of a round of all shrinkers.
  package struct Round: Sendable, Equatable {
    package var scanned = 0
    package var freed = 0
  }

  /// Asks every shrinker for its share at a priority. Stops when `isDone` returns true, which is
  /// checked after each batch.
  @discardableResult
  package func shrink(priority: Int, until isDone: () -> Bool = { false }) -> Round {
    shrink(Need(priority: priority), until: isDone)
  }

  func shrink(_ need: Need, until isDone: () -> Bool) -> Round {
    var round = Round()
    var position = 0
    while !isDone(), let entry = scanning.withLock({ entry(at: position) }) {
      shrink(entry, need, &round, isDone)
      position += 1
    }
    return round
  }

  /// Runs `body`, which asks a shrinker, while no other thread asks one.
  private func asking(_ need: Need, _ body: () -> Void) {
    scanning.withLock {
      self.need = need
      body()
      self.need = Need()
    }
  }

  private func entry(at position: Int) -> Entry? {
    position < entries.count ? entries[position] : nil
  }

  private func shrink(
    _ entry: Entry, _ need: Need, _ round: inout Round, _ isDone: () -> Bool
  ) {
    let priority = need.priority
    let shrinker = entry.shrinker
    let batch = max(1, shrinker.batch)
    var objects = 0
    // Deferred objects are part of this caller's share; at milder priorities, only some of them.
    var left = 0
    var kept = 0
    asking(need) {
      objects = shrinker.count()
      var share =
        shrinker.seeks == 0 ? objects / 2 : (objects >> priority) * 4 / max(1, shrinker.seeks)
      if priority == 0 { share = max(share, objects) }
      let due = entry.deferred >> priority
      kept = entry.deferred - due
      entry.deferred = 0
      // At most twice the number of objects, however many were deferred.
      left = min(due + share, 2 * objects)
    }
    var isStopped = false
    while left > 0, left >= batch || left >= objects || priority == 0, !isStopped {
      asking(need) {
        let target = min(batch, left)
        scanner.store(currentThread(), .relaxed)
        defer { scanner.store(0, .relaxed) }
        // The shrinker may have been removed meanwhile.
        guard entries.contains(where: { $0 === entry }), let freed = shrinker.scan(target) else {
          isStopped = true
          return
        }
        entry.scanned += UInt64(target)
        entry.freed += UInt64(freed)
        round.scanned += target
        round.freed += freed
        // Some shrinkers free everything that they have at once.
        left -= max(target, freed)
      }
      if isDone() { break }
    }
    scanning.withLock { entry.deferred = min(entry.deferred + kept + max(0, left), 2 * objects) }
  }
}
