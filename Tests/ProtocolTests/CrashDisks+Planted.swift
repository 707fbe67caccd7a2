@testable import ProtocolsModel

extension CrashDisks {
  /// What breaks one of the rules.
  enum Planted: CaseIterable {
    /// An entry is stored before its frame is filled.
    case entryBeforeContents
    /// The root in the file is stored after the space's own.
    case rootAfterSpace
    /// What a root named is free before the root in the file is another.
    case freedBeforeRoot
    case nameBeforeRoot, freedBeforeName
    /// Recovery takes the counts of references as they were, or gives each entry `W`.
    case trustedCounts, uncountedW

    var late: Late? {
      switch self {
      case .entryBeforeContents: .fill
      case .rootAfterSpace: .root
      case .freedBeforeRoot: .rootAfterFree
      case .nameBeforeRoot, .freedBeforeName, .trustedCounts, .uncountedW: nil
      }
    }

    /// What it breaks.
    var operations: [DiskOperation] {
      switch self {
      case .entryBeforeContents: [.writeFork, .writeHole, .collapse]
      case .rootAfterSpace: [.writeFirst]
      case .freedBeforeRoot: [.reset, .discardAll]
      case .nameBeforeRoot: [.fork]
      case .freedBeforeName: [.remove]
      case .trustedCounts, .uncountedW: [.fork, .reset, .remove]
      }
    }

    /// The preemptions that it takes to find it. A root is late only for another thread.
    var bound: Int { self == .rootAfterSpace ? 1 : 0 }
  }

  // MARK: In recovery

  /// Replaces the references that recovery has counted by those of the process that was killed.
  func trustCounts(of next: ProtocolsModel.Machine) {
    guard let metadata = unsafe memoryFile?.metadata else { return }
    for frame in FrameGeometry.framesPerHuge..<Self.frames + FrameGeometry.framesPerHuge {
      let known = unsafe next.arena.metadata[frame].word.load(.relaxed)
      guard FrameState.references(known) > 0, known & FrameState.free == 0 else { continue }
      let found = unsafe metadata[frame].word.load(.relaxed)
      unsafe next.arena.metadata[frame].word.store(
        known - UInt64(FrameState.references(known)) + UInt64(FrameState.references(found)),
        .relaxed)
    }
  }

  func makeWritable(_ recovered: Recovered) {
    func visit(_ entry: ProtocolsModel.Entry, _ level: Int) {
      guard entry.kind == .table, level > 0 else { return }
      let table = Table(entry.frame, in: recovered.machine.arena)
      for slot in 0..<Table.count where table[slot] != .none {
        visit(table[slot], level - 1)
        table.putBack(slot, table[slot].madeWritable)
      }
    }
    for space in recovered.spaces.compactMap({ $0 }) {
      let entry = ProtocolsModel.Entry(raw: space.root.load(.relaxed))
      visit(entry, space.level)
      if entry != .none { space.root.store(entry.madeWritable.raw, .relaxed) }
    }
  }
}
