import Interleave
import Testing

@testable import Modelled

@Suite(.serialized) struct FaultProtocolTests {
  /// History item 2: two read faults of one place.
  @Test func faultAgainstFault() {
    prove("fault against fault", bound: 2) { scenario in
      let machine = makeMachine(frames: 8)
      let space = Box<AddressSpace?>(try! machine.makeSpace(size: 2 * slotSize))
      for name in ["a", "b"] {
        scenario.thread(name) { check(space.value!.byte(at: 0) == 0) }
      }
      scenario.finally {
        check(machine.zeroPageReferences == 2, "one reference for the table")
        space.value = nil
        machine.shrink()
        check(machine.memoryUsed == 0 && machine.zeroPageReferences == 0, "baseline")
      }
    }
  }
}
