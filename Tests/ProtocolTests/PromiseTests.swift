import Interleave
import Testing

@testable import ProtocolsModel

/// Frames promised to spaces, on machines whose last frames several threads want: a holder of a
/// promise is not refused, and there are never more frames than the limit. Production source.
///
/// This is one suite with the engine's other tests: the engine has globals, so its scenarios run
/// one at a time.
extension SpaceTests {
  /// Small pages. The first page of a space takes three frames: root, table and page. The second
  /// page is promised.
  static func onPromises(
    frames: Int, _ threads: @escaping (Scenario, Shared) -> Void
  ) -> (Scenario) -> Void {
    on(frames: frames) { scenario, shared in
      shared.machine.tune { $0.enabled = .never }
      shared.space!.put(1, at: 0)
      threads(scenario, shared)
      scenario.finally {
        for space in [shared.space, shared.fork] { if let space { checkCharge(space) } }
        checkPromises(shared.machine)
      }
    }
  }

  static func reserve(_ pages: UInt64, in space: AddressSpace) -> Bool {
    (try? space.setLimits(quota: nil, reserve: pages * pageSize)) != nil
  }

  static func checkPromises(_ machine: ProtocolsModel.Machine) {
    machine.settle()
    let arena = machine.arena
    check(arena.framesOut + arena.framesPromised <= arena.limit, "more promised than there is")
  }

  /// Checks that the charge is what the entries say.
  static func checkCharge(_ space: AddressSpace) {
    guard let limits = space.limits else { return }
    let entry = ProtocolsModel.Entry(raw: space.root.load(.relaxed))
    check(limits.charge == space.chargeOf(entry), "charged \(limits.charge)")
    check(limits.charge <= limits.quota ?? .max, "over quota")
  }

  /// Adds a thread without a promise that takes as many frames as it can. `expected` says how many
  /// that may be.
  static func hog(_ scenario: Scenario, _ shared: Shared, expected: ClosedRange<Int>) {
    let arena = shared.machine.arena
    var taken: [FrameNumber] = []
    scenario.thread("other") {
      while let frame = arena.allocateSmall() { taken.append(frame) }
    }
    scenario.finally {
      check(expected.contains(taken.count), "\(taken.count) frames for who was promised none")
      checkPromises(shared.machine)
      for frame in taken { arena.release(frame) }
    }
  }

  /// Adds a thread that writes the second page, which was promised.
  static func writePromised(_ scenario: Scenario, _ shared: Shared) {
    var isWritten = false
    scenario.thread("writer") { isWritten = shared.space!.putIfAllowed(7, at: pageSize) }
    scenario.finally { check(isWritten && shared.space!.byte(at: pageSize) == 7, "refused") }
  }

  // MARK: What was promised is taken

  /// One of two frames is promised. The other may be refused too: for a moment the holder has a
  /// frame from a core's cache and still has its promise.
  @Test func aPromisedFrameAgainstAnAllocation() {
    verify(
      "engine: write of a promised page, allocation",
      Self.onPromises(frames: 5) { scenario, shared in
        check(Self.reserve(4, in: shared.space!))
        Self.writePromised(scenario, shared)
        Self.hog(scenario, shared, expected: 0...1)
      }, with: Self.checker)
  }

  /// Two of three frames are promised, one of them to a holder that is not a space.
  @Test(.enabled(if: isOptimized, "make interleave"))
  func twoPromisesAgainstAnAllocation() {
    verify(
      "engine: two holders of promises, allocation",
      Self.onPromises(frames: 6) { scenario, shared in
        check(Self.reserve(4, in: shared.space!))
        Self.writePromised(scenario, shared)
        let arena = shared.machine.arena
        check(arena.promise(1))
        var frame: FrameNumber?
        scenario.thread("holder") { frame = arena.allocateSmall(own: 1) }
        Self.hog(scenario, shared, expected: 0...1)
        scenario.finally {
          check(frame != nil, "refused")
          if let frame { arena.release(frame) }
        }
      }, with: Self.reclaimChecker)
  }

  /// A planted bug: the promise is lowered before its frame is taken, instead of in the same step.
  @Test func aPromiseLiftedTooEarlyIsFound() {
    Self.refuteEngine(
      "promise lifted before the allocation",
      Self.onPromises(frames: 4) { scenario, shared in
        let arena = shared.machine.arena
        check(arena.promise(1))
        var frame: FrameNumber?
        scenario.thread("holder") {
          arena.changePromise(by: -1)
          frame = arena.allocateSmall()
        }
        Self.hog(scenario, shared, expected: 0...0)
        scenario.finally { if let frame { arena.release(frame) } }
      })
  }

