/// A word of plain memory: two accesses that nothing orders, one of them a store, are a failure.
public struct ModelCell: Sendable {
  private let cell: Int

  public init(_ value: UInt64, name: String = "cell") {
    cell = Explorer.current.addCell(value, name: name)
  }

  public func load(file: StaticString = #fileID, line: UInt = #line) -> UInt64 {
    Explorer.current.readCell(cell, Site(file: file, line: line))
  }

  public func store(_ value: UInt64, file: StaticString = #fileID, line: UInt = #line) {
    Explorer.current.writeCell(cell, value, Site(file: file, line: line))
  }
}

/// Frames 1, 2, … that are allocated and freed, each with a word of plain memory in it.
///
/// Allocation and free count as writes to the frame, so a reader that nothing orders before the
/// free is a race, and one that comes after it a use after free. The lowest free frame is
/// allocated first, which brings a frame back at once and so finds ABA. Allocating orders nothing
/// except after the free of the same frame.
public struct ModelHeap: Sendable {
  private let heap: Int

  public init(capacity: Int, name: String = "frame") {
    precondition(capacity > 0)
    heap = Explorer.current.addHeap(capacity: capacity, name: name)
  }

  /// A frame that holds 0; nil if all are allocated.
  public func allocate(file: StaticString = #fileID, line: UInt = #line) -> UInt32? {
    Explorer.current.allocate(heap, Site(file: file, line: line)).map(UInt32.init)
  }

  public func free(_ frame: UInt32, file: StaticString = #fileID, line: UInt = #line) {
    Explorer.current.free(heap, Int(frame), Site(file: file, line: line))
  }

  public func load(
    _ frame: UInt32, file: StaticString = #fileID, line: UInt = #line
  ) -> UInt64 {
    let site = Site(file: file, line: line)
    return Explorer.current.readCell(
      Explorer.current.cell(heap, Int(frame), "read", site), site)
  }

  public func store(
    _ frame: UInt32, _ value: UInt64, file: StaticString = #fileID, line: UInt = #line
  ) {
    let site = Site(file: file, line: line)
    Explorer.current.writeCell(
      Explorer.current.cell(heap, Int(frame), "write", site), value, site)
  }

  /// Frames that are allocated now. For the end of an execution.
  public var liveCount: Int {
    let plain = Explorer.current.plain
    let heap = plain.heaps[heap]
    return plain.cells[heap.first..<heap.first + heap.capacity].count { $0.isLive }
  }
}
