import Interleave
import Testing

@testable import ProtocolsModel

/// The zero page is revoked while it is mapped. Production source, on the machine of `SpaceTests`.
///
/// This is one suite with the engine's other tests: the engine has globals, so its scenarios run
/// one at a time.
extension SpaceTests {
  /// The zero page is mapped at slot 0. Scanners visit both spaces. With `isForked`, the second
  /// space is a fork of the first and shares all its tables.
  static func onZeroPage(
    _ reference: Policy.ZeroReference = .perTable, enabled: Policy.Enabled = .always,
    isForked: Bool = false, isWithheld: Bool = false,
    _ threads: @escaping (Scenario, Shared) -> Void
  ) -> (Scenario) -> Void {
    on(reference) { scenario, shared in
      shared.machine.tune { $0.enabled = enabled }
      _ = shared.space!.makeScannable()
      check(shared.space!.byte(at: 0) == 0)
      check(shared.machine.zeroPageReferences == 2, "mapped")
      if isForked {
        shared.fork = makeSpace(on: shared.machine)
        _ = shared.fork!.makeScannable()
        try! shared.fork!.reset(to: shared.space!)
      }
      if isWithheld { shared.machine.withholdZeroPage(true) }
      threads(scenario, shared)
      scenario.finally { checkZeroReferences(shared, isGone: isWithheld) }
    }
  }

  static func revoke(_ scenario: Scenario, _ shared: Shared) {
    scenario.thread("revocation") { shared.machine.revokeZeroPage() }
  }

  /// Checks that at rest the count is 0, or 1 plus one for each table or entry.
  static func checkZeroReferences(_ shared: Shared, isGone: Bool = false) {
    shared.machine.settle()
    var seen: Set<FrameNumber> = []
    var holders: UInt32 = 0
    func visit(_ entry: ProtocolsModel.Entry) {
      guard entry.kind == .table, seen.insert(entry.frame).inserted else { return }
      let table = Table(entry.frame, in: shared.machine.arena)
      holders += shared.machine.zeroReferences(of: table)
      for index in 0..<Table.count { visit(table[index]) }
    }
    for space in [shared.space, shared.fork] {
      if let space { visit(ProtocolsModel.Entry(raw: space.root.load(.relaxed))) }
    }
    let count = shared.machine.zeroPageReferences
    check(count == 0 && holders == 0 || count == 1 + holders, "\(count) for \(holders) holders")
    if isGone { check(holders == 0, "mapped though it is withheld") }
  }

  @Test(arguments: [Policy.ZeroReference.perTable, .perMapping])
  func revocationAgainstReader(reference: Policy.ZeroReference) {
    verify(
      "engine: revocation, reader, \(reference)",
      Self.onZeroPage(reference) { scenario, shared in
        scenario.thread("reader") { check(shared.space!.byte(at: 0) == 0) }
        Self.revoke(scenario, shared)
      }, with: Self.checker)
  }

  @Test(arguments: [Policy.ZeroReference.perTable, .perMapping])
  func revocationAgainstReadFault(reference: Policy.ZeroReference) {
    verify(
      "engine: revocation, read fault, \(reference)",
      Self.onZeroPage(reference) { scenario, shared in
        scenario.thread("reader") { check(shared.space!.byte(at: slotSize) == 0) }
        Self.revoke(scenario, shared)
      }, with: Self.checker)
  }

  @Test(arguments: [Policy.Enabled.always, .never])
  func revocationAgainstWriteFault(enabled: Policy.Enabled) {
    verify(
      "engine: revocation, write fault, huge pages \(enabled)",
      Self.onZeroPage(enabled: enabled) { scenario, shared in
        scenario.thread("writer") { shared.space!.put(7, at: 0) }
        Self.revoke(scenario, shared)
        scenario.finally { Self.contents(shared, 7, 0) }
      }, with: Self.checker)
  }

