import Glibc
import HugeMemory
import Synchronization

/// Writes near the low watermark while memory is being reclaimed, compared with the same writes
/// while it is not. The two sides take turns in each round, at the same places. Then the time until
/// a full machine refuses a write.
func reclaim(_ options: Options) throws(MemoryError) -> Report {
  let rounds = options.rounds > 0 ? options.rounds : 60
  let data = UInt64(options.megabytes > 0 ? options.megabytes : 128) << 20
  var report = Report(.reclaim, arguments: "--megabytes \(data >> 20) --rounds \(rounds)")
  try writesBesideReclaim(data, rounds: rounds, &report)
  try refusals(&report)
  return report
}

private let page: UInt64 = 4096
/// The number of writes of each kind in a round.
private let operations = 4000

/// Where a write goes.
private enum Place: String, CaseIterable {
  case mapped = "write to mapped memory"
  case fresh = "write to fresh memory"
}

private enum Level: String, CaseIterable {
  case p50, p99
  case p999 = "p99.9"
  var part: Double { self == .p50 ? 0.5 : self == .p99 ? 0.99 : 0.999 }
}

/// The quantiles of the rounds' two sides, and the ratio of the two in each round.
private struct Outcome {
  var beside = Samples()
  var alone = Samples()
  var ratio = Samples()
}

private func writesBesideReclaim(
  _ data: UInt64, rounds: Int, _ report: inout Report
) throws(MemoryError) {
  let fresh = UInt64(operations) * page
  var policy = Policy.linux
  policy.enabled = .never
  // When all fresh memory is written, fewer frames are free, with the tables, than the low
  // watermark of 1/64.
  let machine = try Machine(
    limit: data + fresh + (data + fresh) / 64, policy: policy, background: .none)
  let space = try machine.makeSpace(size: 1 << 40)
  let content = Bytes(4096, of: 0x5a)
  for at in stride(from: 0, to: data, by: Int(page)) {
    try unsafe space.write(at: at, from: content.source)
  }
  let pressure = try Pressure(machine)
  var outcomes = Place.allCases.map { _ in Level.allCases.map { _ in Outcome() } }
  for round in 0..<rounds + 1 {
    let seed = UInt64(round + 1) &* 0x9E37_79B9_7F4A_7C15
    var times: [Bool: [Samples]] = [:]
    for turn in 0..<2 {
      let isBeside = (round + turn) % 2 == 0
      pressure.turn(on: isBeside)
      for place in Place.allCases {
        times[isBeside, default: []].append(
          try space.writeTimes(place, data: data, seed: seed))
      }
      // Both sides give memory back in the same way, outside of what is measured.
      try space.discard(at: freshBase, length: freshSize)
      machine.settle()
    }
    guard round > 0 else { continue }
    for place in Place.allCases.indices {
      for (index, level) in Level.allCases.enumerated() {
        let beside = times[true]![place].quantile(level.part)
        let alone = times[false]![place].quantile(level.part)
        outcomes[place][index].beside.add(beside)
        outcomes[place][index].alone.add(alone)
        outcomes[place][index].ratio.add(beside / alone)
      }
    }
  }
  let passes = pressure.stop()
  for (place, levels) in zip(Place.allCases, outcomes) {
    for (level, outcome) in zip(Level.allCases, levels) {
      report.add(
        "\(place.rawValue), \(level.rawValue), with reclaim", outcome.beside.median, .nanoseconds,
        spread: outcome.beside.spread)
      report.add(
        "  without", outcome.alone.median, .nanoseconds, spread: outcome.alone.spread)
      report.add("  with over without", outcome.ratio.median, .ratio, spread: outcome.ratio.spread)
    }
  }
  report.add("passes of reclaim meanwhile", Double(passes), .count)
}

/// Where fresh memory lies. About a quarter of it is written.
private let freshBase: UInt64 = 1 << 39
private let freshSize: UInt64 = 64 << 20

