/// Something that can give memory back when it is short: the kernel's `struct shrinker`, with the
/// same meanings. All counts are in frames of 4 KiB, or in objects of about that size.
///
/// - Thread safety: `count` is called on any thread; `scan` by one thread at a time.
public protocol Shrinker: Sendable {
  /// The name in statistics.
  var name: String { get }
  /// What it costs to make one object again, relative to other shrinkers. 2 is usual
  /// (`DEFAULT_SEEKS`). A shrinker with twice as much is asked for half as many objects. 0 means no
  /// cost: the first time memory is short, half of the objects go.
  var seeks: Int { get }
  /// How many objects each call of `scan` is asked for (`SHRINK_BATCH`).
  var batch: Int { get }
  /// How many objects a scan could look at now. An estimate; it must be cheap.
  func count() -> Int
  /// Looks at about `target` objects and frees what it can. Returns how many it freed, or nil if it
  /// can free no more for now (`SHRINK_STOP`). It must not wait for memory.
  func scan(_ target: Int) -> Int?
}

extension Shrinker {
  /// The usual cost, 2.
  public var seeks: Int { 2 }
  /// The usual batch, 128 objects.
  public var batch: Int { 128 }
}

/// What a shrinker has done since it was registered.
public struct ShrinkerStatistics: Sendable, Equatable {
  /// The shrinker's name.
  public internal(set) var name: String
  /// Objects that it could look at now.
  public internal(set) var count: Int
  /// Objects that it was asked to look at.
  public internal(set) var scanned: UInt64
  /// Objects that it freed.
  public internal(set) var freed: UInt64
}
