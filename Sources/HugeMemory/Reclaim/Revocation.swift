import Frames
import Paging

// Revocation: under critical pressure the zero page goes though it is mapped. The kernel cannot,
// having no reverse map; here a zero entry reads the same as none, so they are unmapped wherever
// they are, a grace period passes, and nobody holds the page any more.
extension Machine {
  /// Unmaps every zero entry and frees the zero page. Reads go on and see zeros; until memory is free
  /// again, they map none. Returns whether the page went; a reply on its way to a socket may hold it
  /// yet.
  ///
  /// - Complexity: O(entries of all spaces).
  @discardableResult
  public func revokeZeroPage() -> Bool {
    guard zeroReference != .neverFreed, zeroPageReferences > 0 else { return false }
    _ = withheld.compareExchange(Withheld.no, Withheld.untilFree, .relaxed)
    // Nobody else at the same time: spaces that share a table each have a lock of their own.
    shrinkers.withoutScans {
      for handle in scanList.all { _ = handle.withSpace { $0.revokeZeros() } }
    }
    settle()
    guard freeZeroPage() else { return false }
    events.zeroRevoke.count()
    return true
  }

  /// Whether reads may map the zero page, and why not.
  enum Withheld {
    static let no: UInt64 = 0
    /// Memory is short: until it is not.
    static let untilFree: UInt64 = 1
    /// Until somebody says otherwise.
    static let untilAllowed: UInt64 = 2
  }

  /// Keeps reads from mapping the zero page, or lets them again; for pressure outside.
  func withholdZeroPage(_ isWithheld: Bool) {
    withheld.store(isWithheld ? Withheld.untilAllowed : Withheld.no, .relaxed)
  }

  /// Whether a read may map the zero page now.
  func allowsZeroPage() -> Bool {
    switch withheld.load(.relaxed) {
    case Withheld.no: return true
    case Withheld.untilFree where framesSpare >= watermarks.high:
      _ = withheld.compareExchange(Withheld.untilFree, Withheld.no, .relaxed)
      return true
    default: return false
    }
  }
}

extension AddressSpace {
  /// Unmaps all zero entries, also in tables that forks share: alone there, since nobody scans.
  /// Faults wait for 1 GiB at a time.
  func revokeZeros() {
    var at: UInt64 = 0
    while at < size { at = lock.withLock { revokeZeros(at) } }
  }

  /// In the level 2 table at an offset, and below. Returns where the next one begins.
  private func revokeZeros(_ offset: UInt64) -> UInt64 {
    var entry = Entry(raw: root.load(.relaxed))
    var depth = level
    while entry.kind == .table && depth > 2 {
      entry = Table(entry.frame, in: arena)[Radix.index(offset, depth)]
      depth -= 1
    }
    if entry.kind == .table { revokeZeros(Table(entry.frame, in: arena)) }
    return (offset | (Radix.span(depth + 1) - 1)) + 1
  }

  private func revokeZeros(_ table: Table) {
    let references = machine.zeroReferences(of: table)
    for index in 0..<Table.count {
      let entry = table[index]
      switch entry.kind {
      case .zero: table.set(index, .none)
      case .table: revokeZeros(Table(entry.frame, in: arena))
      case .none, .small, .huge: continue
      }
    }
    if references > 0 { machine.retire(.zero(references)) }
  }
}
