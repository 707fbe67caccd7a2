import CLinux
import Glibc
import HugeMemory

/// What the steps in a huge page's life cost, in the engine by policy and in the kernel on a
/// mapping of its own. The two take turns. A fault that takes memory includes the kernel's fault
/// below the arena, so the difference between the two is what the engine adds.
func hugePages(rounds: Int, into report: inout Report) throws(MemoryError) {
  let steps = try Step.all()
  var engine = steps.map { _ in Samples() }
  var kernel = steps.map { _ in Samples() }
  for round in 0..<rounds + 1 {
    for (index, step) in steps.enumerated() {
      let own = try step.engine()
      let kernels = step.kernel?()
      // The first round has cold caches and fresh tables.
      guard round > 0 else { continue }
      engine[index].add(own)
      if let kernels { kernel[index].add(kernels) }
    }
  }
  for (index, step) in steps.enumerated() {
    report.add(step.name, engine[index].median, .nanoseconds, spread: engine[index].spread)
    guard step.kernel != nil else { continue }
    report.add("  the kernel", kernel[index].median, .nanoseconds, spread: kernel[index].spread)
  }
}

private let slotSize = 2 << 20
/// The number of slots in each measurement.
private let slots = 16

private struct Step {
  let name: String
  /// Nanoseconds for one slot or page.
  let engine: () throws(MemoryError) -> Double
  let kernel: (() -> Double)?

  static func all() throws(MemoryError) -> [Step] {
    let machine = try Machine(limit: 256 << 20, policy: .linux, background: .none)
    return [
      unsafe Step(
        name: "write fault, 2 MiB", on: machine,
        { space, slot throws(MemoryError) in try space.store(UInt8(1), at: slot) },
        kernel: { unsafe $0.storeBytes(of: 1, as: UInt8.self) }),
      unsafe Step(
        name: "write fault, 4 KiB", on: machine, tuned: { $0.enabled = .never },
        { space, slot throws(MemoryError) in try space.store(UInt8(1), at: slot) },
        kernelSetUp: { unsafe madvise($0, slots * slotSize, Advice.noHugePage) },
        kernel: { unsafe $0.storeBytes(of: 1, as: UInt8.self) }),
      unsafe Step(
        name: "write to the zero page, huge", on: machine,
        setUp: { space, slot throws(MemoryError) in try space.touch(slot) },
        { space, slot throws(MemoryError) in try space.store(UInt8(1), at: slot) },
        kernelSetUp: { unsafe touchAll($0) },
        kernel: { unsafe $0.storeBytes(of: 1, as: UInt8.self) }),
      unsafe Step(
        name: "write to the zero page, split", on: machine, tuned: { $0.zeroWrite = .split },
        setUp: { space, slot throws(MemoryError) in try space.touch(slot) },
        { space, slot throws(MemoryError) in try space.store(UInt8(1), at: slot) }),
      unsafe Step(
        name: "split by protecting a page", on: machine,
        setUp: { space, slot throws(MemoryError) in try space.store(UInt8(1), at: slot) },
        { space, slot throws(MemoryError) in
          try space.protect(at: slot, length: 4096, .read)
        },
        kernelSetUp: { unsafe writeAll($0, by: slotSize) },
        kernel: { unsafe _ = mprotect($0, 4096, PROT_READ) }),
      unsafe Step(
        name: "collapse of 512 pages", on: machine, tuned: { $0.enabled = .never },
        setUp: { space, slot throws(MemoryError) in
          for page in 0..<UInt64(512) { try space.store(UInt8(1), at: slot + page << 12) }
        },
        { space, slot throws(MemoryError) in
          try space.advise(at: slot, length: UInt64(slotSize), .collapse)
        },
        kernelSetUp: {
          unsafe madvise($0, slots * slotSize, Advice.noHugePage)
          unsafe writeAll($0, by: 4096)
          unsafe madvise($0, slots * slotSize, Advice.hugePage)
        },
        kernel: { unsafe _ = madvise($0, slotSize, Advice.collapse) }),
    ]
  }

  init(
    name: String, on machine: Machine, tuned tune: @escaping (inout Policy) -> Void = { _ in },
    setUp: @escaping (AddressSpace, UInt64) throws(MemoryError) -> Void = { _, _ in },
    _ step: @escaping (AddressSpace, UInt64) throws(MemoryError) -> Void,
    kernelSetUp: @escaping (UnsafeMutableRawPointer) -> Void = { _ in },
    kernel: ((UnsafeMutableRawPointer) -> Void)? = nil
  ) {
    self.name = name
    engine = { () throws(MemoryError) in
      machine.tune {
        $0 = .linux
        tune(&$0)
      }
      let space = try machine.makeSpace(size: UInt64(slots * slotSize))
      let offsets = stride(from: UInt64(0), to: UInt64(slots * slotSize), by: slotSize)
      for slot in offsets { try setUp(space, slot) }
      let start = ownTime()
      for slot in offsets { try step(space, slot) }
      return Double(ownTime() - start) / Double(slots)
    }
    self.kernel = unsafe kernel.map { step in
      {
        guard let base = unsafe hm_reserve(slots * slotSize, 1) else { return .nan }
        unsafe kernelSetUp(base)
        let start = ownTime()
        for slot in 0..<slots { unsafe step(base + slot * slotSize) }
        let cost = Double(ownTime() - start) / Double(slots)
        unsafe hm_release(base, slots * slotSize)
        return cost
      }
    }
  }

  /// Values of `madvise(2)`. The C library's module does not have all of them.
  private enum Advice {
    static let hugePage: Int32 = 14
    static let noHugePage: Int32 = 15
    static let collapse: Int32 = 25
  }

  private static func touchAll(_ base: UnsafeMutableRawPointer) {
    for slot in 0..<slots {
      unsafe blackHole(base.load(fromByteOffset: slot * slotSize, as: UInt8.self))
    }
  }

  private static func writeAll(_ base: UnsafeMutableRawPointer, by step: Int) {
    for offset in stride(from: 0, to: slots * slotSize, by: step) {
      unsafe base.storeBytes(of: 1, toByteOffset: offset, as: UInt8.self)
    }
  }

  @inline(never) private static func blackHole(_: UInt8) {}
}
