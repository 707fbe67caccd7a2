import CLinux
import Glibc

/// Reads the pages of a checkpoint by their numbers, and checks each.
final class PageReader {
  private struct Segment {
    var file: Int32
    var name: String
    var first: UInt32
    var checksums: [UInt32]
  }
  private var segments: [Segment] = []
  let pages: UInt32

  init(_ manifest: Manifest, in directory: CheckpointDirectory) throws {
    pages = manifest.pages
    for segment in manifest.segments {
      let file = try directory.open(segment.name, O_RDONLY)
      let count = Int(segment.pages)
      guard file.size == count * (SegmentWriter.pageSize + 4) else {
        throw CheckpointError.damaged(
          segment.name, reason: "has another size than it should have")
      }
      var checksums = [UInt32](repeating: 0, count: count)
      let sum = try unsafe checksums.withUnsafeMutableBytes { bytes in
        try unsafe file.read(into: bytes, at: count * SegmentWriter.pageSize)
        return unsafe hm_crc32c(0, bytes.baseAddress, bytes.count)
      }
      guard sum == segment.checksum else {
        throw CheckpointError.damaged(
          segment.name, reason: "the checksum of its checksums is wrong")
      }
      segments.append(
        Segment(
          file: fcntl(file.descriptor, F_DUPFD_CLOEXEC, 0), name: segment.name,
          first: segment.first, checksums: checksums))
    }
  }

  deinit { for segment in segments { close(segment.file) } }

  /// Reads `count` pages that follow each other in one file.
  func read(
    _ number: UInt32, count: Int = 1, into target: UnsafeMutableRawPointer
  ) throws(CheckpointError) {
    guard let segment = segments.last(where: { $0.first <= number }),
      case let index = Int(number - segment.first), index + count <= segment.checksums.count
    else { throw .damaged(Manifest.name, reason: "page \(number) is in no file") }
    var done = 0
    while done < count * SegmentWriter.pageSize {
      let got = unsafe pread(
        segment.file, target + done, count * SegmentWriter.pageSize - done,
        index * SegmentWriter.pageSize + done)
      if got < 0 && errno == EINTR { continue }
      guard got >= 0 else { throw .file(segment.name, call: "read", errno: errno) }
      guard got > 0 else { throw .damaged(segment.name, reason: "is too short") }
      done += got
    }
    for page in 0..<count {
      let sum = unsafe hm_crc32c(
        0, target + page * SegmentWriter.pageSize, SegmentWriter.pageSize)
      guard sum == segment.checksums[index + page] else {
        throw .damaged(
          segment.name, reason: "the checksum of page \(number + UInt32(page)) is wrong")
      }
    }
  }
}