  /// Adds a thread that makes a fork, which scanners visit, and looks at it.
  static func fork(
    _ scenario: Scenario, _ shared: Shared, _ look: @escaping (AddressSpace) -> Void
  ) {
    shared.fork = makeSpace(on: shared.machine)
    _ = shared.fork!.makeScannable()
    scenario.thread("fork") {
      try! shared.fork!.reset(to: shared.space!)
      look(shared.fork!)
    }
  }

  @Test func revocationAgainstDiscard() {
    verify(
      "engine: revocation, discard",
      Self.onZeroPage { scenario, shared in
        scenario.thread("discard") { try! shared.space!.discard(at: 0, length: slotSize) }
        Self.revoke(scenario, shared)
      }, with: Self.checker)
  }

  /// The fork shares the table before, while or after it loses its zero entries.
  @Test func revocationAgainstFork() {
    verify(
      "engine: revocation, fork",
      Self.onZeroPage { scenario, shared in
        Self.fork(scenario, shared) { check($0.byte(at: 0) == 0) }
        Self.revoke(scenario, shared)
      }, with: Self.checker)
  }

  /// Copying a shared table takes a reference to a page that is being revoked. The copy has either
  /// the reference or no entry.
  static func copyAgainstRevocation(
    _ reference: Policy.ZeroReference, by writer: KeyPath<Shared, AddressSpace?>, isWithheld: Bool
  ) -> (Scenario) -> Void {
    onZeroPage(reference, isForked: true, isWithheld: isWithheld) { scenario, shared in
      scenario.thread("writer") { shared[keyPath: writer]!.put(3, at: slotSize) }
      revoke(scenario, shared)
      scenario.finally {
        let isFork = shared[keyPath: writer] === shared.fork
        check(shared.fork!.byte(at: slotSize) == (isFork ? 3 : 0), "the fork")
        check(shared.space!.byte(at: slotSize) == (isFork ? 0 : 3), "the origin")
      }
    }
  }

  @Test(arguments: [Policy.ZeroReference.perTable, .perMapping], [false, true])
  func revocationAgainstTheCopyOfATable(reference: Policy.ZeroReference, isWithheld: Bool) {
    let way = "\(reference)\(isWithheld ? ", withheld" : "")"
    verify(
      "engine: revocation, copy of the table by a fork, \(way)",
      Self.copyAgainstRevocation(reference, by: \.fork, isWithheld: isWithheld),
      with: Self.checker)
    verify(
      "engine: revocation, copy of the table by the origin, \(way)",
      Self.copyAgainstRevocation(reference, by: \.space, isWithheld: isWithheld),
      with: Self.checker)
  }

  /// The other sharer lets the table go, so it becomes the fork's own while the revocation looks at
  /// it.
  @Test func revocationAgainstTheLastSharer() {
    verify(
      "engine: revocation, write by the one that a table is left to",
      Self.onZeroPage(isForked: true) { scenario, shared in
        scenario.thread("writer") {
          try! shared.space!.discard(at: 0, length: 2 * slotSize)
          shared.fork!.put(3, at: 0)
        }
        Self.revoke(scenario, shared)
        scenario.finally {
          check(shared.fork!.byte(at: 0) == 3)
          check(shared.space!.byte(at: 0) == 0)
        }
      }, with: Self.checker)
  }

  @Test(.enabled(if: isOptimized, "make interleave"))
  func revocationAgainstCopyAndReader() {
    var checker = Self.checker
    checker.options.preemptionBound = 2
    verify(
      "engine: revocation, copy of a table, reader",
      Self.onZeroPage(isForked: true) { scenario, shared in
        scenario.thread("writer") { shared.fork!.put(3, at: 0) }
        scenario.thread("reader") { check(shared.space!.byte(at: 0) == 0) }
        Self.revoke(scenario, shared)
        scenario.finally { check(shared.fork!.byte(at: 0) == 3) }
      }, with: checker)
  }
}
