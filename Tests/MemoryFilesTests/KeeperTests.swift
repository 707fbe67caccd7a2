import CLinux
import Glibc
import Primitives
import Testing

@testable import MemoryFiles

extension Apart {
  /// Keepers, each a process of its own, in a directory of its own.
  @Suite(.enabled(if: program != nil, "the program hugemem is not built beside the tests"))
  struct KeeperTests {
    let scratch = Scratch()

    private func obtain() throws(MemoryFileError) -> KeptMemory {
      try KeptMemory.obtain(
        in: scratch.path, path: nil, room: 1 << 30, stored: [], program: program ?? "", log: log)
    }
    private var status: KeeperStatus? { try? KeeperStatus(of: scratch.path) }
    private func keeper() throws -> Int32 {
      try #require(try KeeperStatus(of: scratch.path)).process
    }

    @Test func aServerGoesOnWithWhatTheLastOneLeft() throws {
      do {
        let memory = try obtain()
        #expect(memory.isNew)
        try memory.file.grow(to: 1 << 40)
        memory.file.put("left", at: 1 << 33)
        #expect(try KeeperStatus(of: scratch.path)?.server == getpid())
        memory.close()
      }
      // The watch has the file too, until its thread has ended.
      #expect(eventually { status?.isUsed == false })
      let memory = try obtain()
      #expect(!memory.isNew && memory.file.get(4, at: 1 << 33) == "left")
      #expect(memory.keeper == "a keeper, process \(try keeper())")
      memory.close()
    }

    @Test func aSecondServerIsRefused() throws {
      let memory = try obtain()
      #expect(
        failure { () throws(MemoryFileError) in _ = try obtain() }
          .contains("process number \(getpid()) uses it"))
      #expect(
        failure { () throws(MemoryFileError) in _ = try KeptMemory.endKeeper(in: scratch.path) }
          .contains("process number \(getpid()) uses the memory"))
      memory.close()
    }

    @Test func aKeeperThatEndsIsReplacedWithTheSameMemory() throws {
      let memory = try obtain()
      try memory.file.grow(to: 1 << 20)
      memory.file.put("same", at: 0)
      var before: Set<Int32> = []
      for _ in 0..<3 {
        let old = try keeper()
        #expect(before.insert(old).inserted)
        kill(old, SIGKILL)
        #expect(eventually { status?.process ?? old != old })
        #expect(eventually { memory.keeper == "a keeper, process \((try? keeper()) ?? 0)" })
      }
      memory.close()
      let kept = try #require(try KeeperConnection(to: scratch.path))
      var bytes = [UInt8](repeating: 0, count: 4)
      #expect(unsafe pread(kept.file, &bytes, 4, 0) == 4 && bytes == Array("same".utf8))
    }

    @Test func aServerThatStopsDoesNotReplaceItsKeeper() throws {
      let memory = try obtain()
      memory.close()
      let old = try keeper()
      endKeeper(old)
      #expect(eventually { status == nil })
    }

    @Test func aProgramThatIsNoKeeperIsToldOf() throws {
      for (wrong, says) in [
        ("/no/such/program", "No such file"), ("/bin/true", "it ended at once"),
      ] {
        #expect(
          failure { () throws(MemoryFileError) in
            _ = try KeptMemory.obtain(
              in: scratch.path, path: nil, room: 0, stored: [], program: wrong, log: log)
          }.contains(says))
      }
    }

    @Test func manyThreadsStartOneKeeper() throws {
      let threads = (0..<8).compactMap { _ in
        WorkerThread(stackSize: 1 << 20) { [path = scratch.path] in
          #expect(throws: Never.self) { _ = try Keeper.find(in: path, program: program ?? "") }
        }
      }
      for thread in threads { thread.join() }
      let one = try keeper()
      endKeeper(one)
      // Had there been two, the other would have the lock.
      #expect(
        eventually { (try? Keeper.lock(scratch.path)).flatMap { $0 }.map { close($0) } != nil })
    }
  }

  /// The service on a thread of this process.
  @Suite struct KeeperServiceTests {
    @Test func aKeeperThatNobodyCanReachEnds() throws {
      let scratch = Scratch()
      let file = try MemoryFile.make()
      let path = KeeperSocket.path(in: scratch.path)
      let listener = try KeeperSocket.listen(path)
      defer { close(listener) }
      let ended = StopSignal()
      let kept = try file.another()
      let thread = WorkerThread(stackSize: 1 << 20) { [directory = scratch.path] in
        guard var service = try? KeeperService(file: kept, listener: listener, directory: directory)
        else { return }
        service.milliseconds = 10
        service.run()
        ended.end()
      }
      // It answers, and stays as long as a server is connected.
      var connection = try KeeperConnection(to: scratch.path)
      #expect(connection?.process == getpid())
      unsafe unlink(path)
      usleep(100_000)
      #expect(!ended.hasEnded)
      connection = nil
      #expect(eventually { ended.hasEnded })
      if ended.hasEnded { thread?.join() }
    }

    @Test func answersAreReadAsTheyWereWritten() {
      let replies: [KeeperReply] = [
        .file(keeper: 12, since: 34), .ended, .inUse, .refused("for a reason"), .refused(""),
      ]
      for reply in replies { #expect(KeeperReply(reply.text) == reply) }
      for wrong in [
        "", "file", "file 1", "file x 2", "file 1 x", "ended now", "in", "in use now", "x",
      ] {
        #expect(KeeperReply(wrong) == nil)
      }
    }
  }
}
