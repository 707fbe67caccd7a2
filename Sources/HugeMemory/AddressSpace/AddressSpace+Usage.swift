import Frames
import Paging

/// What a space maps, in bytes, as `/proc/<pid>/smaps` reports it for a process. The zero page
/// counts only in `zero`, and takes no memory there (history item 16).
public struct Usage: Sendable, Equatable {
  /// Memory with data that the space can see (`Rss`).
  public package(set) var data: UInt64 = 0
  /// The part of `data` that is mapped by entries of 2 MiB (`AnonHugePages`).
  public package(set) var huge: UInt64 = 0
  /// What is mapped to the one zero page.
  public package(set) var zero: UInt64 = 0
  /// The part of `data` that other spaces refer to as well.
  public package(set) var shared: UInt64 = 0
  /// Memory, of data and tables, that only this space refers to. Dropping the space would free this
  /// much.
  public package(set) var own: UInt64 = 0
  /// Page tables, including shared ones.
  public package(set) var tables: UInt64 = 0

  /// Nothing mapped.
  package init() {}
}

extension AddressSpace {
  /// Counts what the space maps. Holds the lock, so faults wait meanwhile; reads do not.
  ///
  /// - Complexity: O(entries).
  public func usage() -> Usage {
    var usage = Usage()
    lock.withLock {
      let entry = Entry(raw: root.load(.relaxed))
      if entry.kind == .table { count(entry.frame, level, sole: true, &usage) }
    }
    return usage
  }

  private func count(_ frame: FrameNumber, _ level: Int, sole: Bool, _ usage: inout Usage) {
    let page = UInt64(FrameGeometry.frameSize)
    let sole = sole && arena.hasOneReference(frame)
    usage.tables += page
    if sole { usage.own += page }
    let table = Table(frame, in: arena)
    for index in 0..<Table.count {
      let entry = table[index]
      switch entry.kind {
      case .none: continue
      case .zero: usage.zero += level == 1 ? page : UInt64(FrameGeometry.hugeSize)
      case .table: count(entry.frame, level - 1, sole: sole, &usage)
      case .small, .huge:
        let bytes = entry.kind == .huge ? UInt64(FrameGeometry.hugeSize) : page
        usage.data += bytes
        if entry.kind == .huge { usage.huge += bytes }
        if sole && arena.hasOneReference(entry.frame) {
          usage.own += bytes
        } else {
          usage.shared += bytes
        }
      }
    }
  }
}
