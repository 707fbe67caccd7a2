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
          let recovered = Entry(recovering: entry.raw)
          #expect(recovered?.kind == kind && recovered?.frame == frame)
          #expect(recovered?.isWritable == false && recovered?.isCharged == false)
        }
      }
    }
  }

  /// Every flipped bit of kind, frame and code is found. The others change neither.
  @Test func aFlippedBitLeadsNowhereElse() {
    for kind in [Entry.Kind.huge, .small, .table] {
      for frame in [1, 511, 512, 0x1234_5678, UInt32.max] as [UInt32] {
        let raw = Entry(kind, frame, writable: true).raw
        for bit in 0..<64 {
          let recovered = Entry(recovering: raw ^ 1 << UInt64(bit))
          if bit < 3 || bit >= 12 {
            #expect(recovered == nil, "\(kind) \(frame) bit \(bit)")
          } else {
            #expect(recovered?.kind == kind && recovered?.frame == frame)
          }
        }
      }
    }
    #expect(Entry(recovering: 0) == Entry.none && Entry(recovering: Entry.zero.raw) == Entry.none)
  }

  @Test func protectingTakesOnlyTheWritability() {
    let entry = Entry(.small, 77, writable: true)
    #expect(entry.protected.kind == .small && entry.protected.frame == 77)
    #expect(!entry.protected.isWritable && entry.protected.madeWritable == entry)
    // The entry stays dirty, since its contents are still its own.
    #expect(entry.protected.raw & Entry.dirtyBit != 0)
  }

  @Test func onlySharingTakesAnEntryFromTheCharge() {
    let entry = Entry(.small, 77, writable: true)
    #expect(entry.isCharged && entry.protected.isCharged && entry.hidden.shown.isCharged)
    #expect(!entry.shared.isCharged && !entry.shared.isWritable)
    #expect(entry.shared.madeWritable == entry && entry.shared.charged == entry.protected)
    #expect(!Entry(.small, 77, writable: false).isCharged)
  }

  /// History items 10 and 13: "zero" is a kind and not a mark beside it.
  @Test func noneAndZeroAreKindsOfTheirOwn() {
    #expect(Entry.none.raw == 0 && Entry.none.kind == .none)
    #expect(Entry.zero.kind == .zero && !Entry.zero.isWritable && Entry.zero.frame == 0)
    #expect(Entry.zero.raw & Entry.dirtyBit == 0)
    #expect(Entry.none != .zero)
  }
}

/// The kind of an entry alone says what it is.
@Suite struct EntryKindTests {
  @Test func history10_anEntryThatIsNotPresentIsNotTheZeroPage() {
    // No other bit changes that.
    for bits: UInt64 in [1 << 12, 0xffff_ffff << 12, Entry.dirtyBit, Entry.hiddenBit] {
      let entry = Entry(raw: bits)
      #expect(entry.kind == .none && !entry.isVisible(.zero))
    }
    // A zero entry without access keeps its kind but is not visible.
    let hidden = Entry.zero.hidden
    #expect(hidden.kind == .zero && !hidden.isVisible(.zero) && !hidden.isVisible(.none))
    #expect(hidden.shown == .zero)
  }

  @Test func history13_theZeroMarkIsTheEntrysType() {
    // The kind uses no bit that a frame number or another flag may use.
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
