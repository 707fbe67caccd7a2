/// The memory model: which values each load may return. It does no scheduling.
///
/// This is an operational form of C11 as repaired in C++20. Each location keeps all its stores in
/// the order in which they were executed, which stands for the modification order. Each thread has
/// a `View`. A load may return any store from the view's index on, and raises the index
/// (coherence). A release store carries the thread's view as its message, and an acquire load joins
/// it (happens-before). A read-modify-write reads the newest store and passes its message on (a
/// release sequence; since C++20, a plain store of the same thread ends one).
///
/// Sequential consistency is one more view, `sequential`. The order in which sequential operations
/// are executed stands for C11's total order S. A sequential access may not read below this view,
/// and raises its own location in it. A fence joins it both ways. This covers [atomics.order]
/// paragraph 4 of C++20 case by case: access–access, fence–access, access–fence and fence–fence.
///
/// So the model allows exactly the executions of C++20 in which program order, reads-from,
/// modification order and S together have no cycle.
struct Memory {
  struct Store {
    let value: UInt64
    let message: View
    let thread: Int
    let site: Site
    /// The previous store to the same location, as an index into `stores`.
    let previous: Int
  }

  struct Location {
    /// The newest store, as an index into `stores`, and its number in the modification order.
    var newest: Int
    var number = 0
    let name: String
    let site: Site
    /// Its place in views; nil if no thread has stored to it, or only one thread runs (`Memory+Lanes`).
    var lane: Int?
    /// Whether this is a lock, of which only the newest store is ever read.
    var isLock = false
  }

  struct Thread {
    /// What happened before the thread's next step.
    var view = View()
    /// Messages that relaxed loads saw. An acquire fence joins them.
    var pending = View()
    /// The view at the last release fence. Relaxed stores carry it.
    var fenced = View()
    /// For each location read since the last `pause`: 1 + the number of the store seen.
    var awaited = View()
    /// One bit for each location without a lane that was read since then.
    var awaitedElsewhere: UInt64 = 0
    /// The thread's own clock when it began its last step.
    var clockAtStep = 0
    /// The thread's own clock at its last release. Its plain writes up to there are in memory if it
    /// stops now; a later one may not be, since a compiler may delay it up to the next release.
    var released = 0
  }

  private(set) var stores: [Store] = []
  var locations: [Location] = []
  var threads = [Thread](repeating: Thread(), count: View.threads)
  private(set) var sequential = View()
  var lanes = Lanes()

  mutating func reset() {
    lanes.isOneThread = true
    stores.removeAll(keepingCapacity: true)
    locations.removeAll(keepingCapacity: true)
    for thread in threads.indices { threads[thread] = Thread() }
    sequential = View()
  }

  /// Adds a location. Its first store is part of the set-up, which happens before every thread.
  mutating func add(_ value: UInt64, name: String?, site: Site) -> Int {
    stores.append(Store(value: value, message: View(), thread: 0, site: site, previous: -1))
    locations.append(
      Location(
        newest: stores.count - 1, name: name ?? "word\(locations.count)", site: site))
    return locations.count - 1
  }

  mutating func makeLock(_ location: Int) { locations[location].isLock = true }

  /// The number of stores that a load may return. Age 0 is the newest store, and one less than this
  /// number is the age of the oldest.
  @inline(__always)
  func readable(_ location: Int, by thread: Int, _ order: MemoryOrder) -> Int {
    guard let lane = locations[location].lane else { return 1 }
    var oldest = threads[thread].view[lane: lane]
    if order == .sequential { oldest = max(oldest, sequential[lane: lane]) }
    return locations[location].number - oldest + 1
  }

  /// The store that is `age` stores older than the newest.
  @inline(__always)
  func store(_ location: Int, age: Int) -> Store {
    var index = locations[location].newest
    for _ in 0..<age { index = stores[index].previous }
    return stores[index]
  }

  /// Reads the store of that age.
  mutating func read(_ location: Int, age: Int, by thread: Int, _ order: MemoryOrder) -> UInt64 {
    let store = store(location, age: age)
    let number = locations[location].number - age
    if let lane = locations[location].lane, threads[thread].view[lane: lane] < number {
      threads[thread].view[lane: lane] = number
    }
    noteRead(location, number, by: thread)
    if order.acquires {
      threads[thread].view.join(store.message)
    } else {
      threads[thread].pending.join(store.message)
    }
    if order == .sequential { raiseSequential(location, number) }
    return store.value
  }

