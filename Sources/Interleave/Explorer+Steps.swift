/// The steps of threads. Each has first the scheduling point, then the effect, then the trace.
extension Explorer {
  /// Makes the value that a step returned part of the thread's state.
  @inline(__always) func record(_ value: UInt64) {
    threads[running].history = mix(threads[running].history, value)
  }

  /// Records the place of a read-modify-write, such as the taking of a lock, in the modification
  /// order.
  @inline(__always) func recordOrder(_ location: Int) {
    if options.locksGuardVariables { record(UInt64(memory.locations[location].number)) }
  }

  /// Replaces what was recorded since `before` by one value. The result differs from that of a step
  /// which returned it.
  func forget(since before: UInt64, keeping value: UInt64) {
    threads[running].history = mix(~before, value)
    threads[running].failedSpuriously = false
  }

  /// Resets the history to one that no thread starts with (`Scenario.thread`). Otherwise a thread
  /// whose first step returned `position` would have the same history.
  func forget(_ position: Int) {
    threads[running].history = mix(~UInt64(running), UInt64(bitPattern: Int64(position)))
    threads[running].failedSpuriously = false
  }

  // MARK: Atomics

  func addLocation(_ value: UInt64, name: String?, _ site: Site) -> Int {
    if crash.isRecovering { return addOwn(value, name: name) }
    precondition(!isSealed, "Interleave: words are created by the set-up, not by threads")
    precondition(
      memory.locations.count < Contention.words(besides: plain.heaps.count),
      "Interleave: more than 64 words and heaps in a scenario")
    if crash.isMarking { crash.words |= 1 << UInt64(memory.locations.count) }
    return memory.add(value, name: name, site: site)
  }

  func load(
    _ location: Int, _ order: MemoryOrder, _ site: Site, testing passes: ((UInt64) -> Bool)? = nil
  ) -> UInt64 {
    if isOwn(location) {
      passOwn(.load, location, site)
      if isTracing { note(site, "load(\(order)) → \(show(own(location)))", location) }
      return learnt(own(location), passes)
    }
    let order = weaken(order, site, "load")
    schedule(
      Operation(
        kind: .load, object: location, isSequential: order == .sequential,
        operand: UInt64(site.line), site: site))
    let age = chooseValue(memory.readable(location, by: running, order))
    let value = memory.read(location, age: age, by: running, order)
    let learnt = learnt(value, passes)
    record(learnt)
    if isTracing {
      note(
        site, "load(\(order)) → \(show(value, location))\(origin(location, age))", location)
    }
    return learnt
  }

  /// What a thread learns of a value: all of it, or 1 or 0 for whether it passes a test.
  private func learnt(_ value: UInt64, _ passes: ((UInt64) -> Bool)?) -> UInt64 {
    guard let passes else { return value }
    return passes(value) ? 1 : 0
  }

  func store(_ location: Int, _ value: UInt64, _ order: MemoryOrder, _ site: Site) {
    if isOwn(location) {
      passOwn(.store, location, releases: order.releases, site)
      setOwn(location, value)
      if isTracing { note(site, "store(\(show(value)), \(order))", location) }
      return
    }
    let order = weaken(order, site, "store")
    schedule(
      Operation(
        kind: .store, object: location, isWrite: true, isSequential: order == .sequential,
        isRelease: order.releases,
        operand: mix(value, UInt64(site.line)), site: site))
    memory.write(location, value, by: running, order, site)
    record(0)
    if isTracing { note(site, "store(\(show(value, location)), \(order))", location) }
  }