  // MARK: Promises are made

  /// The last frame is either promised or taken. A promised frame can be had.
  static func promiseAgainstAllocation(
    _ promise: @escaping (Arena) -> Bool
  ) -> (Scenario) -> Void {
    onPromises(frames: 4) { scenario, shared in
      let arena = shared.machine.arena
      var isPromised = false
      scenario.thread("holder") { isPromised = promise(arena) }
      hog(scenario, shared, expected: 0...1)
      scenario.finally { if isPromised { arena.changePromise(by: -1) } }
    }
  }

  @Test func aPromiseWithoutTheLockIsFound() {
    Self.refuteEngine(
      "promise after a look at what is free",
      Self.promiseAgainstAllocation { arena in
        guard arena.framesOut + arena.framesPromised < arena.limit else { return false }
        arena.changePromise(by: 1)
        return true
      })
  }

  @Test func aReserveAgainstAnAllocation() {
    verify(
      "engine: promise, allocation", Self.promiseAgainstAllocation { $0.promise(1) },
      with: Self.checker)
    verify(
      "engine: reserve set, used and dropped, allocation",
      Self.onPromises(frames: 4) { scenario, shared in
        var isReserved = false
        scenario.thread("limits") {
          let space = shared.space!
          isReserved = Self.reserve(4, in: space)
          guard isReserved else { return }
          check(space.putIfAllowed(7, at: pageSize), "refused")
          check(Self.reserve(0, in: space))
        }
        Self.hog(scenario, shared, expected: 0...1)
        scenario.finally { check(shared.space!.byte(at: pageSize) == (isReserved ? 7 : 0)) }
      }, with: Self.checker)
  }

  // MARK: On their way back

  /// A holder retires a frame, which is promised to it again. Meanwhile another holder takes a
  /// frame of its own: it may be refused until the grace period has passed, and nobody else gets
  /// the frame.
  static func promiseAgainstRetirement(
    isContended: Bool = false,
    _ retire: @escaping (ProtocolsModel.Machine, FrameNumber) -> Void
  ) -> (Scenario) -> Void {
    onPromises(frames: 5) { scenario, shared in
      check(reserve(4, in: shared.space!))
      let arena = shared.machine.arena
      check(arena.promise(1))
      let frame = arena.allocateSmall(own: 1)!
      writePromised(scenario, shared)
      scenario.thread("holder") { retire(shared.machine, frame) }
      if isContended { hog(scenario, shared, expected: 0...0) }
      scenario.finally { arena.changePromise(by: -1) }
    }
  }

  @Test func aPromiseAgainstARetirement() {
    verify(
      "engine: write of a promised page, retirement",
      Self.promiseAgainstRetirement { $0.retire(.small($1), promising: 1) }, with: Self.checker)
  }

  @Test(.enabled(if: isOptimized, "make interleave"))
  func aPromiseAgainstARetirementAndAnAllocation() {
    verify(
      "engine: write of a promised page, retirement, allocation",
      Self.promiseAgainstRetirement(isContended: true) { $0.retire(.small($1), promising: 1) },
      with: Self.reclaimChecker)
  }

  @Test func aPromiseBeforeTheRetirementIsFound() {
    Self.refuteEngine(
      "promise before the retirement",
      Self.promiseAgainstRetirement { machine, frame in
        machine.arena.changePromise(by: 1)
        machine.retire(.small(frame))
      })
  }

  // MARK: Forks

  /// A fork needs the whole reserve again. There is enough if the fork comes before the write.
  @Test func aForkOfAReservedSpaceAgainstAWrite() {
    verify(
      "engine: fork of a space with a quota and a reserve, write",
      Self.onPromises(frames: 7) { scenario, shared in
        shared.fork = makeSpace(on: shared.machine)
        let limit = 4 * pageSize
        try! shared.space!.setLimits(quota: limit, reserve: limit)
        var isForked = false
        scenario.thread("fork") {
          isForked = (try? shared.fork!.reset(to: shared.space!)) != nil
          guard isForked else { return }
          let byte = shared.fork!.byte(at: pageSize)
          check(byte == 0 || byte == 7, "a value that was there")
        }
        Self.writePromised(scenario, shared)
        scenario.finally {
          check(shared.fork!.byte(at: 0) == (isForked ? 1 : 0))
          check(shared.machine.arena.framesPromised == shared.space!.limits!.promised)
        }
      }, with: Self.checker)
  }
}
