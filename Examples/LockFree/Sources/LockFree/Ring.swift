#if INTERLEAVE
  import InterleaveSynchronization
#else
  import Synchronization
#endif

/// A queue of a fixed capacity for one producer and one consumer. Neither waits for the other.
///
/// ```
///            head            tail
///             ▼               ▼
///   ┌───┬───┬───┬───┬───┬───┬───┬───┐
///   │   │   │ a │ b │ c │ d │   │   │     index = count modulo capacity
///   └───┴───┴───┴───┴───┴───┴───┴───┘
/// ```
///
/// The counts only grow. Each is written by one thread, which may read it without an ordering.
///
/// - Thread safety: one thread at a time may call `push`, and one `pop`.
public final class Ring<Element: Sendable>: Sendable {
  /// An element between head and tail belongs to the consumer, any other slot to the producer.
  private let slots: PlainArray<Element?>
  /// How many elements were popped. Written by the consumer.
  private let head = Atomic<Int>(0)
  /// How many elements were pushed. Written by the producer.
  private let tail = Atomic<Int>(0)

  public init(capacity: Int) {
    precondition(capacity > 0)
    slots = PlainArray(repeating: nil, count: capacity)
  }

  /// Appends an element. Returns false if the queue is full.
  public func push(_ element: Element) -> Bool {
    let tail = tail.load(ordering: .relaxed)
    // Acquires with the release in `pop`: the consumer is done with the slot.
    guard tail - head.load(ordering: .acquiring) < slots.count else { return false }
    slots[tail % slots.count] = element
    // Releases for the acquire in `pop`: the element is in the slot.
    self.tail.store(tail + 1, ordering: .releasing)
    return true
  }

  /// Removes the oldest element. Returns nil if the queue is empty.
  public func pop() -> Element? {
    let head = head.load(ordering: .relaxed)
    guard head < tail.load(ordering: .acquiring) else { return nil }
    let element = slots[head % slots.count]
    slots[head % slots.count] = nil
    self.head.store(head + 1, ordering: .releasing)
    return element
  }
}
