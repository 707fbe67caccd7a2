import Glibc
import HugeMemory

/// Random 4 KiB reads and writes of resident memory, compared with `memcpy` on a flat mapping of
/// huge pages: what the walk and the grace period cost. The two sides take turns in each round, at
/// the same places.
func io(_ options: Options) throws(MemoryError) -> Report {
  let rounds = options.rounds > 0 ? options.rounds : 240
  let size = UInt64(options.megabytes > 0 ? options.megabytes : 512) << 20
  var report = Report(.io, arguments: "--megabytes \(size >> 20) --rounds \(rounds)")
  let flat = Flat(Int(size))
  // One layout after the other, so that at most two working sets are resident.
  for layout in Layout.allCases {
    let space = try filled(size, layout)
    for write in [false, true] {
      try compare(space, flat, size: size, write: write, rounds: rounds, layout, &report)
    }
  }
  return report
}

/// How a space's memory was written.
private enum Layout: String, CaseIterable {
  case huge = "huge frames"
  /// Written page by page, in order.
  case small = "4 KiB frames"
  /// Written page by page in random order, so that frames lie anywhere.
  case shuffled = "4 KiB, shuffled"
  /// The same, then collapsed.
  case collapsed = "shuffled, collapsed"
}

private func compare(
  _ space: AddressSpace, _ flat: Flat, size: UInt64, write: Bool, rounds: Int, _ layout: Layout,
  _ report: inout Report
) throws(MemoryError) {
  var ours = Samples()
  var theirs = Samples()
  var ratios = Samples()
  for round in 0..<rounds + 1 {
    let seed = UInt64(round + 1) &* 0x9E37_79B9_7F4A_7C15
    var cost = (ours: 0.0, theirs: 0.0)
    for turn in 0..<2 {
      if (round + turn) % 2 == 0 {
        cost.ours = try space.nanosecondsEach(write: write, size: size, seed: seed)
      } else {
        cost.theirs = flat.nanosecondsEach(write: write, size: size, seed: seed)
      }
    }
    guard round > 0 else { continue }
    ours.add(cost.ours)
    theirs.add(cost.theirs)
    ratios.add(cost.ours / cost.theirs)
  }
  let name = "\(write ? "write" : "read"), \(layout.rawValue)"
  report.add(name, ours.median, .nanoseconds, spread: ours.spread)
  report.add("  memcpy beside it", theirs.median, .nanoseconds, spread: theirs.spread)
  report.add("  over memcpy", ratios.median, .ratio, spread: ratios.spread, goal: 1.15)
}

/// The number of operations of one side in one round.
private let operations = 5_000

extension AddressSpace {
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

/// Anonymous memory with huge pages advised: the best that a program without forks can do.
@safe private final class Flat {
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

/// A space of 1 TiB, for the longest walk, of which the first `size` bytes are resident.
private func filled(
  _ size: UInt64, _ layout: Layout
) throws(MemoryError) -> AddressSpace {
  var policy = Policy.linux
  policy.enabled = layout == .huge ? .always : .never
  // Blocks become free only when the last slots are collapsed, so the frames are needed twice.
  let room = layout == .collapsed ? size : 16 * 1_048_576
  let machine = try Machine(limit: size + room, policy: policy, background: .none)
  let space = try machine.makeSpace(size: 1 << 40)
  var order = Array(0..<size / 4096)
  if layout == .shuffled || layout == .collapsed {
    var random = Random(seed: 3)
    order.shuffle(using: &random)
  }
  let page = Bytes(4096, of: 0xa5)
  for number in order { try unsafe space.write(at: number * 4096, from: page.source) }
  if layout == .collapsed { try space.advise(at: 0, length: size, .collapse) }
  return space
}
