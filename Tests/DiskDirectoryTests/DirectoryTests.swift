import CLinux
import Glibc
import Testing

@testable import DiskDirectory

/// The directory of a memory file: what a server that ends at any store leaves.
@Suite struct DirectoryTests {
  /// A memory file that goes with the test.
  @safe final class File {
    let descriptor: Int32
    init() {
      var path = "/dev/shm/hugemem-test-XXXXXX".utf8CString.map { $0 }
      descriptor = unsafe mkstemp(&path)
      unsafe unlink(path)
      #expect(ftruncate(descriptor, off_t(DiskDirectory.length(capacity: 4 << 20))) == 0)
    }
    deinit { close(descriptor) }

    func byte(at offset: Int) -> UInt8 {
      var byte: UInt8 = 0
      #expect(unsafe pread(descriptor, &byte, 1, off_t(offset)) == 1)
      return byte
    }
    func set(_ byte: UInt8, at offset: Int) {
      var byte = byte
      #expect(unsafe pwrite(descriptor, &byte, 1, off_t(offset)) == 1)
    }
    func word(at offset: Int) -> UInt64 {
      (0..<8).reversed().reduce(0) { $0 << 8 | UInt64(byte(at: offset + $1)) }
    }
    func set(word: UInt64, at offset: Int) {
      for index in 0..<8 {
        set(UInt8(truncatingIfNeeded: word >> UInt64(8 * index)), at: offset + index)
      }
    }
  }

  private func disk(_ id: UInt64, _ name: String = "disk", size: UInt64 = 1 << 30) -> DiskRecord {
    DiskRecord(
      id: id, name: name, description: "a line, with \"ü\"", size: size, originalSize: size,
      spaceSize: 1 << 30, quota: id == 2 ? 4096 : nil, reserve: nil, isReadOnly: id == 3,
      isMadeByConnecting: false, countsElsewhere: false, root: Int(id), snapshot: id > 1 ? 7 : nil,
      origin: id > 1 ? (1, "golden") : nil, owner: id == 2 ? "cert:somebody" : nil)
  }

  private func found(_ file: File) throws -> [DiskRecord] {
    try DiskDirectory(file.descriptor).recover().disks.map(\.disk)
  }

  @Test func whatWasAddedIsThere() throws {
    let file = File()
    do {
      let directory = try DiskDirectory(file.descriptor)
      #expect(directory.recover().disks.isEmpty)
      let slots = directory.add([disk(1, "golden")]) + directory.add([disk(2), disk(3), disk(4)])
      _ = directory.replace(slots[1], with: disk(2, "renamed"))
      directory.remove([slots[2]])
    }
    #expect(try found(file) == [disk(1, "golden"), disk(2, "renamed"), disk(4)])
    // New disks get ids that no disk has had.
    let directory = try DiskDirectory(file.descriptor)
    _ = directory.recover()
    #expect(directory.newID() == 5)
  }

