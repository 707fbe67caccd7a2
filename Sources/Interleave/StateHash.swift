/// A hash of all that decides what can happen from here on, in a form that forgets the way here.
///
/// Forgotten are: stores that no thread can read any more, and with them how many there were
/// (indices count from the oldest readable store); clocks that no live cell remembers (a clock
/// becomes its rank among those remembered); the views of threads that have ended. Threads'
/// locals are covered by a hash of all that was returned to them.
struct StateHash {
  private let memory: Memory
  private let plain: PlainMemory
  private let threadCount: Int
  private let contention: Contention
  /// The oldest store of each location that a thread which runs can read.
  private var base = View()

  init(
    _ memory: Memory, _ plain: PlainMemory, _ contention: Contention, running: ThreadSet,
    threadCount: Int
  ) {
    self.memory = memory
    self.plain = plain
    self.threadCount = threadCount
    self.contention = contention
    for location in memory.locations.indices {
      var oldest = memory.locations[location].number
      base[location: location] = oldest
      // Who ever reads a quiet location has seen its newest store, or will when it has the lock.
      if contention.isQuiet(word: location) || memory.locations[location].isLock { continue }
      for thread in running {
        oldest = min(oldest, memory.threads[thread].view[location: location])
      }
      base[location: location] = oldest
    }
  }

  private func hash(_ view: View) -> UInt64 {
    var relative = view.relative(to: base)
    for thread in 0..<threadCount {
      relative[clock: thread] = rank(thread, view[clock: thread])
    }
    return relative.hash
  }

  /// How many of a thread's remembered accesses a clock covers. They are nested, so the numbers
  /// tell which.
  private func rank(_ thread: Int, _ clock: Int) -> Int {
    guard clock != 0 else { return 0 }
    var rank = 0
    for cell in plain.cells where cell.isLive {
      if cell.writer == thread && cell.written != 0 && cell.written <= clock { rank += 1 }
      let read = cell.readers[clock: thread]
      if read != 0 && read <= clock { rank += 64 }
    }
    return rank
  }

  /// Of a running thread. `pending` only ever joins the view.
  func hash(_ thread: Memory.Thread) -> UInt64 {
    var pending = thread.view
    pending.join(thread.pending)
    return mix(
      mix(hash(thread.view), hash(pending)),
      mix(hash(thread.fenced), thread.awaited.relativeAwaited(to: base).hash))
  }

  var ofMemory: UInt64 {
    var hash = memory.sequential.relative(to: base).hash
    for (index, location) in memory.locations.enumerated() {
      let newest = memory.stores[location.newest].value
      // What the last owner of a taken lock saw its present one has seen.
      if contention.isQuiet(word: index) || location.isLock && newest != 0 {
        hash = mix(hash, newest)
        continue
      }
      let readable = location.number - base[location: index] + 1
      hash = mix(hash, UInt64(readable))
      var store = location.newest
      for _ in 0..<readable {
        hash = mix(hash, mix(memory.stores[store].value, self.hash(memory.stores[store].message)))
        store = memory.stores[store].previous
      }
    }
    for cell in plain.cells {
      if cell.isLive {
        hash = mix(
          hash, mix(cell.value, UInt64(cell.writer) << 32 | UInt64(rank(cell.writer, cell.written)))
        )
        hash = mix(hash, self.hash(cell.readers))
      } else {
        hash = mix(hash, self.hash(cell.freed))
      }
    }
    return hash
  }
}
