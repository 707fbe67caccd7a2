import Frames
import Paging

/// A shrinker that goes through the spaces. Each call continues where the last one ended.
@safe final class SpaceShrinker: Shrinker, @unchecked Sendable {
  // Sendable: (C), and (L) because one thread at a time scans.
  let name: String
  let seeks: Int
  /// Each slot of 2 MiB is looked at as a whole.
  let batch = 4 * Table.count
  /// The machine owns the registry that owns this.
  private unowned let machine: Machine
  private let objects: @Sendable (Machine) -> Int
  private let isWanted: @Sendable (Entry.Kind) -> Bool
  private let visit: @Sendable (Machine, AddressSpace, UInt64) -> Int
  /// (L) the registry's.
  private var scanner = SlotScanner()

  /// `objects` returns how many entries of 4 KiB there are to look at, as `SlotScanner` counts
  /// them. `visit` frees what it can of a slot and returns the number of frames that it freed.
  init(
    _ name: String, seeks: Int, _ machine: Machine, objects: @escaping @Sendable (Machine) -> Int,
    kinds isWanted: @escaping @Sendable (Entry.Kind) -> Bool,
    visit: @escaping @Sendable (Machine, AddressSpace, UInt64) -> Int
  ) {
    self.name = name
    self.seeks = seeks
    self.machine = machine
    self.objects = objects
    self.isWanted = isWanted
    self.visit = visit
  }

  func count() -> Int { objects(machine) }

  func scan(_ target: Int) -> Int? {
    var freed = 0
    scanner.scanAround(machine, entries: target, isWanted) { freed += visit(machine, $0, $1) }
    return freed
  }
}

extension Machine {
  /// Cheap shrinkers come first, and those that have to read memory come last.
  func registerShrinkers() {
    shrinkers.register(FrameCacheShrinker(machine: self))
    shrinkers.register(ZeroPageShrinker(machine: self))
    shrinkers.register(DeferredSplitShrinker(machine: self))
    shrinkers.register(
      SpaceShrinker(
        "empty-tables", seeks: 4, self, objects: { $0.tableEntries }, kinds: { $0 == .table },
        visit: { $1.dropEmptyTable($2) ? 1 : 0 }))
    shrinkers.register(
      SpaceShrinker(
        "thp-underused", seeks: 4, self,
        objects: { $0.underusedLimit == nil ? 0 : $0.dataFrames },
        kinds: { $0 == .huge },
        visit: { machine, space, slot in
          machine.underusedLimit.map { space.splitUnderused(slot, $0) } ?? 0
        }))
    shrinkers.register(
      SpaceShrinker(
        "zero-scan", seeks: 8, self, objects: { $0.mappedEntries },
        kinds: { $0 == .huge || $0 == .table }, visit: { $1.dropZeros($2) }))
    shrinkers.register(EqualToOriginShrinker(machine: self))
  }

  /// The most pages of zeros with which a shrinker leaves a huge frame whole; nil if it never takes
  /// one apart. Call this only while the shrinker is asked.
  private var underusedLimit: Int? {
    let policy = policy
    let limit = Int(policy.maxPtesNone)
    let need = shrinkers.need
    guard policy.shrinkUnderused else { return nil }
    if need.isDirect { return min(limit, Self.sparseLimit(isLast: need.priority == 0)) }
    // As in the kernel: at 511 every huge frame is used enough.
    return limit < 511 ? limit : nil
  }

  /// The same for a write that would be refused. First this selects frames that are mostly zeros,
  /// and in the last round all frames that give back more than the table that they take.
  static func sparseLimit(isLast: Bool) -> Int {
    let half = Table.count / 2 - 1
    return isLast ? min(1, half) : half
  }

  /// About how many frames hold data.
  var dataFrames: Int { max(0, arena.framesInUse - events.tables) }
  /// The number of entries of all tables. A scan passes a whole table, however little is in it.
  var tableEntries: Int { max(0, events.tables) * Table.count }
  /// An upper bound for the entries of 4 KiB that a scan of all data passes. Dense small pages
  /// count twice, so that huge frames beside sparse tables are reached.
  var mappedEntries: Int { dataFrames + tableEntries }
}
