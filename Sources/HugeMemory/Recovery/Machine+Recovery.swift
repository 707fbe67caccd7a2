package import Frames
import Paging
import Primitives

extension Machine {
  /// A machine whose frames lie in a memory file. `recover` comes next, before anything else.
  ///
  /// - Complexity: O(memory that the file has), for what the machine needs to know about it. The process
  ///   before this one may still use the file.
  package static func prepare(
    _ file: ArenaFile, limit: UInt64, capacity: UInt64? = nil, policy: Policy = Policy()
  ) throws(MemoryError) -> Machine {
    let machine = try Machine(
      limit: limit, capacity: capacity, policy: policy, grace: .shared, file: file)
    machine.arena.populateMetadata(of: file)
    return machine
  }

  /// Takes over the spaces that the process before this one left in the memory file. Nothing that can
  /// be derived is taken from there: this counts all references anew.
  ///
  /// A space is nil if its root was damaged. The caller makes sure that no other process uses the file, and
  /// sets the limits of the spaces before it calls `startThread`: the thread takes memory too.
  ///
  /// - Complexity: O(tables), and O(frames up to the last one in use), on all cores.
  package func recover(
    _ kept: [KeptSpace], background: Background
  ) -> (spaces: [AddressSpace?], report: RecoveryReport) {
    let start = monotonicTime()
    var (spaces, report) = takeOver(kept)
    report.time = monotonicTime() - start
    follow(background.budget)
    return (spaces, report)
  }
}
