import Interleave

extension Protocol {
  static var gracePeriods: [Protocol] {
    [
      readers(1, membarrier: true, plants: [.noFence, .noGracePeriod, .relaxedLeave]),
      readers(1, membarrier: false, plants: [.noFence, .noGracePeriod, .relaxedLeave]),
      readers(2, membarrier: true),
    ]
  }

  /// Readers of an entry; one thread that unmaps it, waits and frees what it named.
  private static func readers(_ count: Int, membarrier: Bool, plants: [Plant] = []) -> Protocol {
    Protocol(
      "grace period: \(count) readers, unmap, free\(membarrier ? "" : ", no membarrier")",
      threads: count + 1, plants: plants
    ) { scenario in
      resetMachine(membarrier: membarrier)
      let grace = GracePeriod(slotCount: count)
      let heap = ModelHeap(capacity: 1)
      let frame = heap.allocate()!
      heap.store(frame, 7)
      let entry = Box(AtomicWord(UInt64(frame)))
      for reader in 0..<count {
        scenario.thread("reader \(reader)") {
          let section = grace.enter()
          let found = entry.value.load(.acquire)
          if found != 0 { check(heap.load(UInt32(found)) == 7, "reads what was mapped") }
          section.leave()
        }
      }
      scenario.thread("unmapper") {
        entry.value.store(0, .release)
        grace.synchronize()
        heap.free(frame)
      }
    }
  }
}
