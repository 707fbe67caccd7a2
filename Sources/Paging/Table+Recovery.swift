import Frames
#if INTERLEAVE
  import Interleave
#else
  import Primitives
#endif

// Tables of a memory that outlived its process. Nobody else uses them meanwhile.
extension Table {
  /// The word of an entry, which need not be one that a writer stored.
  @inlinable @inline(__always)
  public func word(_ index: Int) -> UInt64 { unsafe entries[index].load(.relaxed) }

  /// Replaces an entry and leaves the table's counts as they are.
  public func putBack(_ index: Int, _ entry: Entry) {
    unsafe entries[index].store(entry.raw, .relaxed)
  }

  /// Sets the number of live entries. There are no zero entries.
  public func putBack(live: Int) {
    unsafe counts[0] = 0
    unsafe counts[1] = UInt32(live)
  }
}
