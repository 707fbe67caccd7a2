import Interleave
import Testing

@testable import ProtocolsModel

/// References held by tables or by mappings: faults on two slots of a table, a discard, and the
/// shrinker. The zero page, the grace period and the lock are production code. The table works as
/// in `AddressSpace+Read` and `Retired` but has only two slots.
@Suite struct TableTests {
  enum Policy { case perTable, perMapping }

  final class Table {
    let entries = [Entry(0), Entry(0)]
    let lock = SpinLock()
    /// (L) lock.
    let zeroEntries = ModelCell(0, name: "zero entries")
    let machine: Machine
    let policy: Policy

    init(_ machine: Machine, _ policy: Policy) {
      self.machine = machine
      self.policy = policy
    }

    func fault(_ index: Int) {
      guard let _ = machine.get() else { return check(false, "no frame") }
      lock.lock()
      let mapped = zeroEntries.load()
      let isNew = entries[index].word.load(.relaxed) == 0
      if isNew {
        entries[index].word.store(1, .release)
        zeroEntries.store(mapped + 1)
      }
      lock.unlock()
      if !isNew || policy == .perTable && mapped > 0 { machine.zeroPage.put() }
    }

    func discard(_ index: Int, _ grace: GracePeriod) {
      lock.lock()
      let isZero = entries[index].word.load(.relaxed) != 0
      var mapped = zeroEntries.load()
      if isZero {
        entries[index].word.store(0, .release)
        mapped -= 1
        zeroEntries.store(mapped)
      }
      lock.unlock()
      guard isZero, policy == .perMapping || mapped == 0 else { return }
      grace.synchronize()
      machine.zeroPage.put()
    }

    /// Reads as a reader does: for a zero entry, it reads the published page.
    func read(_ index: Int, _ grace: GracePeriod) {
      let section = grace.enter()
      if entries[index].word.load(.acquire) != 0 {
        let frame = machine.zeroPage.snapshot().frame
        check(frame != 0, "a zero entry without a zero page")
        if frame != 0 { machine.use(frame) }
      }
      section.leave()
    }
  }

  static func scenario(_ policy: Policy, withReader: Bool) -> (Scenario) -> Void {
    { scenario in
      let machine = Machine(frames: 2)
      let grace = GracePeriod(expedited: true)
      let table = Table(machine, policy)
      table.fault(0)
      if withReader {
        scenario.thread("reader") {
          table.read(0, grace)
          forget(1)
        }
      } else {
        scenario.thread("fault") {
          table.fault(1)
          forget(1)
        }
      }
      scenario.thread("discard") {
        table.discard(0, grace)
        forget(1)
      }
      scenario.thread("shrinker") {
        _ = machine.zeroPage.shrinkerScan(to: machine.frames)
        forget(1)
      }
      scenario.finally { machine.checkAtRest(holders: withReader ? 0 : 1) }
    }
  }

  @Test(arguments: [Policy.perTable, .perMapping])
  func faultAgainstDiscard(_ policy: Policy) {
    verify("fault, discard, shrinker; \(policy)", Self.scenario(policy, withReader: false))
  }

  @Test(arguments: [Policy.perTable, .perMapping])
  func readAgainstDiscard(_ policy: Policy) {
    verify("read, discard, shrinker; \(policy)", Self.scenario(policy, withReader: true))
  }
}
