import Interleave

@testable import ProtocolsModel

/// Disk 0 has four pages in two slots, and disk 1 is a fork of it.
enum DiskOperation: CaseIterable, CustomStringConvertible {
  case readHole, readFork, write, writeHole, writeFirst, writeFork
  case fork, reset, remove, discardPage, discardSlot, discardAll
  case collapse, split, dropZeros, revoke

  var description: String {
    switch self {
    case .readHole: "read fault"
    case .readFork: "read of the fork"
    case .write: "write"
    case .writeHole: "write fault"
    case .writeFirst: "first write"
    case .writeFork: "write of the fork"
    case .fork: "fork"
    case .reset: "reset of the fork"
    case .remove: "remove of the fork"
    case .discardPage: "discard of a page"
    case .discardSlot: "discard of a slot"
    case .discardAll: "discard of all"
    case .collapse: "collapse"
    case .split: "split"
    case .dropZeros: "zero scan"
    case .revoke: "revocation"
    }
  }

  /// Whether the fork is there at first; nil if it does not matter.
  var needsFork: Bool? {
    switch self {
    case .fork: false
    case .readFork, .writeFork, .reset, .remove: true
    default: nil
    }
  }

  /// What the first slot is made of; nil if it does not matter. With `split`, it is huge: the others then
  /// find it so, or split.
  var needsPages: CrashDisks.Pages? {
    switch self {
    case .writeFirst: CrashDisks.Pages.none
    case .collapse, .dropZeros: .small
    case .split: .huge
    default: nil
    }
  }

  /// Two threads write to different pages.
  func value(_ thread: Int) -> UInt8 { UInt8(8 + thread) }

  func effect(_ thread: Int) -> Requests.Effect {
    let value = value(thread)
    return { contents in
      switch self {
      case .readHole: return contents.disks[0]![2]
      // Who has the disk open reads on when it is removed.
      case .readFork: return contents.disks[1]?[0] ?? CrashDisks.own
      case .write, .writeFirst: contents.disks[0]![thread] = value
      case .writeHole: contents.disks[0]![2 + thread] = value
      case .writeFork: contents.disks[1]?[0] = value
      case .fork, .reset:
        if contents.disks[1] != nil || self == .fork {
          contents.disks[1] = contents.disks[0]
        }
      case .remove: contents.disks[1] = nil
      case .discardPage: contents.disks[0]![0] = 0
      case .discardSlot: contents.disks[0]!.replaceSubrange(0..<2, with: [0, 0])
      case .discardAll: contents.disks[0] = [0, 0, 0, 0]
      case .collapse, .split, .dropZeros, .revoke: break
      }
      return 0
    }
  }

  func run(on disks: CrashDisks, _ thread: Int, with other: DiskOperation) -> UInt8 {
    let value = value(thread)
    let space = disks.spaces[0]!
    switch self {
    case .readHole: return space.byte(at: slotSize)
    case .readFork: return disks.spaces[1]!.byte(at: 0)
    case .write, .writeFirst: return write(value, to: space, page: thread)
    case .writeHole: return write(value, to: space, page: 2 + thread)
    case .writeFork: return write(value, to: disks.spaces[1]!, page: 0)
    case .fork: disks.name()
    case .reset: try! disks.spaces[1]!.reset(to: space)
    case .remove: disks.remove(drops: other.needsFork != true)
    case .discardPage: try! space.discard(at: 0, length: pageSize)
    case .discardSlot: try! space.discard(at: 0, length: slotSize)
    case .discardAll: try! space.discard(at: 0, length: 2 * slotSize)
    case .collapse: _ = try? space.collapseSlot(0, .requested)
    case .split: _ = try? space.lock.withLock { try space.splitSlot(0) }
    case .dropZeros:
      _ = space.lock.withLock { space.dropZerosLocked(0) }
      disks.machine.settle()
    case .revoke: disks.machine.revokeZeroPage()
    }
    return 0
  }

  private func write(_ value: UInt8, to space: AddressSpace, page: Int) -> UInt8 {
    space.putIfAllowed(value, at: UInt64(page) * pageSize) ? 0 : Requests.refused
  }
}
