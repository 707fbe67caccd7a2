public import HugeMemory

/// An array that can be huge, sparse and copied at no cost.
///
///     var buckets = HugeArray<Int64>(count: 1 << 40)  // 8 TiB of zeros that cost nothing
///     buckets[1 << 39] += 1                           // 4 KiB, and its page tables
///     let before = buckets                            // O(1)
///     buckets[7] = 2                                  // copies 4 KiB at most
///     buckets.changes(since: before)                  // [0..<512]
///
/// It is a value, as `Array` is. But a copy stays cheap: the first write after it copies the page of
/// 4 KiB that it goes to and the page tables above, not the array. Elements that nobody wrote are
/// zeros and take no memory. Choose it for state that is big and sparse, or that you snapshot. Choose
/// `Array` for what is small, and for elements with references.
///
/// Its elements are in pages of 4 KiB, `4096 / stride` to each, and pages that follow each other need
/// not do so in memory. So there is no `withUnsafeBufferPointer` for all of it. Loops over
/// `withContiguousPieces` and `for`–`in` run at the speed of `Array`; a subscript costs a walk through
/// two to four page tables, unless it hits the page where the array was last written.
///
/// Memory comes from a `Machine`: `Machine.shared` if you name none. When that is full, a subscript
/// ends the program, as `Array` does when there is no memory. Where you want an error instead, use
/// the methods that throw: `store(_:at:)`, `update(from:at:)`, `reserveMemory(in:)`.
///
/// - Thread safety: as `Array`. Copies may be read and written by different threads at the same time,
///   and one array may be read by many. For many writers to one array, see `withConcurrentView`.
/// - Complexity: a copy is O(1). The first write to an array after a copy takes some microseconds: it
///   forks the space, and copies up to four tables and a page.
public struct HugeArray<Element: BitwiseCopyable> {
  @usableFromInline var storage: Storage
  @usableFromInline var elementCount: Int

  @inlinable @inline(__always)
  static var layout: Layout { Layout(of: Element.self) }

  init(storage: Storage, count: Int) {
    self.storage = storage
    elementCount = count
  }

  /// Makes an array of `count` elements whose bytes are all zeros. For numbers and structures of numbers
  /// that is 0. Choose only elements for which it is a value: it is none for a pointer or a function that
  /// cannot be nil. For an optional number it is the number 0, not nil.
  ///
  /// Traps if `count` is negative, if an element is larger than 4,096 bytes, or if the elements take
  /// more than 256 TiB.
  /// - Complexity: O(1); no memory until you write.
  public init(count: Int, machine: Machine = .shared) {
    storage = Storage(count: count, layout: Self.layout, machine: machine)
    elementCount = count
  }

  /// Makes an empty array.
  public init(machine: Machine) { self.init(count: 0, machine: machine) }

  /// The machine that the array's memory comes from.
  public var machine: Machine { storage.space.machine }

  /// Makes the storage this array's own, with room for `count` elements.
  @usableFromInline
  mutating func own(for count: Int) throws(MemoryError) {
    try Storage.own(&storage, for: count)
  }
}

extension HugeArray: Sendable where Element: Sendable {}
