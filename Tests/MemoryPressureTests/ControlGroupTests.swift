import Glibc
import Testing

@testable import MemoryPressure

@Suite struct ControlGroupTests {
  private func group(_ files: [String: String], _ cgroup: String, mounts: String? = nil) throws
    -> ControlGroup
  {
    let fake = try FakeTree(files + ["/proc/self/cgroup": cgroup])
    if let mounts { try fake.write("/proc/self/mountinfo", mounts) }
    // The files stay open after the directory is removed.
    return try ControlGroup(in: fake.tree)
  }

  @Test func theSmallestLimitOfV1Counts() throws {
    let files =
      v1("") + v1("/a", limit: 300, usage: 50) + v1("/a/b", limit: 400, usage: 90, file: 20)
    let group = try group(files, "5:cpu:/x\n4:memory,hugetlb:/a/b\n")
    #expect(group.version == .v1 && group.directory.hasSuffix("/sys/fs/cgroup/memory/a/b"))
    #expect(group.limit == 300 && group.usage == 90 && group.reclaimable == 20)
    #expect(group.available == 250)
    #expect(group.problems == [])
  }

  @Test(arguments: ["9223372036854771712", "9223372036854710272", "max"])
  func unlimitedIsNil(word: String) throws {
    let files = v1("") + ["/sys/fs/cgroup/memory/memory.limit_in_bytes": word + "\n"]
    let group = try group(files, "4:memory:/\n")
    #expect(group.limit == nil && group.available == nil && group.usage == 0)
  }

  @Test func highAndMaxOfV2BothCount() throws {
    let files =
      v2("/s", max: 1000, usage: 700, file: 100) + v2("/s/a", max: 900, high: 500, usage: 450)
    let group = try group(files, "0::/s/a\n")
    #expect(group.version == .v2 && group.limit == 500 && group.available == 50)
  }

  @Test func theTightestGroupIsNotTheOneWithTheSmallestLimit() throws {
    let files = v2("/s", max: 1000, usage: 990) + v2("/s/a", max: 500, usage: 100)
    let group = try group(files, "0::/s/a\n")
    #expect(group.limit == 500 && group.available == 10)
  }

  @Test func overTheLimitNothingIsAvailable() throws {
    let group = try group(v2("/a", max: 100, usage: 150, file: 10), "0::/a\n")
    #expect(group.available == 0)
    // Statistics lag behind, so more may seem reclaimable than is used.
    let odd = try self.group(v2("/a", max: 100, usage: 20, file: 900), "0::/a\n")
    #expect(odd.available == 100)
  }

  @Test func aHybridsControllerIsFoundInEitherHierarchy() throws {
    let unified = "/sys/fs/cgroup/unified"
    let inV1 = try group(
      v1("/a", limit: 300) + ["\(unified)/u/cgroup.procs": ""], "4:memory:/a\n0::/u\n")
    #expect(inV1.version == .v1 && inV1.limit == 300)
    let inV2 = try group(
      v2("/u", max: 200, mount: unified) + ["/sys/fs/cgroup/cpu/tasks": ""], "4:cpu:/a\n0::/u\n")
    #expect(inV2.version == .v2 && inV2.limit == 200)
  }

  @Test func theMountTellsWhichPartOfTheHierarchyIsSeen() throws {
    let mounts = """
      30 20 0:26 / /proc rw - proc proc rw
      31 20 0:27 /docker/abc /sys/fs/cgroup/memory ro,nosuid shared:9 - cgroup cgroup rw,memory
      32 20 0:28 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu
      """
    let group = try group(
      v1("", limit: 100) + v1("/sub", limit: 50), "4:memory:/docker/abc/sub\n", mounts: mounts)
    #expect(group.limit == 50 && group.directory.hasSuffix("/memory/sub"))
  }

  @Test func aMountMayBeAnywhere() throws {
    let mounts = "31 20 0:27 / /my\\040groups rw - cgroup2 none rw,nsdelegate\n"
    let files = v2("/a", max: 77, mount: "/my groups")
    #expect(try group(files, "0::/a\n", mounts: mounts).limit == 77)
  }

