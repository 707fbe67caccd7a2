import Interleave

extension Protocol {
  static var frames: [Protocol] {
    [
      Protocol("core cache: two allocate and free", threads: 2, bound: 2, plants: [.relaxedUnlock]) {
        scenario in
        let machine = makeMachine(frames: 4)
        for name in ["a", "b"] {
          scenario.thread(name) {
            guard let frame = machine.arena.allocateSmall() else { return check(false, "none") }
            // Two threads with the same frame would race here.
            memset(machine.arena.address(frame), 0, 1)
            machine.arena.release(frame)
          }
        }
        scenario.finally { expectBaseline(machine) }
      },
      Protocol("references: the last of two drops frees", threads: 2, bound: 3, plants: [.relaxedDrop]) {
        scenario in
        let machine = makeMachine(frames: 2)
        let frame = machine.arena.allocate(order: 0, zeroed: true)!
        machine.arena.retain(frame)
        for name in ["a", "b"] {
          scenario.thread(name) {
            var byte: UInt8 = 0
            memcpy(&byte, machine.arena.address(frame), 1)
            // The free counts as a write: to give back, and to clear for the next.
            if machine.arena.drop(frame) {
              memset(machine.arena.address(frame), 0, 1)
              machine.arena.free(frame)
            }
          }
        }
        scenario.finally { expectBaseline(machine) }
      },
    ]
  }
}

let slotSize = UInt64(FrameGeometry.hugeSize)
let pageSize = UInt64(FrameGeometry.frameSize)

func resetMachine(membarrier: Bool = true) {
  physical = nil
  readerSlots = [Int32](repeating: -1, count: 16)
  hasMembarrier = membarrier
}

/// A machine for one execution, with room for `frames` small frames.
func makeMachine(frames: Int, policy: Policy = Policy(), readers: Int = 3) -> Machine {
  resetMachine()
  let machine = try? Machine(
    limit: UInt64(frames) * pageSize, policy: policy, grace: GracePeriod(slotCount: readers))
  return machine!
}

/// After everything is dropped and a shrink, nothing is in use (invariant 17).
func expectBaseline(_ machine: Machine) {
  machine.shrink()
  check(machine.memoryUsed == 0, "frames in use are back at the baseline")
  check(machine.zeroPageReferences == 0, "the zero page is gone")
}
