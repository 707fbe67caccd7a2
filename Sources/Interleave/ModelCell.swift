/// A word of plain memory. Two accesses that are not ordered, one of them a store, are a failure.
public struct ModelCell: Sendable {
  private let cell: Int

  /// Makes a cell. Call this in the set-up of a scenario. Traces show `name`.
  public init(_ value: UInt64, name: String = "cell") {
    cell = Explorer.current.addCell(value, name: name)
  }

  /// Reads the cell. The execution fails if a store by another thread is not ordered before this.
  public func load(file: StaticString = #fileID, line: UInt = #line) -> UInt64 {
    Explorer.current.readCell(cell, Site(file: file, line: line))
  }

  /// Writes the cell. The execution fails if an access by another thread is not ordered before this.
  public func store(_ value: UInt64, file: StaticString = #fileID, line: UInt = #line) {
    Explorer.current.writeCell(cell, value, Site(file: file, line: line))
  }
}

/// Frames 1, 2, … that can be allocated and freed. Each holds one word of plain memory.
///
/// Allocation and free count as writes to the frame. So a read that is not ordered before the free
/// is a race, and a read after the free is a use after free. The lowest free frame is allocated
/// first, so a freed frame comes back at once, which finds ABA bugs. An allocation is ordered after
/// the free of the same frame, and after nothing else.
public struct ModelHeap: Sendable {
  let index: Int

  /// Makes a heap of frames, all free. Call this in the set-up of a scenario. Traces show `name`.
  public init(capacity: Int, name: String = "frame") {
    precondition(capacity > 0)
    index = Explorer.current.addHeap(capacity: capacity, name: name)
  }

  /// Allocates a frame that holds 0. Returns nil if all are allocated.
  public func allocate(file: StaticString = #fileID, line: UInt = #line) -> UInt32? {
    Explorer.current.allocate(index, Site(file: file, line: line)).map(UInt32.init)
  }

  /// Frees a frame. The execution fails if the frame is not allocated.
  public func free(_ frame: UInt32, file: StaticString = #fileID, line: UInt = #line) {
    Explorer.current.free(index, Int(frame), Site(file: file, line: line))
  }

  /// Reads a frame's word. The execution fails if the frame is not allocated.
  public func load(
    _ frame: UInt32, file: StaticString = #fileID, line: UInt = #line
  ) -> UInt64 {
    let site = Site(file: file, line: line)
    return Explorer.current.readCell(
      Explorer.current.cell(index, Int(frame), "read", site), site)
  }

  /// Writes a frame's word. The execution fails if the frame is not allocated.
  public func store(
    _ frame: UInt32, _ value: UInt64, file: StaticString = #fileID, line: UInt = #line
  ) {
    let site = Site(file: file, line: line)
    Explorer.current.writeCell(
      Explorer.current.cell(index, Int(frame), "write", site), value, site)
  }

  /// The number of frames that are allocated now. For the final checks.
  public var liveCount: Int {
    let plain = Explorer.current.plain
    let heap = plain.heaps[index]
    return plain.cells[heap.first..<heap.first + heap.capacity].count { $0.isLive }
  }
}
