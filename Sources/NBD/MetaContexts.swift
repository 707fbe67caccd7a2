/// The metadata contexts that BLOCK_STATUS can report. The identifier of a context is the number of
/// its bit.
public struct MetaContexts: OptionSet, Sendable, Equatable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// `base:allocation`: 3 for a hole, which reads as zeros; 0 for data.
  public static let allocation = Self(rawValue: 1 << 1)
  /// `x-hugemem:origin`: 1 for what is as it was in the origin when the disk was forked, 0 for data
  /// that was written since, 2 for what was discarded since. For a disk that is no fork, the same as
  /// `base:allocation`.
  ///
  /// The bits are those of `base:allocation` too, with a hole for what is the same. So qemu, with its
  /// option `x-dirty-bitmap`, takes a fork for an overlay of its origin.
  public static let origin = Self(rawValue: 1 << 2)
  /// `x-hugemem:frames`: 0 for what is not mapped, 1 for the zero page, 2 for frames of 4 KiB, 4 for
  /// frames of 2 MiB.
  public static let frames = Self(rawValue: 1 << 3)

  static let named: [(name: String, context: MetaContexts)] = [
    ("base:allocation", .allocation), ("x-hugemem:origin", .origin), ("x-hugemem:frames", .frames),
  ]

  /// The identifier of a single context on the wire.
  public var identifier: UInt32 { UInt32(rawValue.trailingZeroBitCount) }

  /// The context with the lowest identifier; nil if there is none.
  public var first: MetaContexts? {
    isEmpty ? nil : MetaContexts(rawValue: rawValue & (~rawValue &+ 1))
  }

  /// The context with an identifier; nil if there is no such one.
  public init?(identifier: UInt32) {
    guard let known = Self.named.first(where: { $0.context.identifier == identifier }) else {
      return nil
    }
    self = known.context
  }

  /// The contexts that a query names. In a LIST, a namespace with its colon stands for all in it.
  init(query: String, isList: Bool) {
    self = []
    for (name, context) in Self.named
    where name == query || isList && query.hasSuffix(":") && name.hasPrefix(query) {
      insert(context)
    }
  }
}
