/// A 64-bit atomic whose accesses the checker sees. Use it in place of the production code's
/// atomic, by a type alias in one file. The defaulted parameters make traces show the lines of
/// production code.
///
/// Create it in the set-up of a scenario. It is valid only in that execution. A scenario can have
/// 64 words and heaps; if it has more than 56 words, its threads may store to 56 of them.
public struct ModelWord: ~Copyable, Sendable {
  private let location: Int
  private let execution: UInt64

  /// Makes a word. Traces show `name`, or a number if it is nil.
  public init(
    _ value: UInt64, name: String? = nil, file: StaticString = #fileID, line: UInt = #line
  ) {
    let explorer = Explorer.current
    location = explorer.addLocation(value, name: name, Site(file: file, line: line))
    execution = explorer.owner
  }

  private func explorer(_ site: Site?) -> Explorer {
    let explorer = Explorer.current
    if execution != explorer.owner {
      explorer.verify(
        execution, "a word", site, survives: explorer.survives(word: location))
    }
    return explorer
  }

  /// Returns one of the values that the memory model allows here. The checker tries all of them.
  public borrowing func load(
    _ order: MemoryOrder, file: StaticString = #fileID, line: UInt = #line
  ) -> UInt64 {
    let site = Site(file: file, line: line)
    return explorer(site).load(location, order, site)
  }

  /// Loads a value only to test it. The thread learns nothing else of the value, so executions that
  /// differ only in the rest are explored once. `passes` must not let the value escape.
  public borrowing func test(
    _ order: MemoryOrder, file: StaticString = #fileID, line: UInt = #line,
    _ passes: @escaping (UInt64) -> Bool
  ) -> Bool {
    let site = Site(file: file, line: line)
    return explorer(site).load(location, order, site, testing: passes) != 0
  }

  /// Stores a value.
  public borrowing func store(
    _ value: UInt64, _ order: MemoryOrder, file: StaticString = #fileID, line: UInt = #line
  ) {
    let site = Site(file: file, line: line)
    return explorer(site).store(location, value, order, site)
  }

  /// The newest value. Reading it is no step of any thread. For `ModelLock.guards`.
  public var peek: UInt64 {
    let explorer = explorer(nil)
    return explorer.isOwn(location)
      ? explorer.own(location) : explorer.memory.store(location, age: 0).value
  }

  /// Adds modulo 2⁶⁴. Returns the previous value.
  @discardableResult
  public borrowing func add(
    _ value: UInt64, _ order: MemoryOrder, file: StaticString = #fileID, line: UInt = #line
  ) -> UInt64 {
    let site = Site(file: file, line: line)
    return explorer(site).add(location, value, order, site)
  }

  /// Subtracts modulo 2⁶⁴. Returns the previous value.
  @discardableResult
  public borrowing func subtract(
    _ value: UInt64, _ order: MemoryOrder, file: StaticString = #fileID, line: UInt = #line
  ) -> UInt64 {
    let site = Site(file: file, line: line)
    return explorer(site).add(location, 0 &- value, order, site)
  }

  /// Adds modulo 2⁶⁴, and tests the previous value as `test` does.
  public borrowing func addAndTest(
    _ value: UInt64, _ order: MemoryOrder, file: StaticString = #fileID, line: UInt = #line,
    _ passes: @escaping (UInt64) -> Bool
  ) -> Bool {
    let site = Site(file: file, line: line)
    return explorer(site).add(location, value, order, site, testing: passes) != 0
  }

  /// Subtracts modulo 2⁶⁴, and tests the previous value as `test` does.
  public borrowing func subtractAndTest(
    _ value: UInt64, _ order: MemoryOrder, file: StaticString = #fileID, line: UInt = #line,
    _ passes: @escaping (UInt64) -> Bool
  ) -> Bool {
    let site = Site(file: file, line: line)
    return explorer(site).add(location, 0 &- value, order, site, testing: passes) != 0
  }

  /// Strong compare-and-swap. Returns whether it swapped, and the value found.
  public borrowing func compareExchange(
    _ expected: UInt64, _ desired: UInt64, _ order: MemoryOrder,
    file: StaticString = #fileID, line: UInt = #line
  ) -> (exchanged: Bool, original: UInt64) {
    let site = Site(file: file, line: line)
    return explorer(site).compareExchange(location, expected, desired, order, site)
  }

  /// A fence, `sequential` by default.
  public static func fence(
    _ order: MemoryOrder = .sequential, file: StaticString = #fileID, line: UInt = #line
  ) {
    Explorer.current.fence(order, Site(file: file, line: line))
  }
}
