import Testing

@testable import ControlPlane

@Suite struct TopScreenTests {
  /// The status of a server with 8 GiB, half of it used, and the given disks.
  private func status(
    _ disks: [DiskStatus] = [], used: UInt64 = 4 << 30, zeroPage: UInt32 = 0,
    counters: [(String, UInt64)] = [], givenBack: UInt64 = 0
  ) -> ServerStatus {
    ServerStatus(
      disks: disks, memoryLimit: 8 << 30, memoryUsed: used, memoryGivenBack: givenBack,
      memoryByKind: [
        ServerStatus.Kind(name: "data and tables", bytes: used),
        ServerStatus.Kind(name: "zero page", bytes: zeroPage == 0 ? 0 : 2 << 20),
      ],
      residentMemory: 5 << 30, pressure: "critical", zeroPageReferences: zeroPage,
      counters: counters.map { ServerStatus.Counter(name: $0.0, value: $0.1) })
  }

  private func disk(
    _ name: String, data: UInt64 = 0, read: UInt64 = 0, written: UInt64 = 0, clients: Int = 0
  ) -> DiskStatus {
    DiskStatus(
      name: name, size: 1 << 40, data: data, shared: 0, huge: 0, zero: 0, own: data, origin: nil,
      connections: clients, bytesRead: read, bytesWritten: written, uri: "")
  }

  private func lines(
    _ status: ServerStatus, since previous: ServerStatus? = nil, elapsed: Double = 1,
    width: Int = 120, height: Int? = nil, order: TopScreen.Order = .name
  ) -> [String] {
    TopScreen(order: order).lines(
      status, previous: previous, elapsed: elapsed, width: width, height: height)
  }

  /// The first words of the rows of the table.
  private func names(_ lines: [String]) -> [String] {
    lines.drop { !$0.hasPrefix("NAME") }.dropFirst().map { String($0.prefix { $0 != " " }) }
  }

  @Test func firstFrameHasFiguresAndNoRates() {
    let frame = lines(
      status(
        [disk("a", data: 64 << 20, clients: 2), disk("b", clients: 1)], zeroPage: 4,
        counters: [("pgfault", 17), ("pgsteal_kswapd", 3)]))
    let text = frame.joined(separator: "\n")
    for part in [
      "2 disks, 3 clients", "pressure critical", "zero page held by 3, and the shrinker",
      "4 GiB of 8 GiB", "# data and tables 4 GiB", "0 zero page 2 MiB", ". free 4 GiB",
      "resident 5 GiB", "pgfault -", "pgsteal_kswapd -", "given back -",
    ] {
      #expect(text.contains(part), "\(part)")
    }
    #expect(names(frame) == ["a", "b"])
  }

  @Test func ratesAreDifferencesASecond() throws {
    let before = status(
      [disk("a", read: 1 << 20, written: 0)], counters: [("pgscan", 10), ("pgfault", 5)],
      givenBack: 1 << 20)
    let after = status(
      [disk("a", read: 5 << 20, written: 1 << 20)], counters: [("pgscan", 210), ("pgfault", 6)],
      givenBack: 9 << 20)
    let frame = lines(after, since: before, elapsed: 2)
    #expect(frame.contains { $0.hasPrefix("faults/s") && $0.contains("pgfault 1") })  // of 0.5
    #expect(
      frame.contains {
        $0.hasPrefix("reclaim/s") && $0.contains("pgscan 100") && $0.hasSuffix("given back 4 MiB")
      })
    let row = try #require(frame.last)
    #expect(row.contains("2 MiB") && row.hasSuffix("512 KiB"))
  }

  @Test func anotherServersCountersGiveNoRates() throws {
    let before = status([disk("a", read: 9, written: 9)], counters: [("pgfault", 9)], givenBack: 9)
    let frame = lines(
      status([disk("a"), disk("new", read: 5)], counters: [("pgfault", 1), ("fork", 2)]),
      since: before)
    #expect(frame.contains { $0.contains("pgfault -") && $0.contains("fork -") })
    #expect(frame.suffix(2).allSatisfy { $0.hasSuffix("-          -") })
    let still = lines(status([disk("a", read: 9)]), since: before, elapsed: 0)
    #expect(try #require(still.last).hasSuffix("-          -"), "no time, no rates")
  }

  @Test(arguments: 0...130) func noLineIsWiderThanTheWindow(width: Int) {
    let long = String(repeating: "long-name", count: 20)
    let status = status([disk(long), disk("b")], zeroPage: 2, counters: [("pgfault", 1)])
    for height in [nil, 0, 1, 5, 9, 40] as [Int?] {
      let frame = lines(status, since: status, width: width, height: height)
      #expect(frame.allSatisfy { $0.count <= width } && frame.count <= height ?? .max)
    }
  }

  @Test func longNamesLeaveRoomForTheFigures() throws {
    let long = String(repeating: "long-name", count: 20)
    let frame = lines(status([disk(long, data: 3 << 20)]), width: 90)
    let row = try #require(frame.last)
    #expect(row.hasPrefix("long-name") && row.contains("…") && row.contains("3 MiB"))
    #expect(try #require(frame.first { $0.hasPrefix("NAME") }).hasSuffix("WRITTEN/s"))
  }

  @Test func disksThatDoNotFitAreCounted() throws {
    let status = status((0..<100).map { disk("disk\($0 + 100)") })
    let all = lines(status)
    let frame = lines(status, height: 20)
    #expect(names(all).count == 100 && frame.count == 20)
    let shown = names(frame).filter { $0.hasPrefix("disk") }
    #expect(frame.last == "and \(100 - shown.count) more; sorted by name")
    #expect(Array(shown) == Array(names(all).prefix(shown.count)))
    // If all disks just fit, all are shown.
    #expect(lines(status, height: all.count) == all)
    #expect(lines(status, height: all.count - 1).last == "and 2 more; sorted by name")
  }

  @Test func ordersAreFromTheLargestDown() {
    let before = status([disk("a"), disk("b"), disk("c")])
    let after = status([
      disk("a", data: 1, read: 20, written: 5, clients: 1),
      disk("b", data: 3, read: 10, written: 5, clients: 2), disk("c", data: 2, read: 30),
    ])
    let expected: [TopScreen.Order: [String]] = [
      .name: ["a", "b", "c"], .data: ["b", "c", "a"], .own: ["b", "c", "a"],
      .clients: ["b", "a", "c"], .read: ["c", "a", "b"], .written: ["a", "b", "c"],
    ]
    var order = TopScreen.Order.name
    for _ in TopScreen.Order.allCases {
      #expect(names(lines(after, since: before, order: order)) == expected[order], "\(order)")
      order = order.next
    }
    #expect(order == .name, "round and round")
  }

  @Test func barShowsEachPartAndNeverOverflows() {
    #expect(TopScreen.bar([50, 0], of: 100, width: 10) == "#####.....")
    #expect(TopScreen.bar([40, 20], of: 100, width: 10) == "####00....")
    #expect(TopScreen.bar([1, 1], of: 1000, width: 10) == "#0........", "little is not nothing")
    #expect(TopScreen.bar([0, 0], of: 100, width: 4) == "....")
    #expect(TopScreen.bar([100, 100], of: 100, width: 4) == "####", "a limit that has fallen")
    #expect(TopScreen.bar([.max, .max], of: .max, width: 4) == "####")
    #expect(TopScreen.bar([1], of: 0, width: 4) == "####")
    #expect(TopScreen.bar([1], of: 2, width: -3) == "")
  }
}
