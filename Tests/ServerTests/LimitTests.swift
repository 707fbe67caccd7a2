import HugeMemory
import Logging
import NBDServer
import Testing

@testable import ControlPlane

@Suite struct LimitTests {
  let scratch = Scratch()
  let server: ControlServer
  let disks: Disks
  static let mib: UInt64 = 1 << 20

  init() throws {
    var policy = Policy()
    policy.enabled = .never
    disks = Disks(
      machine: try Machine(
        limit: 16 * Self.mib, capacity: 64 * Self.mib, policy: policy, background: .none))
    server = ControlServer(
      disks: disks, directory: RuntimeDirectory(scratch.path),
      log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
  }

  private func answer(_ request: ControlRequest) -> ControlResponse {
    server.answer(request) { _, _ in }
  }
  private func status(_ request: ControlRequest) throws -> DiskStatus {
    guard case .disks(let disks) = answer(request) else { throw ControlError("no disk") }
    return try #require(disks.first)
  }
  private func failure(_ request: ControlRequest) -> String {
    if case .failure(let message) = answer(request) { message } else { "no failure" }
  }
  /// Writes pages from the start. Returns the bytes written, and the error that ended the writes.
  private func fill(_ name: String, _ bytes: UInt64) throws -> (UInt64, MemoryError?) {
    let space = try disks.lookup(name).space
    var done: UInt64 = 0
    while done < bytes {
      do throws(MemoryError) { try space.store(done | 1, at: done) } catch { return (done, error) }
      done += 4096
    }
    return (done, nil)
  }

  @Test func limitsAreSetShownAndLifted() throws {
    let limits = DiskLimits(quota: 4 * Self.mib, reserve: Self.mib)
    #expect(answer(.create(name: "a", size: 1 << 30, limits: limits)) == .done)
    var shown = try status(.limit(name: "a"))
    #expect(shown.quota == 4 * Self.mib && shown.reserve == Self.mib && shown.charge == 0)
    shown = try status(.limit(name: "a", reserve: .lift))
    #expect(shown.quota == 4 * Self.mib && shown.reserve == nil && shown.charge == 0)
    shown = try status(.limit(name: "a", quota: .set(8 * Self.mib), reserve: .set(Self.mib)))
    #expect(shown.quota == 8 * Self.mib && shown.reserve == Self.mib)
    shown = try status(.limit(name: "a", quota: .lift, reserve: .lift))
    #expect(shown.quota == nil && shown.reserve == nil && shown.charge == nil)
    #expect(disks.machine.memoryPromised == 0)
  }

  @Test func aQuotaIsOneDisksAndForksHaveTheirOwn() throws {
    #expect(answer(.create(name: "a", size: 1 << 30)) == .done)
    #expect(try fill("a", Self.mib).1 == nil)
    let limits = DiskLimits(quota: Self.mib)
    #expect(answer(.fork(source: "a", names: ["b", "c"], limits: limits)) == .done)
    #expect(try fill("b", 4 * Self.mib).1 == .overQuota(quota: Self.mib))
    #expect(try fill("c", Self.mib / 2).1 == nil)
    #expect(try fill("a", 4 * Self.mib).1 == nil)
    // A reset gives all of the fork's own memory back.
    #expect(answer(.reset(name: "b")) == .done)
    #expect(try status(.limit(name: "b")).charge == 0)
    #expect(try fill("b", Self.mib / 2).1 == nil)
  }

  @Test func aReserveIsKeptFromOtherDisks() throws {
    let limits = DiskLimits(reserve: 4 * Self.mib)
    #expect(answer(.create(name: "kept", size: 1 << 30, limits: limits)) == .done)
    #expect(answer(.create(name: "hog", size: 1 << 30)) == .done)
    guard case .outOfMemory = try fill("hog", 1 << 30).1 else {
      Issue.record("not full")
      return
    }
    let (written, _) = try fill("kept", 1 << 30)
    #expect(written == 4 * Self.mib - 3 * 4096, "all but the tables")
    // The reserve goes with the disk.
    #expect(answer(.remove(names: ["hog"])) == .done)
    #expect(failure(.fork(source: "kept", names: ["x"])) == "no failure")
    #expect(disks.machine.memoryPromised == 4 * Self.mib)
    #expect(answer(.remove(names: ["kept", "x"])) == .done)
    #expect(disks.machine.memoryPromised == 0)
  }

  @Test func whatCannotBeHadIsNotMade() throws {
    let most = DiskLimits(reserve: 17 * Self.mib)
    #expect(failure(.create(name: "a", size: 1 << 30, limits: most)).contains("\"a\""))
    #expect(
      answer(.create(name: "a", size: 1 << 30, limits: DiskLimits(reserve: 6 * Self.mib))) == .done)
    #expect(try fill("a", 5 * Self.mib).1 == nil)
    // The reserve of the second fork does not fit. No fork is made, and the disk has what it had.
    let before = try status(.limit(name: "a"))
    let message = failure(
      .fork(source: "a", names: ["b", "c"], limits: DiskLimits(reserve: 3 * Self.mib)))
    #expect(message.contains("\"c\"") && message.contains("memory limit"))
    #expect(disks.list().map(\.name) == ["a"])
    #expect(try status(.limit(name: "a")) == before)
    #expect(disks.machine.memoryPromised == 6 * Self.mib - before.charge!)
    // When all memory is used, the disk cannot be forked at all.
    #expect(answer(.create(name: "hog", size: 1 << 30)) == .done)
    _ = try fill("hog", 1 << 30)
    #expect(failure(.fork(source: "a", names: ["b"])).contains("reserve of 6291456"))
    #expect(try status(.limit(name: "a")) == before)
    let image = scratch.file("in", size: 1 << 20, [(0, [UInt8](repeating: 1, count: 1 << 20))])
    let tight = DiskLimits(quota: 1 << 16)
    #expect(answer(.remove(names: ["hog"])) == .done)
    #expect(failure(.importFile(name: "i", path: image, limits: tight)).contains("quota"))
    #expect(disks.list().map(\.name) == ["a"])
  }

