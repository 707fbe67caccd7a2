import ControlPlane
import DiskDirectory
import HugeMemory
import Logging
import MemoryFiles
import NBDServer

/// The memory of a server that outlives it, and the directory in it.
final class SurvivingMemory {
  let kept: KeptMemory
  private(set) var directory: DiskDirectory?
  /// The option that asked for it, for messages.
  private let name: String

  init(_ kept: KeptMemory, name: String) { (self.kept, self.name) = (kept, name) }

  /// A machine on the memory, and what was in it.
  final class Recovered {
    let machine: Machine
    let disks: [Disks.Recovered]
    private let name: String

    fileprivate init(_ machine: Machine, _ disks: [Disks.Recovered], name: String) {
      (self.machine, self.disks, self.name) = (machine, disks, name)
    }

    func restore(to disks: Disks) throws {
      do { try disks.recover(self.disks) } catch { throw ControlError("\(name): \(error)") }
    }
  }

  /// Finds the disks that an earlier server left, if there was one. A machine that is `prepared` has been
  /// made for the same file.
  func recover(_ prepared: Machine?, _ options: MachineOptions, _ log: Logger) throws -> Recovered {
    do {
      // Before the file is changed.
      try DiskDirectory.check(kept.file.descriptor, mayBeNew: true)
      try kept.file.grow(to: DiskDirectory.length(capacity: options.capacity))
      let directory = try DiskDirectory(
        kept.file.descriptor, canRunOut: kept.file.canRunOut)
      self.directory = directory
      let machine =
        try prepared
        ?? .prepare(directory.frames, limit: options.limit, capacity: options.capacity)
      let (found, damaged) = directory.recover()
      if damaged > 0 {
        log.error(
          "records of disks are damaged: they are gone", metadata: ["records": "\(damaged)"])
      }
      // Forks of one point share what a reset returns to.
      var spaces: [KeptSpace] = []
      var place: [Int: Int] = [:]
      for disk in found.map(\.disk) {
        for root in [disk.root, disk.snapshot].compactMap(\.self) where place[root] == nil {
          place[root] = spaces.count
          spaces.append(KeptSpace(root: directory.root(root), size: disk.spaceSize))
        }
      }
      let (made, report) = machine.recover(spaces, background: options.background)
      if report.damaged > 0 {
        log.error(
          "memory is damaged: some parts of disks read as zeros",
          metadata: ["entries": "\(report.damaged)"])
      }
      var disks: [Disks.Recovered] = []
      for found in found {
        guard let space = place[found.disk.root].flatMap({ made[$0] }) else {
          log.error("a disk is damaged: it is gone", metadata: ["disk": "\(found.disk.name)"])
          directory.remove([found.slot])
          continue
        }
        var found = found
        let snapshot = found.disk.snapshot.flatMap { place[$0] }.flatMap { made[$0] }
        if found.disk.snapshot != nil, snapshot == nil {
          log.error(
            "what a disk was forked from is damaged: it cannot be reset",
            metadata: ["disk": "\(found.disk.name)"])
          found = directory.withoutOrigin(found)
        }
        disks.append(Disks.Recovered(found: found, space: space, snapshot: snapshot))
      }
      if !kept.isNew {
        log.notice(
          "disks of an earlier server are back",
          metadata: [
            "disks": "\(disks.count)", "tables": "\(report.tables)", "frames": "\(report.frames)",
            "milliseconds": "\(report.time / 1_000_000)",
          ])
      }
      return Recovered(machine, disks, name: name)
    } catch { throw ControlError("\(name): \(error)") }
  }
}

/// How a server makes its machine.
struct MachineOptions {
  /// In bytes.
  var limit: UInt64
  var capacity: UInt64
  var background: Machine.Background
}
