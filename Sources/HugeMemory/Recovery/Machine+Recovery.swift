package import Frames
import Paging
import Primitives

/// A space in a memory file, as its process left it.
package struct KeptSpace {
  package var root: DurableRoot
  /// In bytes. From it follows how many levels of tables the space has.
  package var size: UInt64
  package init(root: DurableRoot, size: UInt64) { (self.root, self.size) = (root, size) }
}

/// What a recovery found.
package struct RecoveryReport: Sendable {
  /// Tables, each counted once.
  package var tables = 0
  /// Frames in use, tables included.
  package var frames = 0
  /// Entries that named nothing that they could name. They read as zeros.
  package var damaged = 0
  /// How long it took, in nanoseconds.
  package var time: UInt64 = 0
}

extension Machine {
  /// A machine whose frames lie in a memory file, with the spaces that the process before it left
  /// there. Nothing that can be derived is taken from the file: this counts all references anew.
  ///
  /// A space is nil if its root was damaged. The caller makes sure that no other process uses the file, and
  /// sets the limits of the spaces before it calls `startThread`: the thread takes memory too.
  ///
  /// - Complexity: O(tables), O(frames up to the last one in use), on all cores.
  package static func recover(
    _ kept: [KeptSpace], from file: ArenaFile, limit: UInt64, capacity: UInt64? = nil,
    policy: Policy = Policy(), background: Background
  ) throws(MemoryError) -> (machine: Machine, spaces: [AddressSpace?], report: RecoveryReport) {
    let start = monotonicTime()
    let machine = try Machine(
      limit: limit, capacity: capacity, policy: policy, grace: .shared, file: file)
    var (roots, report) = machine.markAll(kept)
    let spaces = zip(kept, roots).map { kept, entry in
      entry.map { machine.space(of: kept, root: $0) }
    }
    roots.removeAll()
    report.time = monotonicTime() - start
    machine.follow(background.budget)
    return (machine, spaces, report)
  }

  /// Counts what the roots name. Returns their entries, nil for those that were damaged.
  func markAll(_ kept: [KeptSpace]) -> (roots: [Entry?], report: RecoveryReport) {
    let pass = MarkPass(arena)
    let isGood = kept.map { space in
      pass.add(root: unsafe space.root.word.pointee.load(.relaxed), level: space.level)
    }
    Parallel.run { pass.work() }
    let blocks = pass.frames.used
    Parallel.each(blocks) { pass.frames.settle(block: $0) }
    Parallel.each(blocks) { pass.finish(block: $0) }
    var report = RecoveryReport()
    report.frames = pass.frames.rebuild()
    report.tables = Int(pass.tables.load(.relaxed))
    report.damaged = Int(pass.damaged.load(.relaxed))
    events.tableAlloc.count(report.tables)
    let roots = zip(kept, isGood).map { space, isGood in
      isGood
        ? pass.finished(
          Entry(recovering: unsafe space.root.word.pointee.load(.relaxed)) ?? .none) : nil
    }
    return (roots, report)
  }

  private func space(of kept: KeptSpace, root: Entry) -> AddressSpace {
    let space = AddressSpace(size: kept.size, root: root, machine: self)
    space.keepRoot(in: kept.root)
    if root.kind == .table { space.lock.withLock { _ = space.makeScannable() } }
    return space
  }
}

extension KeptSpace {
  var level: Int { Radix.level(forSize: size) }
}
