public import HugeMemory
public import Primitives

/// What the copies of an array share: a space, and the window through which the array's elements are
/// used in place.
///
/// A storage that several arrays refer to does not change, except that a fork makes its window
/// read-only. An array that is about to change makes its storage its own first, by a fork. So
/// whatever changes a storage runs on one thread at a time, with no reader.
@safe @usableFromInline final class Storage: @unchecked Sendable {
  // Sendable: each field is (C), (A), or (U): it changes only while one array refers to the storage.

  /// (C)
  @usableFromInline let space: AddressSpace
  /// (C)
  let layout: Layout
  /// (C) The most elements that the space has room for.
  private let room: Int
  /// (U) The elements that are in place, at `base`. The space holds their memory there.
  @usableFromInline @exclusivity(unchecked) var window = Window()
  /// (A) 1 if elements may be written through the window. A fork stores 0: the memory is shared from
  /// then on. An array that writes has seen that the storage is its own, and with that the store of
  /// an array that gave the storage up.
  @usableFromInline let isWritable = AtomicWord(0)
  /// (A) 1 while many threads may write.
  let isViewed = AtomicWord(0)
  /// (U) What the space holds for the window.
  var held: UInt64?
  /// (U) The page of the last write that was not through the window.
  @usableFromInline @exclusivity(unchecked) var missed = UInt64.max
  let borrowing = Lock()
  /// (L) borrowing: what the space holds for spans.
  var borrowed: Set<UInt64> = []
  /// (A) Whether there is any.
  let hasBorrowed = AtomicWord(0)
  /// (U) No element at or after this index was ever written.
  @usableFromInline @exclusivity(unchecked) var writtenEnd = 0

  /// An address where nothing is, for pieces without elements.
  @usableFromInline static var nowhere: UnsafeRawPointer {
    unsafe UnsafeRawPointer(bitPattern: 16).unsafelyUnwrapped
  }

  init(space: AddressSpace, layout: Layout) {
    self.space = space
    self.layout = layout
    room = layout.index(space.size)
  }

  /// Makes a storage for `count` elements, all zero. Traps if there cannot be so many.
  @usableFromInline convenience init(count: Int, layout: Layout, machine: Machine) {
    precondition(count >= 0, "HugeArray: a negative count")
    precondition(count <= layout.maximalCount, "HugeArray: more elements than 256 TiB hold")
    let size = AddressSpace.largestSize(asDeepAs: max(layout.end(count), 1))
    do {
      self.init(space: try machine.makeSpace(size: size), layout: layout)
    } catch { out(error) }
  }

  deinit {
    closeWindow()
    endBorrows()
  }

  /// Makes a storage an array's own, with room for `count` elements.
  static func own(_ storage: inout Storage, for count: Int) throws(MemoryError) {
    if isKnownUniquelyReferenced(&storage), storage.hasRoom(for: count) {
      // What comes may copy the page that a window shows which a fork has made read-only.
      if !storage.isOpen { storage.closeWindow() }
      return storage.endBorrows()
    }
    storage = try storage.fork(for: count)
  }

  /// A storage of its own with the same elements. `count` is how many elements it must have room for.
  private func fork(for count: Int) throws(MemoryError) -> Storage {
    precondition(count <= layout.maximalCount, "HugeArray: more elements than 256 TiB hold")
    isWritable.store(0, .relaxed)
    let size = layout.end(count)
    let fork = Storage(
      space: size > space.size
        ? try space.fork(grownTo: AddressSpace.largestSize(asDeepAs: size)) : try space.fork(),
      layout: layout)
    unsafe fork.writtenEnd = writtenEnd
    return fork
  }

  /// Called before elements are written: those before `end`.
  @usableFromInline func willWrite(before end: Int) {
    unsafe writtenEnd = max(writtenEnd, end)
  }

  /// Whether the space is large enough for so many elements.
  func hasRoom(for count: Int) -> Bool { count <= room }
}

/// Elements in place.
@safe @frozen @usableFromInline struct Window {
  @usableFromInline var base: UnsafeMutableRawPointer?
  @usableFromInline var start = 0
  @usableFromInline var count = 0
  @inlinable init() {}
}

/// Ends the program because there is no memory where the caller cannot throw, as the standard
/// library does.
@usableFromInline func out(_ error: MemoryError) -> Never { fatalError("HugeArray: \(error)") }
