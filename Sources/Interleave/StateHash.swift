/// A hash of everything that decides what can happen from here on. It does not depend on how the
/// state was reached.
///
/// So it leaves out:
/// - stores that no thread can read any more, and their number: indices count from the oldest
///   readable store;
/// - clocks that no live cell and no ordered location remembers: a clock becomes its rank among
///   those remembered;
/// - the views of threads that have ended.
///
/// The local variables of a thread are covered by a hash of everything that was returned to it.
struct StateHash {
  private let memory: Memory
  private let plain: PlainMemory
  private let threadCount: Int
  private let contention: Contention
  private let hasCrashes: Bool
  /// For each location, the oldest store that a running thread can still read.
  private var base = View()
  /// For each thread, one bit for each remembered clock, in rows of `rowCount` words.
  private var remembered: [UInt64]
  private let rowCount: Int

  init(
    _ memory: Memory, _ plain: PlainMemory, _ contention: Contention, running: ThreadSet,
    threadCount: Int, hasCrashes: Bool
  ) {
    self.memory = memory
    self.plain = plain
    self.threadCount = threadCount
    self.contention = contention
    self.hasCrashes = hasCrashes
    for location in memory.locations.indices {
      guard let lane = memory.locations[location].lane else { continue }
      var oldest = memory.locations[location].number
      base[lane: lane] = oldest
      // A thread that reads a quiet location or takes a lock always sees the newest store.
      if contention.isQuiet(word: location) || memory.locations[location].isLock { continue }
      for thread in running {
        oldest = min(oldest, memory.threads[thread].view[lane: lane])
      }
      base[lane: lane] = oldest
    }
    var latest = 0
    for thread in 0..<threadCount {
      latest = max(latest, memory.threads[thread].view[clock: thread])
    }
    rowCount = latest / 64 + 1
    remembered = [UInt64](repeating: 0, count: rowCount * threadCount)
    for cell in plain.cells where cell.isLive { remember(cell.writer, cell.written, cell.readers) }
    var rest = contention.accessed
    while rest != 0 {
      let accesses = contention.accesses[rest.trailingZeroBitCount]
      remember(accesses.writer, accesses.written, accesses.readers)
      rest &= rest - 1
    }
  }

  private mutating func remember(_ writer: Int, _ written: Int, _ readers: View) {
    remembered[writer * rowCount + written / 64] |= 1 << UInt64(written % 64)
    for thread in 1..<threadCount {
      let read = readers[clock: thread]
      remembered[thread * rowCount + read / 64] |= 1 << UInt64(read % 64)
    }
  }

  private func hash(_ view: View) -> UInt64 {
    var relative = view.relative(to: base)
    for thread in 0..<threadCount {
      relative[clock: thread] = rank(thread, view[clock: thread])
    }
    return relative.hash
  }

  /// The number of a thread's remembered accesses that a clock covers. A clock covers all accesses
  /// up to it, so the number says which.
  private func rank(_ thread: Int, _ clock: Int) -> Int {
    guard clock != 0 else { return 0 }
    let row = thread * rowCount
    var rank = (remembered[row + clock / 64] & (~0 >> UInt64(63 - clock % 64))).nonzeroBitCount
    for word in row..<row + clock / 64 { rank += remembered[word].nonzeroBitCount }
    // Clock 0 is not an access, but its bit may be set.
    return rank - Int(remembered[row] & 1)
  }

  /// The hash of a running thread. `pending` is only ever joined to the view, so it is hashed after
  /// that join.
  func hash(_ number: Int) -> UInt64 {
    let thread = memory.threads[number]
    var pending = thread.view
    pending.join(thread.pending)
    return mix(
      mix(hash(thread.view), hash(pending)),
      mix(
        mix(hash(thread.fenced), UInt64(rank(number, thread.clockAtStep))),
        mix(thread.awaited.relativeAwaited(to: base).hash, thread.awaitedElsewhere)))
  }

  private func hash(_ writer: Int, _ written: Int, _ readers: View) -> UInt64 {
    var hash = UInt64(writer) << 32 | UInt64(rank(writer, written))
    for thread in 1..<threadCount {
      hash = mix(hash, UInt64(rank(thread, readers[clock: thread])))
    }
    return hash
  }

  var ofMemory: UInt64 {
    var hash = memory.sequential.relative(to: base).hash
    for (index, location) in memory.locations.enumerated() {
      let newest = memory.stores[location.newest].value
      // The message of a taken lock does not matter: its present owner has already seen it.
      if contention.isQuiet(word: index) || location.isLock && newest != 0 {
        hash = mix(hash, newest)
        continue
      }
      let readable = location.lane.map { location.number - base[lane: $0] + 1 } ?? 1
      hash = mix(hash, UInt64(readable))
      var store = location.newest
      for _ in 0..<readable {
        hash = mix(hash, mix(memory.stores[store].value, self.hash(memory.stores[store].message)))
        store = memory.stores[store].previous
      }
    }
    for (index, cell) in plain.cells.enumerated() {
      if cell.isLive {
        hash = mix(hash, mix(cell.value, self.hash(cell.writer, cell.written, cell.readers)))
      } else {
        hash = mix(hash, self.hash(cell.freed))
      }
      // What a crash now could leave in memory, also in a frame that is free.
      if hasCrashes && cell.survives {
        hash = mix(hash, cell.value)
        if !plain.isSettled(index, memory.threads) {
          for value in cell.older { hash = mix(hash, value) }
        }
      }
    }
    var rest = contention.accessed
    while rest != 0 {
      let index = rest.trailingZeroBitCount
      let accesses = contention.accesses[index]
      hash = mix(hash, UInt64(index))
      hash = mix(hash, self.hash(accesses.writer, accesses.written, accesses.readers))
      rest &= rest - 1
    }
    return hash
  }
}
