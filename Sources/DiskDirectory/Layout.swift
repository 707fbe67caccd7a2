/// Where things lie in a memory file. All numbers are 64 bits, little-endian.
///
/// ```
///  0        header: magic, version, this layout, its checksum; then what changes
///  4 KiB    the roots of spaces, 8 bytes each
///  4 MiB    the records of disks, 2 KiB each
///  260 MiB  the frames
/// ```
/// The file is sparse: what was never used costs nothing.
enum Layout {
  /// "HUGEMEM" and a zero.
  static let magic: UInt64 = 0x004d_454d_4547_5548
  static let version: UInt64 = 1
  static let page = 4096

  static let roots = 4096
  /// Each disk has one, and what it was forked from has another one.
  static let rootCount = 1 << 18
  static let records = 4 << 20
  static let recordSize = 2048
  /// Twice the most disks, since a changed disk has two records for a moment.
  static let recordCount = 1 << 17
  static let frames = records + recordSize * recordCount

  /// The words of the header.
  enum Word: Int {
    case magic, version, page, roots, rootCount, records, recordSize, recordCount, frames
    /// Of all words above, from the version on.
    case checksum
    /// Records of this batch are not there yet; 0 if there is none (`MappedDirectory.pendingBatch`).
    case pendingBatch
    /// How long the file has been made, in bytes; 0 in files of before (`Sealed`).
    case length
  }

  /// What the words from `version` to `frames` must be.
  static let words: [UInt64] = [
    version, UInt64(page), UInt64(roots), UInt64(rootCount), UInt64(records), UInt64(recordSize),
    UInt64(recordCount), UInt64(frames),
  ]
}