  @Test(arguments: ["/docker/abc", "/../../other", "/..", "/a (deleted)"])
  func aGroupThatCannotBeSeenIsTheNearestThatCan(name: String) throws {
    let group = try group(v2("", max: 64), "0::\(name)\n")
    #expect(group.limit == 64 && group.directory.hasSuffix("/sys/fs/cgroup"))
  }

  @Test func missingFilesSayNothing() throws {
    let files = v1("/a", limit: 100, usage: 60, file: 30)
    let keep = { (name: String) in files.filter { $0.key.hasSuffix(name) } }
    let limited = try group(keep("limit_in_bytes"), "4:memory:/a\n")
    #expect(limited.limit == 100 && limited.usage == nil && limited.available == nil)
    // Without statistics, nothing counts as reclaimable.
    let plain = try group(keep("_in_bytes"), "4:memory:/a\n")
    #expect(plain.available == 40 && plain.reclaimable == nil && plain.problems == [])
  }

  @Test(arguments: [
    "", "\n", "-1", "12 34", "1e9", "99999999999999999999999", "\0\u{1}", "maximum",
  ])
  func garbageIsNoLimit(text: String) throws {
    let path = "/sys/fs/cgroup/memory.max"
    let group = try group(v2("", usage: 5) + [path: text], "0::/\n")
    #expect(group.limit == nil && group.available == nil && group.usage == 5)
    #expect(throws: PressureError.self) { try group.groups[0].limit() }
  }

  @Test(arguments: ["", "garbage", "4:memory", "::::", "4:memory:relative\n", "4:cpu:/\n"])
  func garbageNamesNoGroup(text: String) throws {
    let error = #expect(throws: PressureError.self) { try group(v1(""), text) }
    #expect("\(try #require(error))".contains("proc/self/cgroup names none"))
  }

  @Test func aMissingHierarchyIsSaid() throws {
    let error = #expect(throws: PressureError.self) { try group([:], "0::/a\n") }
    #expect("\(try #require(error))".contains("/a is mounted nowhere"))
  }

  @Test func whatCannotBeOpenedIsSaid() throws {
    let fake = try FakeTree(v2("", max: 100, high: 90) + ["/proc/self/cgroup": "0::/\n"])
    let calls = TestCalls()
    calls.with { $0.broken["memory.high"] = EACCES }
    let group = try ControlGroup(in: fake.tree(calls))
    #expect(group.limit == 100)
    #expect(
      group.problems.map(\.description) == [
        "open of \(fake.root)/sys/fs/cgroup/memory.high failed: Permission denied; "
          + "run with the right to open it, or have the group delegated"
      ])
  }

  @Test func limitsAreReadAnew() throws {
    let fake = try FakeTree(v2("", max: 100) + ["/proc/self/cgroup": "0::/\n"])
    let group = try ControlGroup(in: fake.tree)
    try fake.write("/sys/fs/cgroup/memory.max", "70\n")
    #expect(group.limit == 70)
    try fake.write("/sys/fs/cgroup/memory.max", "max\n")
    #expect(group.limit == nil)
  }

  @Test func longFilesAreReadWhole() throws {
    let lines = (0..<3000).map { "counter_\($0) \($0)\n" }.joined()
    let files =
      v2("", max: 100, usage: 90) + [
        "/sys/fs/cgroup/memory.stat": lines + "inactive_file 10\nactive_file 20\n"
      ]
    #expect(
      try group(files, String(repeating: "9:cpu:/x\n", count: 2000) + "0::/\n").available == 40)
  }

  @Test func theMachinesMemory() throws {
    let text = "MemTotal:       16384 kB\nMemFree: 1 kB\nMemAvailable:   8192 kB\n"
    let fake = try FakeTree(["/proc/meminfo": text])
    let totals = try MemoryTotals(in: fake.tree)
    #expect(totals.total == 16 << 20 && totals.available == 8 << 20)
    try fake.write("/proc/meminfo", "MemTotal: 18446744073709551615 kB\n")
    #expect(throws: PressureError.self) { try MemoryTotals(in: fake.tree) }
    try fake.remove("/proc/meminfo")
    #expect(throws: PressureError.self) { try MemoryTotals(in: fake.tree) }
  }
}
