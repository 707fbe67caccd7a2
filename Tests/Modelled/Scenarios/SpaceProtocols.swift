import Interleave

extension Protocol {
  static var spaces: [Protocol] {
    var protocols: [Protocol] = []
    for reference in [Policy.ZeroReference.perTable, .perMapping] {
      protocols.append(
        onSpace("read fault, read fault, one place (\(reference.rawValue))", reference, plants: [.noLock]) {
          scenario, space in
          for name in ["a", "b"] {
            scenario.thread(name) { check(space.value!.byte(at: 0) == 0) }
          }
        })
      protocols.append(
        onSpace("read fault, discard (\(reference.rawValue))", reference) { scenario, space in
          scenario.thread("reader") { check(space.value!.byte(at: 0) == 0) }
          scenario.thread("discard") { try! space.value!.discard(at: 0, length: slotSize) }
        })
    }
    protocols += [
      onSpace("read, discard and shrink of the zero page", .perTable) {
        scenario, space in
        _ = space.value!.byte(at: 0)
        scenario.thread("reader") { check(space.value!.byte(at: 0) == 0) }
        scenario.thread("discard") {
          try! space.value!.discard(at: 0, length: slotSize)
          space.value!.machine.shrink()
        }
      },
      onSpace("write fault, read", .perTable, plants: [.relaxedEntry]) { scenario, space in
        scenario.thread("writer") { space.value!.put(7, at: 0) }
        scenario.thread("reader") {
          let byte = space.value!.byte(at: 0)
          check(byte == 0 || byte == 7, "all or nothing")
        }
      },
      onSpace("read, discard of data, reuse", .perTable, plants: [.noGracePeriod]) {
        scenario, space in
        space.value!.put(7, at: 0)
        scenario.thread("reader") {
          let byte = space.value!.byte(at: 0)
          check(byte == 0 || byte == 7, "never what came later")
        }
        scenario.thread("discard") {
          try! space.value!.discard(at: 0, length: slotSize)
          space.value!.put(9, at: slotSize)
        }
      },
      onSpace("fork, write", .perTable, plants: [.noLock]) { scenario, space in
        space.value!.put(1, at: 0)
        // Words are created by the set-up only, so the fork is one in place.
        let fork = Box<AddressSpace?>(try! space.value!.machine.makeSpace(size: 2 * slotSize))
        scenario.thread("writer") { space.value!.put(2, at: 0) }
        scenario.thread("fork") {
          try! fork.value!.reset(to: space.value!)
          let first = fork.value!.byte(at: 0)
          check(first == 1 || first == 2, "a value that was there")
          check(fork.value!.byte(at: 0) == first, "a fork is a point in time")
        }
        scenario.finally { fork.value = nil }
      },
    ]
    return protocols
  }

  /// Threads on one space of two slots, in a machine of eight frames, until everything is dropped.
  private static func onSpace(
    _ name: String, _ reference: Policy.ZeroReference, bound: Int? = 1, plants: [Plant] = [],
    _ threads: @escaping (Scenario, Box<AddressSpace?>) -> Void
  ) -> Protocol {
    Protocol(name, threads: 2, bound: bound, plants: plants) { scenario in
      var policy = Policy()
      policy.zeroReference = reference
      let machine = makeMachine(frames: 8, policy: policy)
      let space = Box<AddressSpace?>(try! machine.makeSpace(size: 2 * slotSize))
      threads(scenario, space)
      scenario.finally {
        space.value = nil
        expectBaseline(machine)
      }
    }
  }
}

extension AddressSpace {
  fileprivate func byte(at offset: UInt64) -> UInt8 {
    var byte: UInt8 = 0xff
    withUnsafeMutableBytes(of: &byte) { try! read(at: offset, into: $0) }
    return byte
  }
  fileprivate func put(_ byte: UInt8, at offset: UInt64) {
    withUnsafeBytes(of: byte) { try! write(at: offset, from: $0) }
  }
}