  @Test func nonsenseIsRefusedInWords() throws {
    #expect(answer(.create(name: "a", size: 1 << 30)) == .done)
    #expect(failure(.limit(name: "none")).contains("none"))
    #expect(failure(.limit(name: "a", quota: .set(0))).contains("4096"))
    #expect(
      failure(.limit(name: "a", quota: .set(8192), reserve: .set(8193))).contains("reserve of 8193")
    )
    #expect(failure(.limit(name: "a", reserve: .set(.max))).contains("limit --memory"))
    #expect(failure(.limitMemory(bytes: 1 << 20)).contains("2 MiB"))
    #expect(failure(.limitMemory(bytes: 65 * Self.mib)).contains("64 MiB"))
    #expect(try status(.limit(name: "a")).charge == nil)
  }

  @Test func theMemoryLimitMoves() throws {
    #expect(answer(.create(name: "a", size: 1 << 30)) == .done)
    guard case .memory(let before) = answer(.limitMemory(bytes: nil)) else {
      Issue.record("no memory")
      return
    }
    #expect(before.limit == 16 * Self.mib && before.capacity == 64 * Self.mib)
    let full = MemoryError.outOfMemory(limit: 16 * Self.mib)
    #expect(try fill("a", 32 * Self.mib).1 == full)
    guard case .memory(let after) = answer(.limitMemory(bytes: 48 * Self.mib)) else {
      Issue.record("not raised")
      return
    }
    #expect(after.limit == 48 * Self.mib)
    #expect(try fill("a", 32 * Self.mib).1 == nil)
    // The limit cannot go below the promises.
    _ = try status(.limit(name: "a", reserve: .set(40 * Self.mib)))
    #expect(failure(.limitMemory(bytes: 36 * Self.mib)).contains("reserve"))
    #expect(disks.machine.limit == 48 * Self.mib)
    _ = try status(.limit(name: "a", reserve: .lift))
    guard case .memory = answer(.limitMemory(bytes: 8 * Self.mib)) else {
      Issue.record("not lowered")
      return
    }
  }
}
