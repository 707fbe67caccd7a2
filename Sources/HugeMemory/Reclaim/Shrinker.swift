/// Something that can give memory back when it is short: the kernel's `struct shrinker`, with its
/// meanings. All counts are in frames of 4 KiB, or in objects of about that size.
///
/// - Thread safety: `count` is called on any thread; `scan` by one thread at a time.
public protocol Shrinker: Sendable {
  /// For statistics.
  var name: String { get }
  /// What it costs to have one object again, relative to others: 2 is usual (`DEFAULT_SEEKS`), and
  /// twice as much is asked half as often. 0: nothing at all, so half of it goes at the first need.
  var seeks: Int { get }
  /// Objects for a call of `scan` (`SHRINK_BATCH`).
  var batch: Int { get }
  /// Objects that a scan could look at now. Cheap; an estimate.
  func count() -> Int
  /// Looks at about `target` objects and frees what it can. Returns how many it freed; nil if there
  /// is nothing more to be had for now (`SHRINK_STOP`). It must not wait for memory.
  func scan(_ target: Int) -> Int?
}

extension Shrinker {
  public var seeks: Int { 2 }
  public var batch: Int { 128 }
}

/// What a shrinker has done since it was registered.
public struct ShrinkerStatistics: Sendable, Equatable {
  public var name: String
  /// Objects it could look at now.
  public var count: Int
  /// Objects looked at, and freed.
  public var scanned: UInt64
  public var freed: UInt64
}
