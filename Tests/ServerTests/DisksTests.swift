import HugeMemory
import NBDServer
import Testing

@Suite struct DisksTests {
  let disks: Disks

  init() throws {
    var policy = Policy()
    policy.enabled = .never
    disks = Disks(machine: try Machine(limit: 64 << 20, policy: policy, background: .none))
    try disks.create("golden", size: 1 << 40)
  }

  private func value(_ name: String) throws -> UInt64 {
    try disks.lookup(name).space.load(at: 0, as: UInt64.self)
  }
  private func store(_ value: UInt64, _ name: String) throws {
    try disks.lookup(name).space.store(value, at: 0)
  }

  @Test(arguments: ["", "a b", "a@b", "a/b", ".hidden", "ü", String(repeating: "x", count: 256)])
  func badNamesAreRefused(name: String) {
    #expect(throws: DiskError.self) { try disks.create(name, size: 1) }
    #expect(disks.list().map(\.name) == ["golden"])
  }

  @Test(arguments: [0, 1 << 48 + 1, .max] as [UInt64])
  func badSizesAreRefused(size: UInt64) {
    #expect(throws: DiskError.self) { try disks.create("other", size: size) }
    #expect(disks.list().count == 1)
  }

  @Test func forksSeeTheMomentAndNothingLater() throws {
    try store(1, "golden")
    try disks.fork("golden", names: ["a", "b"])
    try store(2, "golden")
    try store(3, "a")
    #expect(try [value("golden"), value("a"), value("b")] == [2, 3, 1])
  }

  @Test func batchForksAllOrNone() throws {
    try disks.create("b", size: 1)
    #expect(throws: DiskError.exists("b")) { try disks.fork("golden", names: ["a", "b"]) }
    #expect(throws: DiskError.exists("a")) { try disks.fork("golden", names: ["a", "a"]) }
    #expect(disks.list().map(\.name) == ["b", "golden"])
  }

  @Test func resetReturnsToTheForksBirth() throws {
    try store(1, "golden")
    try disks.fork("golden", names: ["a"])
    try store(2, "golden")
    try store(3, "a")
    try disks.remove(["golden"])
    try disks.reset("a")
    #expect(try value("a") == 1)
    try store(4, "a")
    try disks.reset("a")
    #expect(try value("a") == 1)
  }

  @Test func onlyAForkCanBeReset() {
    #expect(throws: DiskError.noOrigin("golden")) { try disks.reset("golden") }
  }

  @Test func removesAllOrNoneAndNothingConnected() throws {
    try disks.create("b", size: 1)
    _ = try disks.connect("b")
    #expect(throws: DiskError.inUse("b", connections: 1)) {
      try disks.remove(["golden", "b"])
    }
    #expect(throws: DiskError.notFound("c")) { try disks.remove(["golden", "c"]) }
    #expect(disks.list().count == 2)
    disks.disconnect("b")
    try disks.remove(["golden", "b"])
    #expect(disks.list().isEmpty)
  }

  @Test func namedForkIsMadeOnceAndKept() throws {
    #expect(try disks.describe("golden@job").size == 1 << 40)
    #expect(disks.list().count == 1, "to ask makes no fork")
    let first = try disks.connect("golden@job").disk
    let second = try disks.connect("golden@job").disk
    #expect(first.space === second.space && first.name == "job")
    disks.disconnect("job")
    disks.disconnect("job")
    #expect(try disks.lookup("job").connections == 0)
  }

  @Test func namedForkMustBeOfThatOrigin() throws {
    try disks.create("other", size: 1)
    #expect(throws: DiskError.self) { try disks.connect("golden@other") }
    #expect(throws: DiskError.self) { try disks.connect("golden@a@b") }
    #expect(throws: DiskError.notFound("none")) { try disks.connect("none@a") }
    #expect(disks.list().count == 2)
  }

  @Test func temporaryForkGoesWithItsConnection() throws {
    let (first, export) = try disks.connect("golden@")
    let second = try disks.connect("golden@").disk
    #expect(first.name != second.name && !export.allowsSeveralConnections)
    #expect(disks.list().count == 3)
    disks.disconnect(first.name)
    disks.disconnect(second.name)
    #expect(disks.list().map(\.name) == ["golden"])
  }

  @Test func aLongNameIsCutInEveryMessage() throws {
    let name = String(repeating: "ä", count: 2048)
    let errors: [DiskError] = [
      .invalidName(name, reason: "no"), .exists(name), .notFound(name),
      .inUse(name, connections: 1), .noOrigin(name),
      .otherOrigin(disk: name, origin: name, wanted: name),
      .cannotReserve(name, reserve: 1, limit: 1),
      .quotaTooSmall(name, quota: 1), .reserveOverQuota(name, quota: 1, reserve: 1),
    ]
    for error in errors {
      #expect(error.description.utf8.count < 800 && error.description.contains("ä…"))
    }
  }

  @Test func emptyNameIsTheOnlyDisk() throws {
    #expect(try disks.connect("").disk.name == "golden")
    try disks.create("b", size: 1)
    #expect(throws: DiskError.noDefault(disks: 2)) { try disks.connect("") }
  }

  @Test func everythingRemovedLeavesNothing() throws {
    try store(1, "golden")
    try disks.fork("golden", names: (0..<100).map { "f\($0)" })
    for index in 0..<50 { try store(UInt64(index), "f\(index)") }
    try disks.remove(disks.list().map(\.name))
    disks.machine.shrink()
    #expect(disks.machine.memoryUsed == 0)
  }
}

extension Disks {
  /// Ends a connection to a disk by the disk's name.
  func disconnect(_ name: String) {
    if let disk = try? lookup(name) { disconnect(disk) }
  }
}
