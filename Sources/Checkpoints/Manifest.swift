import CLinux
import FoundationEssentials
import Glibc

/// What a checkpoint has: its disks, and the files with their pages. It is the file `CHECKPOINT`: a line
/// of JSON, and a line with the checksum of that line. Its rename is what makes a checkpoint the last
/// one.
struct Manifest: Codable, Sendable {
  static let name = "CHECKPOINT"
  static let temporary = name + ".new"
  static let format = "hugemem-checkpoint"

  var format = Manifest.format
  var version = 1
  /// Counts the checkpoints of the directory. It is in the name of the file that this one added.
  var generation: Int
  /// In the order of their pages.
  var segments: [Segment]
  var disks: [SavedDisk]

  /// A file of pages.
  struct Segment: Codable, Sendable, Equatable {
    var name: String
    /// The number of its first page. Pages are numbered through all files; 0 is no page.
    var first: UInt32
    var pages: UInt32
    /// The checksum of the checksums of its pages, which follow the pages.
    var checksum: UInt32
  }

  /// The number of pages in all files.
  var pages: UInt32 { segments.last.map { $0.first - 1 + $0.pages } ?? 0 }

  /// Whether a file has the name that segments have.
  static func isSegment(_ name: String) -> Bool {
    name.hasPrefix("pages.")
      && Int(name.dropFirst(6)).map { "pages.\($0)" == name && $0 > 0 } == true
  }

  /// Whether all its files are there, as long as they should be.
  func isThere(in directory: CheckpointDirectory) -> Bool {
    segments.allSatisfy { (try? directory.open($0)) != nil }
  }

  /// Reads the manifest of a directory; nil if it has none yet.
  init?(lastIn directory: CheckpointDirectory) throws {
    do { try self.init(in: directory) } catch CheckpointError.none { return nil }
  }

  /// Reads the manifest of a directory and checks it.
  init(in directory: CheckpointDirectory) throws {
    guard directory.has(Self.name) else { throw CheckpointError.none }
    let file = try directory.open(Self.name)
    let size = file.size
    guard size >= 0, size <= 1 << 28 else {
      throw CheckpointError.damaged(Self.name, reason: "is no manifest")
    }
    var data = Data(count: size)
    try unsafe data.withUnsafeMutableBytes { try unsafe file.read(into: $0, at: 0) }
    let lines = data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    guard lines.count == 3, lines[2].isEmpty,
      String(decoding: lines[1], as: UTF8.self) == Self.checksum(of: Data(lines[0]))
    else { throw CheckpointError.damaged(Self.name, reason: "its checksum is wrong") }
    struct Kind: Decodable { var format: String, version: Int }
    let decoder = JSONDecoder()
    guard let kind = try? decoder.decode(Kind.self, from: Data(lines[0])),
      kind.format == Self.format
    else { throw CheckpointError.damaged(Self.name, reason: "is no manifest of a checkpoint") }
    guard kind.version == 1 else { throw CheckpointError.otherVersion(kind.version) }
    do { self = try decoder.decode(Self.self, from: Data(lines[0])) } catch {
      throw CheckpointError.damaged(Self.name, reason: "\(error)")
    }
    try check()
  }

  init(generation: Int, segments: [Segment], disks: [SavedDisk]) {
    (self.generation, self.segments, self.disks) = (generation, segments, disks)
  }

  private func check() throws(CheckpointError) {
    var next: UInt64 = 1
    for segment in segments {
      guard UInt64(segment.first) == next, Self.isSegment(segment.name) else {
        throw .damaged(Self.name, reason: "its files do not follow each other")
      }
      next += UInt64(segment.pages)
      guard next <= UInt64(UInt32.max) else {
        throw .damaged(Self.name, reason: "has too many pages")
      }
    }
    for disk in disks {
      for tree in [disk.contents] + (disk.origin.map { [$0.contents] } ?? []) {
        guard tree.size > 0, tree.size <= 1 << 48, tree.root <= pages, disk.size <= tree.size,
          disk.size > 0
        else {
          throw .damaged(Self.name, reason: "disk \(disk.name) has an impossible size or root")
        }
      }
    }
  }

  /// Writes the manifest beside the old one, and puts it in its place.
  func write(to directory: CheckpointDirectory) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    var data = try encoder.encode(self)
    data += Data("\n\(Self.checksum(of: data))\n".utf8)
    do {
      let file = try directory.make(Self.temporary)
      try unsafe data.withUnsafeBytes { try unsafe file.write($0, at: 0) }
      try file.sync()
      try directory.rename(Self.temporary, to: Self.name)
    } catch {
      directory.remove(Self.temporary)
      throw error
    }
  }

  private static func checksum(of data: Data) -> String {
    let sum = unsafe data.withUnsafeBytes { unsafe hm_crc32c(0, $0.baseAddress, $0.count) }
    return "crc32c " + String(sum, radix: 16)
  }
}

/// A disk of a checkpoint.
public struct SavedDisk: Codable, Sendable {
  public var name: String
  /// In bytes; its contents may be larger.
  public var size: UInt64
  public var description: String
  public var isReadOnly: Bool
  /// In bytes; nil if it has none.
  public var quota: UInt64?
  public var reserve: UInt64?
  var contents: Tree
  public var origin: Origin?

  /// What a disk was forked from.
  public struct Origin: Codable, Sendable {
    public var name: String
    /// The disk's size at the fork, in bytes.
    public var size: UInt64
    /// The contents at the fork, to which a reset returns.
    var contents: Tree
  }

  /// The contents of a space.
  struct Tree: Codable, Sendable, Equatable {
    /// The space's size, in bytes, from which follows how many levels of tables it has.
    var size: UInt64
    /// The page with the root table; 0 if the space is untouched.
    var root: UInt32
  }
}