extension AddressSpace {
  /// The wall-clock time of each write, in nanoseconds, so that waiting for a lock counts.
  fileprivate func writeTimes(
    _ place: Place, data: UInt64, seed: UInt64
  ) throws(MemoryError) -> Samples {
    let content = Bytes(4096, of: 0x5b)
    var random = Random(seed: seed)
    var times = Samples()
    for index in 0..<UInt64(operations) {
      let at =
        place == .mapped
        ? random.next() % (data / page) * page
          // An odd factor, so that no page comes twice, and the order helps nobody.
        : freshBase + index &* 7919 % (freshSize / page) * page
      let start = now()
      try unsafe write(at: at, from: content.source)
      times.add(Double(now() - start))
    }
    return times
  }
}

/// A thread that does everything that the background does under pressure, without a pause while it
/// is on. It writes, discards, settles, trims, and reclaims at a priority at which the scans look
/// at something.
private final class Pressure: Sendable {
  private let isOn = Atomic(false)
  /// What the thread has seen of `isOn`. If it is false, nothing of its last pass is still going
  /// on.
  private let isSeen = Atomic(false)
  private let passes = Atomic(0)
  private let companion = Mutex<Companion?>(nil)

  init(_ machine: Machine) throws(MemoryError) {
    let scratch = try machine.makeSpace(size: 1 << 30)
    companion.withLock { $0 = Companion { [weak self] in self?.pass(machine, scratch) } }
  }

  /// Returns once the thread has begun, or ended.
  func turn(on isOn: Bool) {
    self.isOn.store(isOn, ordering: .relaxed)
    while isSeen.load(ordering: .acquiring) != isOn { usleep(100) }
  }

  private func pass(_ machine: Machine, _ scratch: AddressSpace) {
    let isOn = isOn.load(ordering: .relaxed)
    isSeen.store(isOn, ordering: .releasing)
    guard isOn else { return _ = usleep(1000) }
    let zeros = Bytes(64 * 4096, of: 0)
    let data = Bytes(64 * 4096, of: 0xa5)
    // Zeros for the scan to find, and data to discard. A refused write is just as good.
    try? unsafe scratch.write(at: 0, from: zeros.source)
    try? unsafe scratch.write(at: 64 * 4096, from: data.source)
    try? scratch.discard(at: 64 * 4096, length: 64 * 4096)
    machine.reclaim(priority: 4)
    machine.settle()
    machine.trim(all: true)
    passes.add(1, ordering: .relaxed)
  }

  /// Stops the thread. Returns the number of its passes. Call once.
  func stop() -> Int {
    companion.withLock { $0.take() }?.stop()
    return passes.load(ordering: .relaxed)
  }
}

/// The time until a write is refused when every page is in use and none is zero, in nanoseconds.
/// The first write searches memory; the next ones need not.
private func refusals(_ report: inout Report) throws(MemoryError) {
  var policy = Policy.linux
  policy.enabled = .never
  let machine = try Machine(limit: 256 << 20, policy: policy, background: .none)
  let space = try machine.makeSpace(size: 1 << 40)
  let content = Bytes(4096, of: 0x5a)
  var at: UInt64 = 0
  var first = 0.0
  while first == 0 {
    let start = now()
    do {
      try unsafe space.write(at: at, from: content.source)
      at += page
    } catch {
      first = Double(now() - start)
    }
  }
  var next = Samples()
  for _ in 0..<2000 {
    let start = now()
    do {
      try unsafe space.write(at: at, from: content.source)
    } catch {
      next.add(Double(now() - start))
    }
  }
  // The search ends after 100 ms, but what was begun by then is finished.
  report.add("first refusal of a full 256 MiB", first, .nanoseconds, goal: 200_000_000)
  report.add("refusals after it, p50", next.median, .nanoseconds, spread: next.spread)
  report.add("  p99.9", next.quantile(0.999), .nanoseconds)
}
