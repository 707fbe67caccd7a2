import HugeMemory

/// Forks of a golden disk: 1 TiB with 1 GiB of data, in 4 KiB frames as in the server.
func fork(_ options: Options) throws(MemoryError) -> Report {
  let rounds = options.rounds > 0 ? options.rounds : 400
  let data = UInt64(options.megabytes > 0 ? options.megabytes : 1024) << 20
  var policy = Policy.linux
  policy.enabled = .never
  let machine = try Machine(limit: data + 384 * 1_048_576, policy: policy, background: .none)
  let golden = try machine.makeSpace(size: 1 << 40)
  let filler = Bytes(2 << 20, of: 0xa5)
  for offset in stride(from: 0, to: data, by: 2 << 20) {
    // Page by page: a whole slot would become a huge frame.
    for page in stride(from: 0, to: 2 << 20, by: 4096) {
      try unsafe golden.write(
        at: offset + UInt64(page), from: UnsafeRawBufferPointer(rebasing: filler.source[..<4096]))
    }
  }
  var report = Report(.fork, arguments: "--megabytes \(data >> 20) --rounds \(rounds)")
  // In a server, other threads read meanwhile. A fork that waits for them interrupts their core.
  let reader = Companion { try? golden.touch(0) }
  try forkTimes(of: golden, data: data, rounds: rounds, &report)
  reader.stop()
  try forkMemory(of: golden, data: data, machine, &report)
  return report
}

/// The time of a fork, and of the first write to it, while another thread reads. The places are
/// random, so that the path that the write copies is not still in the caches from the round before.
private func forkTimes(
  of golden: AddressSpace, data: UInt64, rounds: Int, _ report: inout Report
) throws(MemoryError) {
  var random = Random(seed: 7)
  let page = Bytes(4096, of: 0x5a)
  var unwritten = Samples()
  var written = Samples()
  var first = Samples()
  var second = Samples()
  var origin = Samples()
  for _ in 0..<rounds {
    let places = (0..<3).map { _ in random.next() % (data / 4096) * 4096 }
    // After a write to the origin, its next fork waits for writers in progress.
    try unsafe golden.write(at: places[0], from: page.source)
    var start = now()
    let forkOfWritten = try golden.fork()
    written.add(Double(now() - start))
    start = now()
    let fork = try golden.fork()
    unwritten.add(Double(now() - start))

    start = now()
    try unsafe fork.write(at: places[1], from: page.source)
    first.add(Double(now() - start))
    start = now()
    try unsafe fork.write(at: places[2], from: page.source)
    second.add(Double(now() - start))
    start = now()
    try unsafe golden.write(at: places[0], from: page.source)
    origin.add(Double(now() - start))
    _ = forkOfWritten.size
  }
  report.add(
    "fork", unwritten.median, .nanoseconds, spread: unwritten.spread, goal: 10_000)
  report.add(
    "fork of a space just written", written.median, .nanoseconds, spread: written.spread,
    goal: 10_000)
  report.add(
    "first 4 KiB write in a fork", first.median, .nanoseconds, spread: first.spread, goal: 20_000)
  report.add("second, elsewhere", second.median, .nanoseconds, spread: second.spread)
  report.add("first in the origin after a fork", origin.median, .nanoseconds, spread: origin.spread)
}

/// The memory of many forks, first idle, then with one page written in each.
private func forkMemory(
  of golden: AddressSpace, data: UInt64, _ machine: Machine, _ report: inout Report
) throws(MemoryError) {
  let count = 10_000
  machine.settle()
  var forks: [AddressSpace] = []
  forks.reserveCapacity(count)
  var frames = machine.memoryUsed
  var resident = residentBytes()
  for _ in 0..<count { forks.append(try golden.fork()) }
  report.add("an idle fork, frames", each(machine.memoryUsed, frames, count), .bytes)
  report.add("an idle fork, resident", each(residentBytes(), resident, count), .bytes, goal: 16_384)

  var random = Random(seed: 8)
  let page = Bytes(4096, of: 0x5a)
  frames = machine.memoryUsed
  resident = residentBytes()
  for fork in forks {
    try unsafe fork.write(at: random.next() % (data / 4096) * 4096, from: page.source)
  }
  machine.settle()
  report.add("a fork with a page written, frames", each(machine.memoryUsed, frames, count), .bytes)
  report.add("a fork with a page written, resident", each(residentBytes(), resident, count), .bytes)
}

private func each(_ after: UInt64, _ before: UInt64, _ count: Int) -> Double {
  (Double(after) - Double(before)) / Double(count)
}
