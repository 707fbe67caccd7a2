// Every operation that the stand-in module has, on one thread, with the results as text. This file is
// compiled twice: here against `Synchronization`, and in ModelSynchronization, by a link, against
// `InterleaveSynchronization`. So it shows that the signatures agree, and a test compares the results.

#if INTERLEAVE
  import InterleaveSynchronization
#else
  import Synchronization
#endif

enum Light: UInt8, AtomicRepresentable { case red, green }

struct Handle: RawRepresentable, AtomicRepresentable, AtomicOptionalRepresentable, Equatable {
  let rawValue: ObjectIdentifier
}

/// A type that says itself how it is represented.
struct Celsius: AtomicRepresentable, Equatable {
  typealias AtomicRepresentation = Int16.AtomicRepresentation
  var degrees: Int16

  static func encodeAtomicRepresentation(_ value: consuming Celsius) -> AtomicRepresentation {
    Int16.encodeAtomicRepresentation(value.degrees)
  }
  static func decodeAtomicRepresentation(_ storage: consuming AtomicRepresentation) -> Celsius {
    Celsius(degrees: Int16.decodeAtomicRepresentation(storage))
  }
}

final class Account: Sendable {
  let name: String
  init(_ name: String) { self.name = name }
}

struct NoMoney: Error {}

/// What each operation returned, a line each.
public struct Transcript {
  public private(set) var lines: [String] = []

  public init() {}

  mutating func note(_ results: Any..., line: UInt = #line) {
    lines.append("line \(line): " + results.map { "\($0)" }.joined(separator: " "))
  }

  public mutating func recordAll() {
    recordIntegers()
    recordSwaps()
    recordPointers()
    recordOthers()
    recordMutex()
  }

