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

  @Test func onlySharingTakesAnEntryFromTheCharge() {
    let entry = Entry(.small, 77, writable: true)
    #expect(entry.isCharged && entry.protected.isCharged && entry.hidden.shown.isCharged)
    #expect(!entry.shared.isCharged && !entry.shared.isWritable)
    #expect(entry.shared.madeWritable == entry && entry.shared.charged == entry.protected)
    #expect(!Entry(.small, 77, writable: false).isCharged)
  }

  /// History items 10 and 13: the mark is part of the kind.
  @Test func noneAndZeroAreKindsOfTheirOwn() {
    #expect(Entry.none.raw == 0 && Entry.none.kind == .none)
    #expect(Entry.zero.kind == .zero && !Entry.zero.isWritable && Entry.zero.frame == 0)
    #expect(Entry.zero.raw & Entry.dirtyBit == 0)
    #expect(Entry.none != .zero)
  }
}

/// What an entry is, it says by its kind, and by nothing else.
@Suite struct EntryKindTests {
  @Test func history10_anEntryThatIsNotPresentIsNotTheZeroPage() {
    // Whatever bits it has besides.
    for bits: UInt64 in [1 << 12, 0xffff_ffff << 12, Entry.dirtyBit, Entry.hiddenBit] {
      let entry = Entry(raw: bits)
      #expect(entry.kind == .none && !entry.isVisible(.zero))
    }
    // And one without access is there, but not to be seen.
    let hidden = Entry.zero.hidden
    #expect(hidden.kind == .zero && !hidden.isVisible(.zero) && !hidden.isVisible(.none))
    #expect(hidden.shown == .zero)
  }

  @Test func history13_theZeroMarkIsTheEntrysType() {
    // It needs no bit that a frame's number, or another flag, may take.
    for frame: UInt32 in [1, 512, UInt32.max] {
      for kind in [Entry.Kind.huge, .small, .table] {
        let entry = Entry(kind, frame, writable: true)
        #expect(entry.kind == kind && entry.frame == frame)
        #expect(entry.hidden.shown.protected.madeWritable == entry)
      }
    }
    #expect(Entry.zero.kind == .zero && !Entry.zero.isWritable)
  }
}
