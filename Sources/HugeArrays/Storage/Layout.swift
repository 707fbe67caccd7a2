/// Where the elements of an array are in its space: in order, as many to each page of 4 KiB as fit
/// whole. So no element straddles a page, and each has one address.
///
///     stride 8            512 to a page, with nothing between
///     stride 24           170 to a page, and 16 bytes unused at its end
@frozen @usableFromInline struct Layout: Sendable {
  /// The size of an element and what follows it, in bytes.
  @usableFromInline let stride: Int
  /// How many elements are in a page.
  @usableFromInline let perPage: Int

  @usableFromInline static var pageSize: Int {
    @inlinable @inline(__always) get { 4096 }
  }

  /// Traps if an element is larger than a page.
  @inlinable @inline(__always)
  init<Element: BitwiseCopyable>(of _: Element.Type) {
    stride = MemoryLayout<Element>.stride
    precondition(stride <= Layout.pageSize, "HugeArray: an element of more than 4096 bytes")
    perPage = Layout.pageSize / stride
  }

  /// Whether nothing lies between the last element of a page and the first of the next.
  @usableFromInline var isPacked: Bool {
    @inlinable @inline(__always) get { perPage &* stride == Layout.pageSize }
  }

  /// The offset of an element in the space, in bytes.
  @inlinable @inline(__always)
  func offset(_ index: Int) -> UInt64 {
    if isPacked { return UInt64(truncatingIfNeeded: index &* stride) }
    let (page, within) = UInt(bitPattern: index)
      .quotientAndRemainder(dividingBy: UInt(bitPattern: perPage))
    return UInt64(page) &* UInt64(Layout.pageSize) &+ UInt64(within) &* UInt64(stride)
  }

  /// The offset of the first page that has none of the first `count` elements.
  func end(_ count: Int) -> UInt64 {
    UInt64((count + perPage - 1) / perPage) * UInt64(Layout.pageSize)
  }

  /// The index of the first element at or after an offset that is a multiple of the page size.
  func index(_ offset: UInt64) -> Int {
    Int(clamping: offset / UInt64(Layout.pageSize)) * perPage
  }

  /// The most elements that a space can have.
  var maximalCount: Int { (1 << 48) / Layout.pageSize * perPage }

  /// How many elements, at most `limit`, are in `length` bytes from an element's offset on.
  func count(_ length: Int, from offset: UInt64, limit: Int) -> Int {
    if isPacked { return min(length / stride, limit) }
    let within = Int(offset % UInt64(Layout.pageSize))
    return min(length / stride, perPage - within / stride, limit)
  }
}