  private mutating func recordIntegers() {
    let int8 = Atomic<Int8>(.max)
    note(int8.wrappingAdd(2, ordering: .relaxed))
    note(int8.wrappingSubtract(5, ordering: .acquiring))
    note(
      int8.bitwiseAnd(0x55, ordering: .releasing),
      int8.bitwiseOr(0x0F, ordering: .acquiringAndReleasing))
    note(int8.bitwiseXor(0x3C, ordering: .sequentiallyConsistent))
    note(int8.min(-3, ordering: .relaxed), int8.max(7, ordering: .acquiring))
    note(int8.add(9, ordering: .releasing), int8.subtract(4, ordering: .acquiringAndReleasing))
    int8.wrappingAdd(1, ordering: .relaxed)
    note(int8.load(ordering: .acquiring))
    let uint8 = Atomic<UInt8>(.max)
    note(uint8.wrappingAdd(2, ordering: .acquiring))
    note(uint8.wrappingSubtract(5, ordering: .releasing))
    note(
      uint8.bitwiseAnd(0x55, ordering: .acquiringAndReleasing),
      uint8.bitwiseOr(0x0F, ordering: .sequentiallyConsistent))
    note(uint8.bitwiseXor(0x3C, ordering: .relaxed))
    note(uint8.min(3, ordering: .acquiring), uint8.max(7, ordering: .releasing))
    note(
      uint8.add(9, ordering: .acquiringAndReleasing),
      uint8.subtract(4, ordering: .sequentiallyConsistent))
    uint8.wrappingAdd(1, ordering: .relaxed)
    note(uint8.load(ordering: .acquiring))
    let int16 = Atomic<Int16>(.max)
    note(int16.wrappingAdd(2, ordering: .releasing))
    note(int16.wrappingSubtract(5, ordering: .acquiringAndReleasing))
    note(
      int16.bitwiseAnd(0x55, ordering: .sequentiallyConsistent),
      int16.bitwiseOr(0x0F, ordering: .relaxed))
    note(int16.bitwiseXor(0x3C, ordering: .acquiring))
    note(int16.min(-3, ordering: .releasing), int16.max(7, ordering: .acquiringAndReleasing))
    note(int16.add(9, ordering: .sequentiallyConsistent), int16.subtract(4, ordering: .relaxed))
    int16.wrappingAdd(1, ordering: .relaxed)
    note(int16.load(ordering: .acquiring))
    let uint16 = Atomic<UInt16>(.max)
    note(uint16.wrappingAdd(2, ordering: .acquiringAndReleasing))
    note(uint16.wrappingSubtract(5, ordering: .sequentiallyConsistent))
    note(uint16.bitwiseAnd(0x55, ordering: .relaxed), uint16.bitwiseOr(0x0F, ordering: .acquiring))
    note(uint16.bitwiseXor(0x3C, ordering: .releasing))
    note(
      uint16.min(3, ordering: .acquiringAndReleasing),
      uint16.max(7, ordering: .sequentiallyConsistent))
    note(uint16.add(9, ordering: .relaxed), uint16.subtract(4, ordering: .acquiring))
    uint16.wrappingAdd(1, ordering: .relaxed)
    note(uint16.load(ordering: .acquiring))
    let int32 = Atomic<Int32>(.max)
    note(int32.wrappingAdd(2, ordering: .sequentiallyConsistent))
    note(int32.wrappingSubtract(5, ordering: .relaxed))
    note(int32.bitwiseAnd(0x55, ordering: .acquiring), int32.bitwiseOr(0x0F, ordering: .releasing))
    note(int32.bitwiseXor(0x3C, ordering: .acquiringAndReleasing))
    note(int32.min(-3, ordering: .sequentiallyConsistent), int32.max(7, ordering: .relaxed))
    note(int32.add(9, ordering: .acquiring), int32.subtract(4, ordering: .releasing))
    int32.wrappingAdd(1, ordering: .relaxed)
    note(int32.load(ordering: .acquiring))
    let uint32 = Atomic<UInt32>(.max)
    note(uint32.wrappingAdd(2, ordering: .relaxed))
    note(uint32.wrappingSubtract(5, ordering: .acquiring))
    note(
      uint32.bitwiseAnd(0x55, ordering: .releasing),
      uint32.bitwiseOr(0x0F, ordering: .acquiringAndReleasing))
    note(uint32.bitwiseXor(0x3C, ordering: .sequentiallyConsistent))
    note(uint32.min(3, ordering: .relaxed), uint32.max(7, ordering: .acquiring))
    note(uint32.add(9, ordering: .releasing), uint32.subtract(4, ordering: .acquiringAndReleasing))
    uint32.wrappingAdd(1, ordering: .relaxed)
    note(uint32.load(ordering: .acquiring))
    let int64 = Atomic<Int64>(.max)
    note(int64.wrappingAdd(2, ordering: .acquiring))
    note(int64.wrappingSubtract(5, ordering: .releasing))
    note(
      int64.bitwiseAnd(0x55, ordering: .acquiringAndReleasing),
      int64.bitwiseOr(0x0F, ordering: .sequentiallyConsistent))
    note(int64.bitwiseXor(0x3C, ordering: .relaxed))
    note(int64.min(-3, ordering: .acquiring), int64.max(7, ordering: .releasing))
    note(
      int64.add(9, ordering: .acquiringAndReleasing),
      int64.subtract(4, ordering: .sequentiallyConsistent))
    int64.wrappingAdd(1, ordering: .relaxed)
    note(int64.load(ordering: .acquiring))
    let uint64 = Atomic<UInt64>(.max)
    note(uint64.wrappingAdd(2, ordering: .releasing))
    note(uint64.wrappingSubtract(5, ordering: .acquiringAndReleasing))
    note(
      uint64.bitwiseAnd(0x55, ordering: .sequentiallyConsistent),
      uint64.bitwiseOr(0x0F, ordering: .relaxed))
    note(uint64.bitwiseXor(0x3C, ordering: .acquiring))
    note(uint64.min(3, ordering: .releasing), uint64.max(7, ordering: .acquiringAndReleasing))
    note(uint64.add(9, ordering: .sequentiallyConsistent), uint64.subtract(4, ordering: .relaxed))
    uint64.wrappingAdd(1, ordering: .relaxed)
    note(uint64.load(ordering: .acquiring))
    let int = Atomic<Int>(.max)
    note(int.wrappingAdd(2, ordering: .acquiringAndReleasing))
    note(int.wrappingSubtract(5, ordering: .sequentiallyConsistent))
    note(int.bitwiseAnd(0x55, ordering: .relaxed), int.bitwiseOr(0x0F, ordering: .acquiring))
    note(int.bitwiseXor(0x3C, ordering: .releasing))
    note(
      int.min(-3, ordering: .acquiringAndReleasing), int.max(7, ordering: .sequentiallyConsistent))
    note(int.add(9, ordering: .relaxed), int.subtract(4, ordering: .acquiring))
    int.wrappingAdd(1, ordering: .relaxed)
    note(int.load(ordering: .acquiring))
    let uint = Atomic<UInt>(.max)
    note(uint.wrappingAdd(2, ordering: .sequentiallyConsistent))
    note(uint.wrappingSubtract(5, ordering: .relaxed))
    note(uint.bitwiseAnd(0x55, ordering: .acquiring), uint.bitwiseOr(0x0F, ordering: .releasing))
    note(uint.bitwiseXor(0x3C, ordering: .acquiringAndReleasing))
    note(uint.min(3, ordering: .sequentiallyConsistent), uint.max(7, ordering: .relaxed))
    note(uint.add(9, ordering: .acquiring), uint.subtract(4, ordering: .releasing))
    uint.wrappingAdd(1, ordering: .relaxed)
    note(uint.load(ordering: .acquiring))
    let int128 = Atomic<Int128>(.max)
    note(int128.wrappingAdd(2, ordering: .relaxed))
    note(int128.wrappingSubtract(5, ordering: .acquiring))
    note(
      int128.bitwiseAnd(0x55, ordering: .releasing),
      int128.bitwiseOr(0x0F, ordering: .acquiringAndReleasing))
    note(int128.bitwiseXor(0x3C, ordering: .sequentiallyConsistent))
    note(int128.min(-3, ordering: .relaxed), int128.max(7, ordering: .acquiring))
    note(int128.add(9, ordering: .releasing), int128.subtract(4, ordering: .acquiringAndReleasing))
    int128.wrappingAdd(1, ordering: .relaxed)
    note(int128.load(ordering: .acquiring))
    let uint128 = Atomic<UInt128>(.max)
    note(uint128.wrappingAdd(2, ordering: .acquiring))
    note(uint128.wrappingSubtract(5, ordering: .releasing))
    note(
      uint128.bitwiseAnd(0x55, ordering: .acquiringAndReleasing),
      uint128.bitwiseOr(0x0F, ordering: .sequentiallyConsistent))
    note(uint128.bitwiseXor(0x3C, ordering: .relaxed))
    note(uint128.min(3, ordering: .acquiring), uint128.max(7, ordering: .releasing))
    note(
      uint128.add(9, ordering: .acquiringAndReleasing),
      uint128.subtract(4, ordering: .sequentiallyConsistent))
    uint128.wrappingAdd(1, ordering: .relaxed)
    note(uint128.load(ordering: .acquiring))
  }

