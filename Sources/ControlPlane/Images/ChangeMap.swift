import FoundationEssentials

/// A range of a disk that differs from its origin.
public struct ChangedRange: Codable, Sendable, Equatable {
  /// In bytes, from the start of the disk.
  public var start: UInt64
  /// In bytes.
  public var length: UInt64
  /// Whether the file beside the map has the bytes of the range, at the same offset. If not, the
  /// range reads as zeros.
  public var data: Bool

  public init(_ start: UInt64, _ length: UInt64, data: Bool) {
    (self.start, self.length, self.data) = (start, length, data)
  }
}

/// Which ranges of a disk differ from its origin. `export --changed` writes it beside the raw file
/// with the bytes, and `import --onto` reads both.
public struct ChangeMap: Codable, Sendable {
  public static let format = "hugemem-changes"
  /// The most ranges, which the server keeps until it has them all.
  public static let longest = 1 << 22
  /// How many ranges go in one message.
  public static let part = 4096
  private static let largestFile = 1 << 30

  public var format: String
  public var version: Int
  /// The disk and its origin at the export, for people.
  public var disk: String
  public var origin: String
  /// The disk's size, and that of its origin when it was exported. In bytes.
  public var size: UInt64
  public var originSize: UInt64
  /// In order, and apart from each other.
  public var ranges: [ChangedRange]

  public init(
    disk: String, origin: String, size: UInt64, originSize: UInt64, _ ranges: [ChangedRange]
  ) {
    (self.disk, self.origin, self.size, self.originSize) = (disk, origin, size, originSize)
    self.ranges = ranges
    format = Self.format
    version = 1
  }

  /// Reads a map and checks all of it.
  public init(path: String) throws(ControlError) {
    let data = try SmallFile.read(path, atMost: Self.largestFile)
    do { self = try JSONDecoder().decode(Self.self, from: data) } catch {
      let reason = (error as? DecodingError)?.summary ?? "\(error)"
      throw ControlError("\(path): is no map of changes: \(reason)")
    }
    guard format == Self.format, version == 1 else {
      throw ControlError("\(path): is no map of changes of version 1")
    }
    guard size > 0, size < 1 << 63 else {
      throw ControlError("\(path): a disk cannot have \(size) bytes; use 1 to 2^63 - 1")
    }
    if let reason = Self.fault(in: ranges, size: size) { throw ControlError("\(path): \(reason)") }
  }

  /// What is wrong with ranges of a disk of `size` bytes; nil if nothing is.
  static func fault(in ranges: [ChangedRange], size: UInt64) -> String? {
    guard ranges.count <= longest else { return "has more than \(longest) ranges" }
    var end: UInt64 = 0
    for range in ranges {
      guard range.start >= end else {
        return "the range at \(range.start) overlaps the one before it, or is out of order"
      }
      guard range.length > 0, range.start <= size, range.length <= size - range.start else {
        return "the range at \(range.start) is empty, or beyond the end of the disk"
      }
      end = range.start + range.length
    }
    return nil
  }

  /// The map as JSON.
  public func encoded() throws -> Data {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return try encoder.encode(self) + Data("\n".utf8)
  }
}
