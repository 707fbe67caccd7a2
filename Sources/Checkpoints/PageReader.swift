import CLinux
import Glibc

/// Reads the pages of a checkpoint by their numbers, and checks each. The files stay open, so it does not
/// matter what becomes of their names.
///
/// - Thread safety: you may use it on any thread.
final class PageReader: Sendable {
  private struct Segment: Sendable {
    var file: Int32
    var name: String
    var first: UInt32
    var checksums: [UInt32]
  }
  private let segments: [Segment]
  let pages: UInt32

  init(_ manifest: Manifest, in directory: CheckpointDirectory) throws {
    pages = manifest.pages
    var segments: [Segment] = []
    // Closes the files that were opened before one that is damaged.
    var isGood = false
    defer { if !isGood { for segment in segments { close(segment.file) } } }
    for segment in manifest.segments {
      let file = try directory.open(segment)
      let count = Int(segment.pages)
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
    self.segments = segments
    isGood = true
  }

  deinit { for segment in segments { close(segment.file) } }

  /// Reads `count` pages that follow each other in one file.
  func read(
    _ number: UInt32, count: Int = 1, into target: UnsafeMutableRawPointer
  ) throws(CheckpointError) {
    let (segment, index) = try place(of: number, count)
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
      try unsafe check(
        target + page * SegmentWriter.pageSize, number + UInt32(page), segment, index + page)
    }
  }

  /// Reads pages that follow each other, each into its own place. They may be in several files.
  func read(
    _ first: UInt32, into targets: [UnsafeMutableRawPointer]
  ) throws(CheckpointError) {
    // What one call can do of it, if they are in one file; else one after the other.
    let count = unsafe targets.count
    var done = 0
    if count > 1, let (segment, index) = try? place(of: first, count) {
      let parts = unsafe targets.map {
        unsafe iovec(iov_base: $0, iov_len: SegmentWriter.pageSize)
      }
      let got = unsafe preadv(
        segment.file, parts, Int32(count), index * SegmentWriter.pageSize)
      while (done + 1) * SegmentWriter.pageSize <= got {
        unsafe try check(targets[done], first + UInt32(done), segment, index + done)
        done += 1
      }
    }
    // This also finds out what is wrong, if the call got less.
    for page in done..<count {
      try unsafe read(first + UInt32(page), into: targets[page])
    }
  }

  /// The file that has `count` pages from this one on, and the first one's index in it.
  private func place(
    of number: UInt32, _ count: Int
  ) throws(CheckpointError) -> (Segment, index: Int) {
    guard let segment = segments.last(where: { $0.first <= number }),
      case let index = Int(number - segment.first), index + count <= segment.checksums.count
    else { throw .damaged(Manifest.name, reason: "page \(number) is in no file") }
    return (segment, index)
  }

  private func check(
    _ page: UnsafeRawPointer, _ number: UInt32, _ segment: Segment, _ index: Int
  ) throws(CheckpointError) {
    let sum = unsafe hm_crc32c(0, page, SegmentWriter.pageSize)
    guard sum == segment.checksums[index] else {
      throw .damaged(segment.name, reason: "the checksum of page \(number) is wrong")
    }
  }
}
