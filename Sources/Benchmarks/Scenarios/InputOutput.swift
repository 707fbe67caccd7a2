import Glibc
import HugeMemory

/// Random 4 KiB reads and writes of resident memory against `memcpy` on a flat mapping of huge
/// pages: what the walk and the grace period cost. The sides take turns in each round, with the
/// same places.
func io(_ options: Options) throws(MemoryError) -> Report {
  let rounds = options.rounds > 0 ? options.rounds : 60
  let size = UInt64(options.megabytes > 0 ? options.megabytes : 512) << 20
  let flat = Flat(Int(size))
  let huge = try filled(size, hugePages: true)
  let small = try filled(size, hugePages: false)
  let sides: [any Memory] = [flat, huge, small]
  var report = Report(.io, arguments: "--megabytes \(size >> 20) --rounds \(rounds)")

  for write in [false, true] {
    var costs = sides.map { _ in Samples() }
    var ratios = sides.map { _ in Samples() }
    for round in 0..<rounds + 1 {
      var cost = sides.map { _ in 0.0 }
      for turn in sides.indices {
        let index = (round + turn) % sides.count
        let seed = UInt64(round + 1) &* 0x9E37_79B9_7F4A_7C15
        cost[index] = try sides[index].nanosecondsEach(write: write, size: size, seed: seed)
      }
      guard round > 0 else { continue }
      for index in sides.indices {
        costs[index].add(cost[index])
        ratios[index].add(cost[index] / cost[0])
      }
    }
    let verb = write ? "write" : "read"
    for (index, name) in ["memcpy", "huge frames", "4 KiB frames"].enumerated() {
      report.add(
        "\(verb), \(name)", costs[index].median, .nanoseconds, spread: costs[index].spread)
      guard index > 0 else { continue }
      report.add(
        "\(verb), \(name) over memcpy", ratios[index].median, .ratio, spread: ratios[index].spread,
        goal: 1.15)
    }
  }
  return report
}

/// Operations of one side in one round.
private let operations = 20_000

private protocol Memory {
  func nanosecondsEach(write: Bool, size: UInt64, seed: UInt64) throws(MemoryError) -> Double
}

extension AddressSpace: Memory {
  fileprivate func nanosecondsEach(
    write: Bool, size: UInt64, seed: UInt64
  ) throws(MemoryError) -> Double {
    let page = Bytes(4096, of: 0x5a)
    var random = Random(seed: seed)
    let pages = size / 4096
    let start = ownTime()
    for _ in 0..<operations {
      let offset = random.next() % pages * 4096
      if write {
        try unsafe self.write(at: offset, from: page.source)
      } else {
        try unsafe read(at: offset, into: page.target)
      }
    }
    return Double(ownTime() - start) / Double(operations)
  }
}

/// Anonymous memory with huge pages advised: the best that a program without forks can have.
@safe private final class Flat: Memory {
  private let base: UnsafeMutableRawPointer
  private let mapping: UnsafeMutableRawPointer
  private let length: Int

  init(_ size: Int) {
    let block = 2 << 20
    length = size + block
    let mapped = unsafe mmap(
      nil, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    precondition(unsafe mapped != MAP_FAILED, "bench: mmap failed")
    unsafe mapping = mapped.unsafelyUnwrapped
    unsafe base = mapping.alignedUp(toMultipleOf: block)
    unsafe madvise(base, size, MADV_HUGEPAGE)
    unsafe base.initializeMemory(as: UInt8.self, repeating: 0xa5, count: size)
  }

  deinit { unsafe munmap(mapping, length) }

  func nanosecondsEach(write: Bool, size: UInt64, seed: UInt64) -> Double {
    let page = Bytes(4096, of: 0x5a)
    var random = Random(seed: seed)
    let pages = size / 4096
    let target = unsafe page.target.baseAddress.unsafelyUnwrapped
    let start = ownTime()
    for _ in 0..<operations {
      let place = unsafe base + Int(random.next() % pages * 4096)
      if write { unsafe memcpy(place, target, 4096) } else { unsafe memcpy(target, place, 4096) }
    }
    return Double(ownTime() - start) / Double(operations)
  }
}

/// A space with all its memory resident, written page by page in order.
private func filled(_ size: UInt64, hugePages: Bool) throws(MemoryError) -> AddressSpace {
  var policy = Policy()
  policy.hugePagesOnWrite = hugePages
  let machine = try Machine(limit: size + 16 * 1_048_576, policy: policy)
  let space = try machine.makeSpace(size: size)
  let page = Bytes(4096, of: 0xa5)
  for offset in stride(from: 0, to: size, by: 4096) {
    try unsafe space.write(at: offset, from: page.source)
  }
  return space
}
