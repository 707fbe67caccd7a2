import Frames
import Testing

@testable import Paging

@Suite struct TableTests {
  @Test func aTableIsOneFrameAndStartsEmpty() throws {
    let arena = try Arena(limit: 2 << 20)
    for _ in 0..<3 {
      // In later rounds the frame comes back with the old contents.
      let table = try #require(Table.make(in: arena))
      #expect(arena.framesInUse == 1)
      #expect(table.liveEntries == 0 && table.zeroEntries == 0)
      for index in 0..<Table.count {
        #expect(table[index] == .none)
        table.set(index, .zero)
      }
      #expect(table.liveEntries == 512 && table.zeroEntries == 512)
      arena.release(table.frame)
    }
    #expect(arena.framesInUse == 0)
  }

  @Test func noTableBeyondTheLimit() throws {
    let arena = try Arena(limit: 2 << 20)
    for _ in 0..<512 { #expect(Table.make(in: arena) != nil) }
    #expect(Table.make(in: arena) == nil)
  }

  @Test func countsFollowEveryChangeOfKind() throws {
    let arena = try Arena(limit: 2 << 20)
    let table = try #require(Table.make(in: arena))
    let kinds: [Entry] = [
      .none, .zero, Entry(.huge, 512, writable: true), Entry(.small, 9, writable: false),
      Entry(.table, 3, writable: true),
    ]
    var expected = [Entry](repeating: .none, count: Table.count)
    var generator = SystemRandomNumberGenerator()
    func expectCounts() {
      #expect(Int(table.liveEntries) == expected.count { $0 != .none })
      #expect(Int(table.zeroEntries) == expected.count { $0 == .zero })
    }
    for old in kinds {
      for new in kinds {
        let index = Int.random(in: 0..<Table.count, using: &generator)
        for entry in [old, new] {
          table.set(index, entry)
          expected[index] = entry
          #expect(table[index] == entry)
          expectCounts()
        }
      }
    }
  }

  @Test func protectingAnEntryKeepsTheRest() throws {
    let arena = try Arena(limit: 2 << 20)
    let table = try #require(Table.make(in: arena))
    let entry = Entry(.small, 600, writable: true)
    table.set(511, entry)
    // A change through another `Table` value of the same frame is seen.
    Table(table.frame, in: arena).protect(511)
    #expect(table[511] == entry.shared && table.liveEntries == 1)
    #expect(table[510] == .none)
  }
}
