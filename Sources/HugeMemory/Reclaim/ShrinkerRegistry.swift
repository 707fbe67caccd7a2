import Primitives

/// The shrinkers of a machine. Distributes what is to be reclaimed over them by size, cost and
/// priority, as `do_shrink_slab` (mm/shrinker.c) does:
///
///     share = (objects >> priority) × 4 / seeks       priority 12: a little of everything … 0: all
///
/// A share smaller than a batch is not lost but deferred to the next call, so small caches are asked
/// in time as well. Priority 0 is the last question before memory is refused: there a share is no less
/// than all objects, whatever they cost, and nothing is put off. The kernel asks again and again.
///
/// - Thread safety: every method may be called on any thread, but not by a shrinker's `scan`.
public final class ShrinkerRegistry: Sendable {
  /// `DEF_PRIORITY`: where reclaim begins.
  public static let mildest = 12

  /// Names a registration.
  public struct Token: Sendable, Hashable { let number: UInt64 }

  private final class Entry {
    let token: Token
    let shrinker: any Shrinker
    /// Objects of its share that were too few for a batch so far.
    var deferred = 0
    var scanned: UInt64 = 0
    var freed: UInt64 = 0
    init(_ token: Token, _ shrinker: any Shrinker) {
      self.token = token
      self.shrinker = shrinker
    }
  }

  /// Held for a batch at a time.
  private let scanning = Lock()
  /// (L) scanning.
  @safe private nonisolated(unsafe) var entries: [Entry] = []
  @safe private nonisolated(unsafe) var registered: UInt64 = 0

  /// (A) The thread that a shrinker scans on, 0 for none; each only looks for itself.
  private let scanner = AtomicWord(0)
  /// Whether this thread is a shrinker's scan: memory is not reclaimed for it (`PF_MEMALLOC`).
  var isScanning: Bool { scanner.load(.relaxed) == currentThread() }

  /// How pressing the need is that a shrinker is asked for.
  struct Need {
    /// As of `shrink`.
    var priority = ShrinkerRegistry.mildest
    /// A write waits for the memory, and is refused if there is none.
    var isDirect = false
  }
  /// (L) scanning: why `count` and `scan` are being called.
  @safe private(set) nonisolated(unsafe) var need = Need()

  /// From now on the shrinker is asked, after those before it.
  @discardableResult
  public func register(_ shrinker: some Shrinker) -> Token {
    scanning.withLock {
      registered += 1
      let token = Token(number: registered)
      entries.append(Entry(token, shrinker))
      return token
    }
  }

  /// Returns once the shrinker is not asked any more, nor being asked.
  public func unregister(_ token: Token) {
    scanning.withLock { entries.removeAll { $0.token == token } }
  }

  /// What each has done, in the order of registration.
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

  /// What a round of all shrinkers came to.
  public struct Round: Sendable, Equatable {
    public var scanned = 0
    public var freed = 0
  }

  /// Asks every shrinker for its share at a priority, or until `isDone` says so, which is asked after
  /// each batch.
  @discardableResult
  public func shrink(priority: Int, until isDone: () -> Bool = { false }) -> Round {
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

  /// Runs `body`, which asks a shrinker, while no other does.
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
    // What nobody could scan so far is for this caller to do, part of it at the milder priorities.
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
      // Not more than twice what there is, however much was put off.
      left = min(due + share, 2 * objects)
    }
    var isStopped = false
    while left > 0, left >= batch || left >= objects || priority == 0, !isStopped {
      asking(need) {
        let target = min(batch, left)
        scanner.store(currentThread(), .relaxed)
        defer { scanner.store(0, .relaxed) }
        // It may be gone meanwhile.
        guard entries.contains(where: { $0 === entry }), let freed = shrinker.scan(target) else {
          isStopped = true
          return
        }
        entry.scanned += UInt64(target)
        entry.freed += UInt64(freed)
        round.scanned += target
        round.freed += freed
        // Some free all that they have at once.
        left -= max(target, freed)
      }
      if isDone() { break }
    }
    scanning.withLock { entry.deferred = min(entry.deferred + kept + max(0, left), 2 * objects) }
  }
}
