import CLinux
import Glibc
import Testing

@testable import MemoryFiles

extension Apart {
  @Suite struct MemoryFileTests {
    static let block = 2 << 20

    /// Maps 2 MiB of a file at such an address, and advises huge pages.
    private func mapped(
      _ file: MemoryFile, _ use: (UnsafeMutableRawPointer) throws -> Void
    ) throws {
      let room = unsafe mmap(nil, 2 * Self.block, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
      let block = UInt(Self.block)
      let start = (UInt(bitPattern: room) + block - 1) / block * block
      let address = unsafe mmap(
        UnsafeMutableRawPointer(bitPattern: start), Self.block, PROT_READ | PROT_WRITE,
        MAP_SHARED | MAP_FIXED, file.descriptor, 0)
      defer { unsafe munmap(room, 2 * Self.block) }
      unsafe try #require(address != MAP_FAILED)
      unsafe madvise(address, Self.block, 14)
      unsafe try use(#require(address))
    }

    @Test(arguments: [true, false])
    func aFileSaysTruthfullyWhichPagesItHas(useTmpfs: Bool) throws {
      let file = try MemoryFile.make(useTmpfs: useTmpfs)
      try file.grow(to: 1 << 40)
      #expect(file.size == 1 << 40 && file.bytesInUse == 0)
      try unsafe mapped(file) { address in
        unsafe address.storeBytes(of: 1, as: UInt8.self)
        // A machine without a free huge page gives small ones all the same.
        let small = file.bytesInUse == 4096
        #expect(small || file.bytesInUse == Self.block)
        if !small { #expect(file.hugePageSize == Self.block) }
        if file.hugePageSize == nil { #expect(small) }
      }
      #expect((file.remedy == nil) == (file.hugePageSize != nil))
      #expect(file.explanation.contains(file.kind == .memfd ? "a memfd" : "a tmpfs of its own"))
      #expect(!file.canRunOut)
    }

    @Test(arguments: [true, false])
    func aHoleOfOnePageGivesItsMemoryBackAtOnce(useTmpfs: Bool) throws {
      let file = try MemoryFile.make(useTmpfs: useTmpfs)
      try file.grow(to: UInt64(Self.block))
      try unsafe mapped(file) { address in
        unsafe memset(address, 1, Self.block)
        #expect(file.bytesInUse == Self.block)
        #expect(unsafe madvise(address + 5 * 4096, 4096, 9) == 0)
        #expect(file.bytesInUse == Self.block - 4096)
        #expect(unsafe (address + 5 * 4096).load(as: UInt8.self) == 0)
        #expect(unsafe (address + 6 * 4096).load(as: UInt8.self) == 1)
      }
    }

    @Test func aMemfdNeverShrinks() throws {
      let file = try MemoryFile.make(useTmpfs: false)
      #expect(file.kind == .memfd)
      try file.grow(to: 8192)
      #expect(ftruncate(file.descriptor, 4096) == -1 && errno == EPERM)
      #expect(file.size == 8192)
    }

    @Test func aFileThatIsKeptSaysTheSameOfItself() throws {
      for useTmpfs in [true, false] {
        let first = try MemoryFile.make(useTmpfs: useTmpfs)
        let kind = first.kind
        let hugePageSize = first.hugePageSize
        let kept = try first.another()
        // The lock is free once the first is gone.
        withExtendedLifetime(first) {
          #expect(
            failure { () throws(MemoryFileError) in _ = try MemoryFile(adopting: dup(kept)) }
              .contains("uses it; stop that first"))
        }
        _ = consume first
        let second = try MemoryFile(adopting: kept)
        #expect(second.kind == kind && second.hugePageSize == hugePageSize)
      }
    }

    @Test func whoUsesAFileIsNamed() throws {
      let file = try MemoryFile.make()
      let kept = try file.another()
      let message = failure { () throws(MemoryFileError) in _ = try MemoryFile(adopting: kept) }
      #expect(message.contains("process number \(getpid()) uses it"))
      #expect(FileLock.isTaken(file.descriptor))
      #expect(FileLock.holder(of: file.descriptor) == getpid())
    }

    @Test func whatIsNoMemoryFileIsNotAdopted() throws {
      let scratch = Scratch()
      let disk = unsafe open(scratch.path("file"), O_CREAT | O_RDWR, 0o600)
      var ends: [Int32] = [0, 0]
      unsafe pipe(&ends)
      defer { close(ends[1]) }
      for wrong in [disk, ends[0]] {
        #expect(
          failure { () throws(MemoryFileError) in _ = try MemoryFile(adopting: wrong) }
            .contains("no memory file"))
      }
    }

    @Test func aFileThatCannotGrowSaysWhatIsInTheWay() throws {
      let file = try MemoryFile.make()
      #expect(
        failure { () throws(MemoryFileError) in try file.grow(to: UInt64.max) }
          .contains("grow the memory file to"))
    }

    @Test func bytesStayWhereTheyWerePut() throws {
      let first = try MemoryFile.make()
      try first.grow(to: 1 << 40)
      first.put("far away", at: 1 << 39)
      let kept = try first.another()
      _ = consume first
      #expect(try MemoryFile(adopting: kept).get(8, at: 1 << 39) == "far away")
    }
  }
}