  func add(
    _ location: Int, _ value: UInt64, _ order: MemoryOrder, _ site: Site,
    testing passes: ((UInt64) -> Bool)? = nil
  ) -> UInt64 {
    if isOwn(location) {
      return learnt(modify(location, order, site, "add", value) { $0 &+ value }, passes)
    }
    let order = weaken(order, site, "add")
    schedule(
      Operation(
        kind: .modify, object: location, isWrite: true, isSequential: order == .sequential,
        isRelease: order.releases,
        operand: mix(value, UInt64(site.line)), site: site))
    let message = memory.store(location, age: 0).message
    let before = memory.read(location, age: 0, by: running, order)
    memory.write(location, before &+ value, by: running, order, passing: message, site)
    let learnt = learnt(before, passes)
    record(learnt)
    // Nothing else that the thread may read depends on the order unless it acquires.
    if passes == nil || order.acquires { recordOrder(location) }
    if isTracing {
      let values = "\(show(before)) → \(show(before &+ value))"
      note(site, "add(\(Int64(bitPattern: value)), \(order)): \(values)", location)
    }
    return learnt
  }

  /// Only a sequential fence is a scheduling point. Others notice it through the order of all
  /// sequential steps.
  func fence(_ order: MemoryOrder, _ site: Site) {
    let order = weaken(order, site, "fence")
    if order == .sequential {
      schedule(Operation(kind: .fence, isSequential: true, operand: UInt64(site.line), site: site))
    } else if order.releases && isReleaseKept {
      scheduleOrLog(
        .release(memory.threads[running].released),
        Operation(kind: .fence, operand: UInt64(site.line), site: site))
    }
    memory.fence(by: running, order)
    record(0)
    if isTracing { note(site, "fence(\(order))") }
  }

  /// Runs a full fence on every thread, one after the other, each at any point during the call.
  func processFence(_ site: Site) {
    guard running != 0, weaken(.sequential, site, "processFence") == .sequential else { return }
    if isReleaseKept {
      schedule(Operation(kind: .fence, isSequential: true, operand: UInt64(site.line), site: site))
    }
    memory.fence(by: running, .sequential)
    for thread in threads.indices.dropFirst() where thread != running {
      schedule(
        Operation(
          kind: .processFence, object: thread, isSequential: true, operand: UInt64(site.line),
          site: site))
      memory.fence(on: thread)
      record(0)
      if isTracing { note(site, "fence on \(threads[thread].name)") }
    }
    memory.fence(by: running, .sequential)
  }

  /// Ends a turn of a spin loop. The next turn begins when something that the loop read has a newer
  /// store.
  func pause(_ site: Site) {
    schedule(Operation(kind: .pause, operand: UInt64(site.line), site: site))
    if crash.isRecovering {
      fail(.livelock, "livelock: recovery waits, but it is alone, at \(site.description)")
    }
    guard running != 0 else { return }
    let news = memory.news(for: running)
    memory.resume(running, seeing: news.isEmpty ? nil : news[chooseValue(news.count)])
    record(0)
    if isTracing { note(site, "pause") }
  }

  // MARK: Plain memory

  func addCell(_ value: UInt64, name: String) -> Int {
    precondition(
      !isSealed || crash.isRecovering,
      "Interleave: cells are created by the set-up, not by threads")
    return plain.addCell(value, name: name, survives: crash.isMarking)
  }

  func readCell(_ cell: Int, _ site: Site, shown: (() -> String)? = nil) -> UInt64 {
    verifyCell(cell, "read", site)
    var value: UInt64 = 0
    access("read", site) { () throws(PlainMemory.Problem) in
      value = try plain.read(cell, by: running, &memory.threads[running].view, site)
    }
    record(value)
    if isTracing { note(site, "read \(plain.cells[cell].name) → \(shown?() ?? show(value))") }
    return value
  }

  func writeCell(_ cell: Int, _ value: UInt64, _ site: Site, shown: (() -> String)? = nil) {
    verifyCell(cell, "write", site)
    if isKept(cell: cell) {
      scheduleOrLog(
        .cell(cell, plain.contents(cell, memory.threads)),
        Operation(
          kind: .cell, object: cell, isWrite: true, operand: mix(value, UInt64(site.line)),
          site: site))
      plain.keepOlder(cell, memory.threads)
    }
    access("write", site) { () throws(PlainMemory.Problem) in
      try plain.write(cell, value, by: running, &memory.threads[running].view, site)
    }
    record(0)
    if isTracing { note(site, "write \(plain.cells[cell].name) ← \(shown?() ?? show(value))") }
  }

