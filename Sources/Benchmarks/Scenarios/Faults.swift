import Glibc
import HugeMemory

/// Read faults in parallel: what it costs that the zero page can be freed, compared with a page
/// that stays for ever. The policies take turns within each round, and each round gives one ratio. So
/// drift and other processes affect all of them alike.
///
/// Where the memory of a machine happens to lie decides over some percent. So every group of rounds
/// gets new machines and counts as one sample, and the page that is never freed is compared with
/// itself as well: that ratio shows what the method cannot tell.
func faults(_ options: Options) throws(MemoryError) -> Report {
  let cores = Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))
  let threads = min(options.spaces, options.threads > 0 ? options.threads : cores)
  let rounds = options.rounds > 0 ? options.rounds : 1500
  let groups = max(1, rounds / 50)

  var contestants: [(name: String, reference: Policy.ZeroReference)] = [
    ("neverFreed", .neverFreed), ("neverFreed again", .neverFreed), ("perTable", .perTable),
    ("perMapping", .perMapping),
  ]
  if let only = options.reference { contestants = [("\(only)", only)] }
  var costs = contestants.map { _ in Samples() }
  var slowdowns = contestants.map { _ in Samples() }
  for group in 0..<groups {
    var machines: [Machine] = []
    for turn in contestants.indices {
      var policy = Policy.linux
      policy.zeroReference = contestants[(turn + group) % contestants.count].reference
      machines.append(try Machine(limit: 64 << 20, policy: policy, background: .none))
    }
    var ratios = contestants.map { _ in Samples() }
    for round in 0..<rounds / groups + 2 {
      var cost = contestants.map { _ in 0.0 }
      for turn in contestants.indices {
        // All orders in turn, forwards and backwards, because each one leaves its caches to the next.
        let step = round % 2 == 0 ? turn : contestants.count - turn
        let place = (round / 2 + step) % contestants.count
        cost[(place + group) % contestants.count] = try faultCost(
          machines[place], spaces: options.spaces, threads: threads)
      }
      // The first rounds get memory from the system.
      guard round >= 2 else { continue }
      for index in contestants.indices {
        costs[index].add(cost[index])
        ratios[index].add((cost[index] / cost[0] - 1) * 100)
      }
    }
    for index in contestants.indices { slowdowns[index].add(ratios[index].median) }
  }

  var report = Report(
    .faults, arguments: "--spaces \(options.spaces) --threads \(threads) --rounds \(rounds)")
  for (index, contestant) in contestants.enumerated() where index != 1 {
    report.add(
      "\(contestant.name), a fault", costs[index].median, .nanoseconds, spread: costs[index].spread)
  }
  for (index, contestant) in contestants.enumerated() where index > 0 {
    report.add(
      "\(contestant.name) slower than neverFreed", slowdowns[index].median, .percent,
      spread: slowdowns[index].spread, goal: contestant.reference == .perTable ? 0.5 : nil)
    report.add("…give or take (standard error)", slowdowns[index].errorOfMedian, .percent)
  }
  guard options.reference == nil else { return report }
  try hugePages(rounds: max(1, min(rounds / 10, 100)), into: &report)
  return report
}

/// 4 GiB: four tables of 2 MiB entries.
private let spaceSize: UInt64 = 4 << 30
private let slotSize: UInt64 = 2 << 20

/// The CPU time of a read fault, in nanoseconds. Every slot of each space is read once.
private func faultCost(
  _ machine: Machine, spaces count: Int, threads: Int
) throws(MemoryError) -> Double {
  var spaces: [AddressSpace] = []
  for _ in 0..<count { spaces.append(try machine.makeSpace(size: spaceSize)) }
  let shared = spaces
  let times = inParallel(threads) { index in
    let start = ownTime()
    for place in stride(from: index, to: shared.count, by: threads) {
      for offset in stride(from: 0, to: spaceSize, by: Int(slotSize)) {
        // Only a range outside of the space could fail here.
        try? shared[place].touch(offset)
      }
    }
    return ownTime() - start
  }
  let faults = UInt64(count) * (spaceSize / slotSize)
  return Double(times.reduce(0, +)) / Double(faults)
}