  /// Appends a store. A read-modify-write passes the message of the store that it read.
  mutating func write(
    _ location: Int, _ value: UInt64, by thread: Int, _ order: MemoryOrder, passing: View? = nil,
    _ site: Site
  ) {
    let lane = laneToStore(location)
    let number = locations[location].number + 1
    precondition(number < Int(UInt16.max), "Interleave: too many stores to one location")
    if let lane {
      threads[thread].view[lane: lane] = number
      // A store by a spinning thread is no news to the thread itself.
      if threads[thread].awaited[lane: lane] != 0 {
        threads[thread].awaited[lane: lane] = number + 1
      }
    }
    if order.releases { settleWrites(of: thread) }
    var message = order.releases ? threads[thread].view : threads[thread].fenced
    if let passing { message.join(passing) }
    // A thread that reads this store may not read an older one afterwards.
    if let lane { message[lane: lane] = number }
    stores.append(
      Store(
        value: value, message: message, thread: thread, site: site,
        previous: locations[location].newest))
    locations[location].newest = stores.count - 1
    locations[location].number = number
    if order == .sequential { raiseSequential(location, number) }
  }

  mutating func fence(by thread: Int, _ order: MemoryOrder) {
    if order.acquires { threads[thread].view.join(threads[thread].pending) }
    if order == .sequential {
      sequential.join(threads[thread].view.locationsOnly)
      threads[thread].view.join(sequential)
    }
    if order.releases {
      threads[thread].fenced = threads[thread].view
      threads[thread].released = threads[thread].view[clock: thread]
    }
  }

  mutating func beginStep(_ thread: Int) {
    threads[thread].clockAtStep = threads[thread].view[clock: thread]
  }

  /// Runs a fence on a thread for another thread. Plain accesses of the thread since its last step
  /// are fused with that step, but they could also come after the fence. So the fence does not
  /// release them. Nor does the fence keep the thread's compiler from delaying what came before.
  mutating func fence(on thread: Int) {
    let fenced = threads[thread].fenced[clock: thread]
    let released = threads[thread].released
    fence(by: thread, .sequential)
    threads[thread].fenced[clock: thread] = max(fenced, threads[thread].clockAtStep)
    threads[thread].released = released
  }

  /// The set-up happens before every thread, and every thread happens before the final checks.
  mutating func startThreads(_ count: Int) {
    takeLanes()
    seeNewest(0)
    for thread in 1..<max(count, 1) { threads[thread].view = threads[0].view }
  }
  mutating func joinThreads(_ count: Int) {
    for thread in 1..<max(count, 1) { threads[0].view.join(threads[thread].view) }
    lanes.isOneThread = true
    seeNewest(0)
  }

  /// Makes `thread` one that has just begun and sees the newest store to every location.
  mutating func restart(_ thread: Int) {
    threads[thread] = Thread()
    lanes.isOneThread = true
    seeNewest(thread)
  }

  private mutating func seeNewest(_ thread: Int) {
    for location in locations {
      if let lane = location.lane { threads[thread].view[lane: lane] = location.number }
    }
  }

  /// Makes the thread's plain writes certain, as a release does.
  mutating func settleWrites(of thread: Int) {
    threads[thread].released = threads[thread].view[clock: thread]
  }

  private mutating func raiseSequential(_ location: Int, _ number: Int) {
    if let lane = locations[location].lane, sequential[lane: lane] < number {
      sequential[lane: lane] = number
    }
  }
}

// MARK: - Spin loops

extension Memory {
  /// Notes that the thread has read the location, whose store had this number.
  mutating func noteRead(_ location: Int, _ number: Int, by thread: Int) {
    if let lane = locations[location].lane {
      threads[thread].awaited[lane: lane] = number + 1
    } else {
      threads[thread].awaitedElsewhere |= 1 << UInt64(location)
    }
  }

  /// The locations that the thread has read since its last `pause` and that have newer stores. Only
  /// these can end its loop.
  func news(for thread: Int) -> [Int] {
    locations.indices.filter { hasNews($0, for: thread) }
  }

  @inline(__always) private func hasNews(_ location: Int, for thread: Int) -> Bool {
    guard let lane = locations[location].lane else { return false }
    let seen = threads[thread].awaited[lane: lane]
    return seen != 0 && locations[location].number >= seen
  }

  /// Whether another turn of the thread's loop can go differently.
  @inline(__always) func mayProgress(_ thread: Int) -> Bool {
    var hasRead = threads[thread].awaitedElsewhere != 0
    for location in locations.indices {
      if let lane = locations[location].lane, threads[thread].awaited[lane: lane] != 0 {
        hasRead = true
      }
      if hasNews(location, for: thread) { return true }
    }
    return !hasRead
  }

  /// Begins the next turn of the loop, in which the thread sees a newer store to `location`.
  mutating func resume(_ thread: Int, seeing location: Int?) {
    if let lane = location.flatMap({ locations[$0].lane }) {
      let seen = threads[thread].awaited[lane: lane]
      if threads[thread].view[lane: lane] < seen { threads[thread].view[lane: lane] = seen }
    }
    threads[thread].awaited = View()
    threads[thread].awaitedElsewhere = 0
  }
}