  func addHeap(capacity: Int, name: String) -> Int {
    precondition(
      !isSealed || crash.isRecovering,
      "Interleave: heaps are created by the set-up, not by threads")
    precondition(
      crash.isRecovering
        || memory.locations.count <= Contention.words(besides: plain.heaps.count + 1),
      "Interleave: more than 64 words and heaps in a scenario")
    return plain.addHeap(capacity: capacity, name: name, survives: crash.isMarking)
  }

  func allocate(_ heap: Int, _ site: Site) -> Int? {
    schedule(Operation(kind: .heap, object: heap, operand: UInt64(site.line), site: site))
    verifyCell(plain.heaps[heap].first, "allocation", site)
    if let cell = plain.lowestFree(heap), isKept(cell: cell) {
      plain.keepOlder(cell, memory.threads)
    }
    var frame: Int?
    access("allocation", site) { () throws(PlainMemory.Problem) in
      frame = try plain.allocate(heap, by: running, &memory.threads[running].view, site)
    }
    record(UInt64(frame ?? 0))
    if isTracing { note(site, "allocate → \(frame.map { "frame \($0)" } ?? "none")") }
    return frame
  }

  func free(_ heap: Int, _ frame: Int, _ site: Site) {
    schedule(
      Operation(
        kind: .heap, object: heap, operand: mix(UInt64(frame), UInt64(site.line)), site: site))
    let cell = cell(heap, frame, "free", site)
    verifyCell(cell, "free", site)
    access("free", site) { () throws(PlainMemory.Problem) in
      try plain.free(cell, by: running, &memory.threads[running].view, site)
    }
    record(0)
    if isTracing { note(site, "free frame \(frame)") }
  }

  func cell(_ heap: Int, _ frame: Int, _ what: String, _ site: Site) -> Int {
    let heap = plain.heaps[heap]
    guard frame >= 1, frame <= heap.capacity else {
      fail(.useAfterFree, "\(what) of frame \(frame), which does not exist, at \(site.description)")
      return heap.first
    }
    return heap.first + frame - 1
  }

  private func access(
    _ what: String, _ site: Site, _ body: () throws(PlainMemory.Problem) -> Void
  ) {
    do {
      try body()
    } catch {
      let here = "\(what) by \(threads[running].name) at \(site.description)"
      switch error {
      case .race(let cell, let other, let before):
        let there = before.map { "\($0.what) by \(threads[other].name) at \($0.site.description)" }
        fail(
          .dataRace,
          "data race on \(plain.cells[cell].name): \(here) is not ordered with the "
            + (there ?? "access by \(threads[other].name)"))
      case .notLive(let cell, let freed):
        fail(
          .useAfterFree,
          "\(here) of \(plain.cells[cell].name), which is free"
            + (freed.map { " since \($0.site.description)" }
              ?? (crash.isRecovering ? " until recovery claims it" : "")))
      }
    }
  }

  // MARK: The trace

  func note(_ site: Site, _ event: String, _ location: Int? = nil) {
    var line = "\(threads[running].name.padded(to: 12)) \(site.description.padded(to: 24)) "
    if let location { line += "\(name(location))." }
    trace.append(line + event)
  }

  func origin(_ location: Int, _ age: Int) -> String {
    guard age > 0 else { return "" }
    let newest = memory.store(location, age: 0)
    return "  STALE: the newest is \(show(newest.value, location)), stored by "
      + "\(threads[newest.thread].name) at \(newest.site.description)"
  }

  func show(_ value: UInt64, _ location: Int? = nil) -> String {
    if let location, let format = formats[location] { return format(value) }
    return value < 1 << 20 ? "\(value)" : "0x\(String(value, radix: 16))"
  }
}

extension String {
  fileprivate func padded(to width: Int) -> String {
    count < width ? self + String(repeating: " ", count: width - count) : self
  }
}