  /// The longest names, and every number at its limits.
  @Test func everyRecordIsReadAsItWasWritten() {
    let long = String(repeating: "n", count: 255)
    for number: UInt64 in [1, 1 << 20, 1 << 48] {
      let record = DiskRecord(
        id: number, name: long, description: long, size: number, originalSize: 1,
        spaceSize: 1 << 48, quota: number, reserve: 0, isReadOnly: true, isMadeByConnecting: true,
        countsElsewhere: true, root: 0, snapshot: Layout.rootCount - 1,
        origin: (number, long), owner: long)
      let bytes = record.encoded
      #expect(bytes.count <= Layout.recordSize - 24)
      #expect(DiskRecord(bytes) == record)
      for length in 0..<bytes.count { #expect(DiskRecord(Array(bytes[..<length])) == nil) }
    }
  }

  /// A server that ends after the new record of a change is there, and before the old one is gone.
  @Test func theNewerOfTwoRecordsCounts() throws {
    for isFirst in [true, false] {
      let file = File()
      let mapped = try MappedDirectory(file.descriptor)
      mapped.publish(disk(1, "old").encoded, generation: 1, batch: 0, in: isFirst ? 0 : 5)
      mapped.publish(disk(1, "new").encoded, generation: 2, batch: 0, in: isFirst ? 5 : 0)
      #expect(try found(file).map(\.name) == ["new"])
      // The other one is gone for good.
      #expect([0, 5].filter { mapped.state($0) != 0 }.count == 1)
    }
  }

  /// A server that ends while it adds several disks.
  @Test func ofABatchAllAreThereOrNone() throws {
    for isComplete in [true, false] {
      let file = File()
      let mapped = try MappedDirectory(file.descriptor)
      mapped.publish(disk(1).encoded, generation: 1, batch: 0, in: 0)
      mapped.pendingBatch = 4
      for id in 2...5 { mapped.publish(disk(UInt64(id)).encoded, generation: 1, batch: 4, in: id) }
      if isComplete { mapped.pendingBatch = 0 }
      #expect(try found(file).map(\.id) == (isComplete ? [1, 2, 3, 4, 5] : [1]))
      #expect(try found(file).map(\.id) == (isComplete ? [1, 2, 3, 4, 5] : [1]))
    }
  }

  /// Only what is wrong with it is lost.
  @Test func aFlippedBitOfARecordLosesThatDisk() throws {
    let length = 24 + disk(2).encoded.count
    for bit in stride(from: 0, to: length * 8, by: 7) {
      let file = File()
      do {
        let directory = try DiskDirectory(file.descriptor)
        _ = directory.recover()
        _ = directory.add([disk(1)]) + directory.add([disk(2)])
      }
      let place = Layout.records + Layout.recordSize + bit / 8
      file.set(file.byte(at: place) ^ 1 << UInt8(bit % 8), at: place)
      let (disks, damaged) = try DiskDirectory(file.descriptor).recover()
      #expect(disks.map(\.disk) == [disk(1)], "bit \(bit)")
      // A state that becomes 0 is no record.
      #expect(damaged == 1 || bit == 0)
    }
  }

  /// Refused, and left as it was.
  @Test func aHeaderThatIsNotOursIsRefused() throws {
    for word in 0..<Layout.Word.pendingBatch.rawValue {
      for bit: UInt64 in [0, 1, 17, 63] {
        let file = File()
        _ = try MappedDirectory(file.descriptor)
        let changed = file.word(at: word * 8) ^ 1 << bit
        file.set(word: changed, at: word * 8)
        #expect(throws: DirectoryError.self) { try DiskDirectory(file.descriptor) }
        #expect(throws: DirectoryError.self) { try DiskDirectory.check(file.descriptor) }
        #expect(file.word(at: word * 8) == changed)
      }
    }
    // Another version, with a checksum that is right.
    let file = File()
    var words = Layout.words
    words[0] = 2
    for (index, value) in ([Layout.magic] + words).enumerated() {
      file.set(word: value, at: index * 8)
    }
    let sum = unsafe words.withUnsafeBytes { unsafe hm_crc32c(0, $0.baseAddress, $0.count) }
    file.set(word: UInt64(sum), at: (words.count + 1) * 8)
    #expect(throws: DirectoryError.otherVersion(2)) { try DiskDirectory(file.descriptor) }
  }

  /// A file that lost its end is refused. The length has a checksum, so that a flipped bit of it does no harm.
  @Test func aFileThatIsShorterThanItWasIsRefused() throws {
    let file = File()
    let length = DiskDirectory.length(capacity: 4 << 20)
    _ = try DiskDirectory(file.descriptor)
    let at = Layout.Word.length.rawValue * 8
    let word = file.word(at: at)
    #expect((word >> 16) << 16 == length)
    for size in [length - 1, length / 2, 4096] {
      #expect(ftruncate(file.descriptor, off_t(size)) == 0)
      let error = DirectoryError.cutShort(size: size, length: length)
      #expect(throws: error) { try DiskDirectory.check(file.descriptor) }
      #expect(throws: error) { try DiskDirectory(file.descriptor) }
      #expect(file.word(at: at) == word)
    }
    #expect(ftruncate(file.descriptor, off_t(length)) == 0)
    for bit in 0..<64 {
      file.set(word: word ^ 1 << UInt64(bit), at: at)
      try DiskDirectory.check(file.descriptor)
    }
    // A longer file is longer from now on.
    #expect(ftruncate(file.descriptor, off_t(length + 2 << 20)) == 0)
    _ = try DiskDirectory(file.descriptor)
    #expect(ftruncate(file.descriptor, off_t(length)) == 0)
    #expect(throws: DirectoryError.self) { try DiskDirectory.check(file.descriptor) }
  }

  /// A file of something else, and a new one whose first server ended before the header was whole.
  @Test func onlyAnEmptyFileBecomesAMemory() throws {
    let other = File()
    other.set(1, at: 4000)
    #expect(throws: DirectoryError.noMemory) { try DiskDirectory(other.descriptor) }
    #expect(other.byte(at: 0) == 0 && other.byte(at: 4000) == 1)
    let later = File()
    later.set(1, at: 1 << 20)
    #expect(throws: DirectoryError.noMemory) { try DiskDirectory(later.descriptor) }
    #expect(later.byte(at: 0) == 0)
    for count in 0...Layout.words.count {
      let file = File()
      for index in 0..<count { file.set(word: Layout.words[index], at: (index + 1) * 8) }
      #expect(throws: DirectoryError.noMemory) { try DiskDirectory.check(file.descriptor) }
      _ = try DiskDirectory(file.descriptor)
      #expect(file.word(at: 0) == Layout.magic)
    }
  }

  /// A directory takes memory for what is in it, also when it is read.
  @Test func anUnusedRecordTakesNoMemory() throws {
    let file = File()
    let directory = try DiskDirectory(file.descriptor)
    _ = directory.add([disk(1)])
    _ = try found(file)
    var status = stat()
    #expect(unsafe fstat(file.descriptor, &status) == 0)
    #expect(status.st_blocks * 512 <= 64 << 10)
  }
}
