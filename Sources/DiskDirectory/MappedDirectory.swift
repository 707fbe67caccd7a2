import CLinux
import Glibc
import Primitives

/// The part of a memory file before the frames, in memory.
@safe final class MappedDirectory: @unchecked Sendable {
  // Sendable: constant pointers. Words are atomic, and the rest of a record changes only while its state
  // is 0.

  private let file: Int32
  private let start: UnsafeMutableRawPointer
  /// (A) The words of the header.
  private let words: AtomicWordPointer

  /// Maps a file. A new one gets its header.
  init(_ file: Int32, canRunOut: Bool = false) throws(DirectoryError) {
    let header = try HeaderPage(file)
    let isNew = try header.check()
    guard let start = unsafe hm_map_file(file, 0, Layout.frames, 0) else {
      throw .system(call: "mmap", errno: errno)
    }
    self.file = file
    unsafe self.start = start
    unsafe words = start.assumingMemoryBound(to: AtomicWord.self)
    // The header and all roots.
    guard unsafe !canRunOut || hm_populate(start, Layout.records) == 0 else {
      // What the file had room for.
      if isNew { _ = unsafe hm_punch(start, Layout.records) }
      throw .noRoom
    }
    if isNew {
      for (index, value) in Layout.words.enumerated() {
        unsafe words[index + 1].store(value, .relaxed)
      }
      set(.checksum, HeaderPage.checksum(of: Layout.words))
      set(.magic, Layout.magic)
    }
    // From now on, a start refuses the file if it has become shorter.
    set(.length, Sealed.word(header.size >> 16))
  }

  deinit { unsafe hm_release(start, Layout.frames) }

  func word(_ word: Layout.Word) -> UInt64 { unsafe words[word.rawValue].load(.acquire) }
  func set(_ word: Layout.Word, _ value: UInt64) {
    unsafe words[word.rawValue].store(value, .release)
  }

  /// The batch that is being added; 0 if there is none. Nil if the word is damaged: what it says removes
  /// disks.
  var pendingBatch: UInt64? {
    get { Sealed.number(word(.pendingBatch)) }
    set { set(.pendingBatch, Sealed.word(newValue ?? 0)) }
  }

  /// Where the root of a space lies.
  func root(_ index: Int) -> UnsafeMutableRawPointer { unsafe start + Layout.roots + index * 8 }

  /// Makes a root what another one is. All that it named is no longer reachable by it.
  func copyRoot(from source: Int, to target: Int) {
    let roots = unsafe (start + Layout.roots).assumingMemoryBound(to: AtomicWord.self)
    unsafe roots[target].store(roots[source].load(.relaxed), .release)
  }

  // MARK: Records
  //
  //   0   state: 0 if there is none, else which of several records of one disk is the newest
  //   8   the batch that it was added with, or 0
  //   16  length of what follows, and in the upper half the checksum of all of this
  //   24  the disk (`DiskRecord.encoded`)

  private func record(_ slot: Int) -> UnsafeMutableRawPointer {
    unsafe start + Layout.records + slot * Layout.recordSize
  }

  /// (A)
  private func fields(_ slot: Int) -> AtomicWordPointer {
    unsafe record(slot).assumingMemoryBound(to: AtomicWord.self)
  }

  /// Makes the system find memory for slots. Returns false if there is none.
  func obtain(_ slots: Range<Int>) -> Bool {
    let (first, end) = unsafe (record(slots.lowerBound), record(slots.upperBound))
    // A page has two records.
    let page = unsafe UnsafeMutableRawPointer(
      bitPattern: UInt(bitPattern: first) & ~UInt(Layout.page - 1))!
    return unsafe hm_populate(page, end - page) == 0
  }

  /// Gives back the memory of all slots from one on, which have no records, in whole huge pages.
  func giveBack(from slot: Int) {
    let huge = 2 << 20
    let offset = (Layout.records + slot * Layout.recordSize + huge - 1) / huge * huge
    if offset < Layout.frames { _ = unsafe hm_punch(start + offset, Layout.frames - offset) }
  }

  /// The slots that were ever used, and some beside them. To read the others by the mapping would make the
  /// system find memory for them.
  var touchedSlots: [Int] {
    var slots: [Int] = []
    var (start, end) = (Int64(0), Int64(Layout.records))
    func slot(_ offset: Int64) -> Int { (Int(offset) - Layout.records) / Layout.recordSize }
    while true {
      switch unsafe hm_next_data(file, end, &start, &end) {
      case 0 where start < Layout.frames:
        slots += slot(start)..<min(slot(end - 1) + 1, Layout.recordCount)
      case EOPNOTSUPP: return (0..<Layout.recordCount).filter { !isEmptyInFile($0) }
      default: return slots
      }
    }
  }

  /// Whether a slot's state and length are 0 in the file, of which holes are read as zeros.
  private func isEmptyInFile(_ slot: Int) -> Bool {
    var words: [3 of UInt64] = [0, 0, 0]
    let offset = Layout.records + slot * Layout.recordSize
    let read = unsafe withUnsafeMutableBytes(of: &words) {
      unsafe pread(file, $0.baseAddress, $0.count, offset)
    }
    return read == 24 && words[0] == 0 && words[2] == 0
  }

  func state(_ slot: Int) -> UInt64 { unsafe fields(slot)[0].load(.acquire) }

  /// Writes a record to a slot without one, and publishes it by its last store.
  func publish(_ disk: [UInt8], generation: UInt64, batch: UInt64, in slot: Int) {
    precondition(disk.count <= Layout.recordSize - 24 && state(slot) == 0)
    let target = unsafe UnsafeMutableRawBufferPointer(start: record(slot) + 24, count: disk.count)
    unsafe target.copyBytes(from: disk)
    let sum = checksum(of: disk, generation, batch)
    unsafe fields(slot)[1].store(batch, .relaxed)
    unsafe fields(slot)[2].store(UInt64(disk.count) | sum << 32, .relaxed)
    // All of the above is there before this.
    unsafe fields(slot)[0].store(generation, .release)
  }

  /// Removes a record. Without its length and checksum, no flipped bit brings it back.
  func clear(_ slot: Int) {
    unsafe fields(slot)[0].store(0, .release)
    unsafe fields(slot)[2].store(0, .release)
  }

  /// Whether all of a record is gone.
  func isClear(_ slot: Int) -> Bool {
    unsafe fields(slot)[0].load(.acquire) == 0 && fields(slot)[2].load(.relaxed) == 0
  }

  /// The record in a slot with one; nil if it is damaged.
  func read(_ slot: Int) -> (disk: DiskRecord, generation: UInt64, batch: UInt64)? {
    let generation = state(slot)
    let batch = unsafe fields(slot)[1].load(.relaxed)
    let sized = unsafe fields(slot)[2].load(.relaxed)
    let length = Int(sized & 0xffff_ffff)
    guard length <= Layout.recordSize - 24 else { return nil }
    let bytes = unsafe [UInt8](UnsafeRawBufferPointer(start: record(slot) + 24, count: length))
    guard checksum(of: bytes, generation, batch) == sized >> 32, let disk = DiskRecord(bytes) else {
      return nil
    }
    return (disk, generation, batch)
  }

  private func checksum(of disk: [UInt8], _ generation: UInt64, _ batch: UInt64) -> UInt64 {
    var numbers: [3 of UInt64] = [generation, batch, UInt64(disk.count)]
    var sum = unsafe hm_crc32c(0, &numbers, 24)
    unsafe disk.withUnsafeBytes { sum = unsafe hm_crc32c(sum, $0.baseAddress, $0.count) }
    return UInt64(sum)
  }
}
