import Testing

@testable import Paging

@Suite struct EntryTests {
  @Test func anEntryKeepsKindFrameAndWritability() {
    for kind in [Entry.Kind.huge, .small, .table] {
      for frame in [1, 511, 512, UInt32.max] as [UInt32] {
        for writable in [true, false] {
          let entry = Entry(kind, frame, writable: writable)
          #expect(entry.kind == kind && entry.frame == frame && entry.isWritable == writable)
          #expect(entry.isWritableTable == (kind == .table && writable))
          let isDirty = entry.raw & Entry.dirtyBit != 0
          #expect(isDirty == (writable && kind != .table))
          #expect(Entry(raw: entry.raw) == entry)
          #expect(entry.raw >> 44 == 0)
        }
      }
    }
  }

  @Test func protectingTakesOnlyTheWritability() {
    let entry = Entry(.small, 77, writable: true)
    #expect(entry.protected.kind == .small && entry.protected.frame == 77)
    #expect(!entry.protected.isWritable && entry.protected.madeWritable == entry)
    // It stays dirty: its contents are still its own.
    #expect(entry.protected.raw & Entry.dirtyBit != 0)
  }

  /// History items 10 and 13: the mark is part of the kind.
  @Test func noneAndZeroAreKindsOfTheirOwn() {
    #expect(Entry.none.raw == 0 && Entry.none.kind == .none)
    #expect(Entry.zero.kind == .zero && !Entry.zero.isWritable && Entry.zero.frame == 0)
    #expect(Entry.zero.raw & Entry.dirtyBit == 0)
    #expect(Entry.none != .zero)
  }
}
