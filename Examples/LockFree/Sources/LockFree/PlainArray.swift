// Only for programs. Under the model checker, a type of InterleaveSynchronization with this name
// reports data races. It has no link in Model.

/// Memory for a fixed number of elements, without a lock.
///
/// - Thread safety: none. Atomics must order all accesses to an element, one of which is a write.
final class PlainArray<Element: Sendable>: @unchecked Sendable {
  private let memory: UnsafeMutableBufferPointer<Element>

  init(repeating value: Element, count: Int) {
    memory = .allocate(capacity: count)
    memory.initialize(repeating: value)
  }
  deinit { memory.deinitialize().deallocate() }

  var count: Int { memory.count }
  subscript(index: Int) -> Element {
    get { memory[index] }
    set { memory[index] = newValue }
  }
}