  private mutating func recordSwaps() {
    let word = Atomic(5)
    word.store(6, ordering: .releasing)
    word.store(7, ordering: .sequentiallyConsistent)
    note(word.exchange(8, ordering: .acquiringAndReleasing), word.load(ordering: .relaxed))
    note(word.compareExchange(expected: 8, desired: 9, ordering: .releasing))
    note(word.compareExchange(expected: 8, desired: 10, ordering: .relaxed))
    note(
      word.compareExchange(
        expected: 9, desired: 11, successOrdering: .acquiringAndReleasing,
        failureOrdering: .sequentiallyConsistent))
    note(word.weakCompareExchange(expected: 1, desired: 2, ordering: .acquiring))
    note(
      word.weakCompareExchange(
        expected: 1, desired: 2, successOrdering: .releasing, failureOrdering: .acquiring))
    var result = (exchanged: false, original: 11)
    while !result.exchanged {
      result = word.weakCompareExchange(
        expected: result.original, desired: 12, ordering: .sequentiallyConsistent)
    }
    note(result)

    let pair = Atomic(WordPair(first: 1, second: .max))
    note(
      pair.compareExchange(
        expected: WordPair(first: 1, second: 2), desired: WordPair(first: 3, second: 4),
        ordering: .acquiringAndReleasing))
    note(
      pair.compareExchange(
        expected: WordPair(first: 1, second: .max), desired: WordPair(first: 3, second: 4),
        ordering: .acquiringAndReleasing))
    note(
      pair.load(ordering: .acquiring), WordPair(first: 1, second: 9) < WordPair(first: 2, second: 0)
    )
    note(String(reflecting: pair.exchange(WordPair(first: 0, second: 0), ordering: .relaxed)))
    atomicMemoryFence(ordering: .acquiring)
    atomicMemoryFence(ordering: .releasing)
    atomicMemoryFence(ordering: .acquiringAndReleasing)
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    note(AtomicLoadOrdering.acquiring, AtomicStoreOrdering.releasing)
    note(AtomicUpdateOrdering.acquiringAndReleasing, AtomicUpdateOrdering.sequentiallyConsistent)
  }

