import Frames
import Paging

// Revocation: under critical pressure, the zero page goes even though it is mapped. The kernel
// cannot do this, because it has no reverse map. Here a zero entry reads the same as none. So every
// zero entry is unmapped, a grace period passes, and then nobody holds the page any more.
extension Machine {
  /// Unmaps every zero entry and frees the zero page. Reads go on and see zeros. They map no zero
  /// page until memory is free again. Returns whether the page was freed; a reply on its way to a
  /// socket may still hold it.
  ///
  /// - Complexity: O(entries of all spaces).
  @discardableResult
  package func revokeZeroPage() -> Bool {
    guard zeroReference != .neverFreed, zeroPageReferences > 0 else { return false }
    _ = withheld.compareExchange(Withheld.no, Withheld.untilFree, .relaxed)
    // No scan runs meanwhile: spaces that share a table each have a lock of their own.
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
    /// Not until memory is free again.
    static let untilFree: UInt64 = 1
    /// Not until `withholdZeroPage(false)`.
    static let untilAllowed: UInt64 = 2
  }

  /// Keeps reads from mapping the zero page, or allows it again. For pressure outside of this
  /// process.
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
  /// Unmaps all zero entries, including those in tables that forks share. No scan runs meanwhile,
  /// so no other thread changes those tables. Faults wait for 1 GiB at a time.
  func revokeZeros() {
    var at: UInt64 = 0
    while at < size { at = lock.withLock { revokeZeros(at) } }
  }

  /// Unmaps the zero entries of the level 2 table at an offset, and below. Returns where the next
  /// such table begins.
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
