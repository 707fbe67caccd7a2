import Glibc
import HugeMemory

/// Read faults in parallel: what it costs that the zero page can be freed, compared with a page
/// that stays for ever. The three policies take turns within each round, and each round gives one
/// ratio. So drift and other processes affect all three alike.
func faults(_ options: Options) throws(MemoryError) -> Report {
  let cores = Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))
  let threads = min(options.spaces, options.threads > 0 ? options.threads : cores)
  let rounds = options.rounds > 0 ? options.rounds : 1500
  let policies = Policy.ZeroReference.allCases
  let base = policies.firstIndex(of: .neverFreed)!

  var machines: [Machine] = []
  for reference in policies {
    var policy = Policy.linux
    policy.zeroReference = reference
    machines.append(try Machine(limit: 64 << 20, policy: policy, background: .none))
  }
  var costs = policies.map { _ in Samples() }
  var slowdowns = policies.map { _ in Samples() }
  for round in 0..<rounds + 2 {
    var cost = policies.map { _ in 0.0 }
    for turn in policies.indices {
      // All orders in turn, forwards and backwards, because each policy leaves its caches to the
      // next.
      let step = round % 2 == 0 ? turn : policies.count - turn
      let index = (round / 2 + step) % policies.count
      cost[index] = try faultCost(machines[index], spaces: options.spaces, threads: threads)
    }
    // The first rounds get memory from the system.
    guard round >= 2 else { continue }
    for index in policies.indices {
      costs[index].add(cost[index])
      slowdowns[index].add((cost[index] / cost[base] - 1) * 100)
    }
  }

  var report = Report(
    .faults, arguments: "--spaces \(options.spaces) --threads \(threads) --rounds \(rounds)")
  for (index, policy) in policies.enumerated() {
    report.add("\(policy), a fault", costs[index].median, .nanoseconds, spread: costs[index].spread)
  }
  for (index, policy) in policies.enumerated() where index != base {
    report.add(
      "\(policy) slower than \(policies[base])", slowdowns[index].median, .percent,
      spread: slowdowns[index].spread, goal: policy == .perTable ? 0.5 : nil)
    report.add(
      "…give or take (standard error)", slowdowns[index].errorOfMedian, .percent)
  }
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