  /// Notes only whether pointers are as expected, since addresses differ.
  private mutating func recordPointers() {
    let memory = UnsafeMutablePointer<Int>.allocate(capacity: 2)
    unsafe memory.initialize(repeating: 0, count: 2)
    defer { unsafe memory.deallocate() }
    let second = unsafe memory + 1

    let pointer = unsafe Atomic<UnsafeMutablePointer<Int>?>(nil)
    note(unsafe pointer.load(ordering: .relaxed) == nil)
    note(
      unsafe pointer.compareExchange(expected: nil, desired: memory, ordering: .releasing).exchanged
    )
    note(
      unsafe pointer.compareExchange(expected: second, desired: nil, ordering: .relaxed).original
        == memory)
    note(unsafe pointer.exchange(second, ordering: .acquiring) == memory)
    let constant = unsafe Atomic(UnsafePointer(second))
    note(unsafe constant.load(ordering: .relaxed) == UnsafePointer(second))
    let raw = unsafe Atomic<UnsafeMutableRawPointer>(memory)
    unsafe raw.store(second, ordering: .releasing)
    note(unsafe raw.load(ordering: .acquiring) == UnsafeMutableRawPointer(second))
    let opaque = unsafe Atomic<OpaquePointer?>(OpaquePointer(memory))
    note(unsafe opaque.load(ordering: .acquiring) == OpaquePointer(memory))
    let account = Account("one")
    let unmanaged = unsafe Atomic<Unmanaged<Account>?>(nil)
    unsafe unmanaged.store(.passUnretained(account), ordering: .releasing)
    note(unsafe unmanaged.load(ordering: .acquiring)!.takeUnretainedValue().name)
    let identifier = Atomic<ObjectIdentifier?>(nil)
    identifier.store(ObjectIdentifier(account), ordering: .relaxed)
    note(identifier.load(ordering: .relaxed) == ObjectIdentifier(account))
    let handle = Atomic<Handle?>(Handle(rawValue: ObjectIdentifier(account)))
    note(handle.exchange(nil, ordering: .relaxed)?.rawValue == ObjectIdentifier(account))
    note(handle.load(ordering: .relaxed) == nil)

    let lazy = AtomicLazyReference<Account>()
    note(lazy.load() == nil, lazy.storeIfNil(Account("first")).name)
    note(lazy.storeIfNil(Account("second")).name, lazy.load()!.name)
  }

  private mutating func recordOthers() {
    let flag = Atomic(false)
    note(flag.logicalOr(true, ordering: .acquiring), flag.logicalXor(true, ordering: .relaxed))
    note(flag.logicalAnd(true, ordering: .sequentiallyConsistent))
    note(flag.compareExchange(expected: false, desired: true, ordering: .acquiring))
    let light = Atomic(Light.red)
    note(light.exchange(.green, ordering: .acquiringAndReleasing), light.load(ordering: .relaxed))
    let celsius = Atomic(Celsius(degrees: -20))
    note(celsius.load(ordering: .relaxed))
    let double = Atomic(0.5), float = Atomic(Float(-2)), time = Atomic(Duration.milliseconds(-7))
    note(double.exchange(1.5, ordering: .relaxed), double.load(ordering: .relaxed))
    note(float.load(ordering: .relaxed), time.load(ordering: .relaxed))
  }

  private mutating func recordMutex() {
    let mutex = Mutex(["a"])
    mutex.withLock { $0.append("b") }
    note(mutex.withLock { $0.count }, mutex.withLock(\.count))
    let taken = mutex.withLockIfAvailable { $0.removeLast() }
    note(taken as Any)
    do throws(NoMoney) {
      try mutex.withLock { (_) throws(NoMoney) in throw NoMoney() }
    } catch {
      note(error, mutex.withLock { $0 })
    }
    let unit = Mutex(())
    note(unit.withLock { _ in 3 })
  }
}
