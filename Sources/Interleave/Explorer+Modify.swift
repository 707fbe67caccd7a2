/// The read-modify-writes other than `add`.
extension Explorer {
  /// Replaces the newest value by what `transform` makes of it. Returns the old value.
  ///
  /// `transform` returns nil for an overflow. Swift's `add` and `subtract` load the value first,
  /// with no ordering, and trap if that load finds a value that overflows. So it is a failure if
  /// the thread may still read such a value, even if it is not the newest.
  func modify(
    _ location: Int, _ order: MemoryOrder, _ site: Site, _ name: String, _ operand: UInt64,
    checksOverflow: Bool = false, _ transform: (UInt64) -> UInt64?
  ) -> UInt64 {
    if isOwn(location) {
      passOwn(.modify, location, releases: order.releases, site)
      let before = own(location)
      guard let after = transform(before) else {
        fail(.trap, "\(name) overflows, found \(show(before)), at \(site.description)")
        return before
      }
      setOwn(location, after)
      if isTracing {
        note(site, "\(name)(\(order)): \(show(before)) → \(show(after))", location)
      }
      return before
    }
    let order = weaken(order, site, name)
    schedule(
      Operation(
        kind: .modify, object: location, isWrite: true, isSequential: order == .sequential,
        isRelease: order.releases,
        operand: mix(operand, UInt64(site.line)), site: site))
    if checksOverflow {
      for age in 0..<memory.readable(location, by: running, .relaxed) {
        let value = memory.store(location, age: age).value
        guard transform(value) == nil else { continue }
        let found = "found \(show(value, location))\(origin(location, age))"
        fail(.trap, "\(name) overflows, \(found), at \(site.description)")
      }
    }
    let message = memory.store(location, age: 0).message
    let before = memory.read(location, age: 0, by: running, order)
    // Only the final checks get here after an overflow.
    let after = transform(before) ?? before
    memory.write(location, after, by: running, order, passing: message, site)
    record(before)
    recordOrder(location)
    if isTracing {
      let values = "\(show(before, location)) → \(show(after, location))"
      note(site, "\(name)(\(order)): \(values)", location)
    }
    return before
  }

  /// A compare-and-swap. A strong one fails only if it reads a value other than `expected`, which
  /// need not be the newest value. A weak one may also fail if it finds `expected`, but not twice
  /// in succession in one thread. Otherwise a loop around it would have no end.
  ///
  /// Without `failure`, the order of a compare-and-swap that fails follows from `order`.
  func compareExchange(
    _ location: Int, _ expected: UInt64, _ desired: UInt64, _ order: MemoryOrder, _ site: Site,
    failure: MemoryOrder? = nil, isWeak: Bool = false
  ) -> (exchanged: Bool, original: UInt64) {
    let name = isWeak ? "weakCompareExchange" : "compareExchange"
    if isOwn(location) {
      passOwn(.compareExchange, location, releases: order.releases, site)
      let found = own(location)
      if found == expected { setOwn(location, desired) }
      if isTracing {
        let event = "\(name)(\(show(expected)) → \(show(desired)), \(order))"
        note(
          site, found == expected ? "\(event): done" : "\(event): failed, found \(show(found))",
          location)
      }
      return (found == expected, found)
    }
    let order = weaken(order, site, name)
    let failed = failure.map { weaken($0, site, "\(name) failure") } ?? order.ofFailure
    // A quiet step can have only one result.
    if isWeak && running != 0 && !crash.isRecovering && contention.makeVisible(word: location) {
      becomeOutdated()
    }
    schedule(
      Operation(
        kind: .compareExchange, object: location, isWrite: true,
        isSequential: order == .sequential || failed == .sequential, isRelease: order.releases,
        operand: mix(mix(expected, desired), UInt64(site.line)), site: site))
    let event =
      isTracing
      ? "\(name)(\(show(expected, location)) → \(show(desired, location)), \(order))" : ""
    let newest = memory.store(location, age: 0)
    let mayFail = isWeak && !threads[running].failedSpuriously
    // The ages that it may read. The last choice is a spurious failure that reads the newest value.
    var ages = [0]
    for age in 1..<max(1, memory.readable(location, by: running, failed))
    where mayFail || memory.store(location, age: age).value != expected {
      ages.append(age)
    }
    if mayFail && newest.value == expected { ages.append(0) }
    let choice = chooseValue(ages.count)
    let age = ages[choice]
    if choice == 0 && newest.value == expected {
      _ = memory.read(location, age: 0, by: running, order)
      memory.write(location, desired, by: running, order, passing: newest.message, site)
      threads[running].failedSpuriously = false
      record(expected)
      recordOrder(location)
      if isTracing { note(site, "\(event): done", location) }
      return (true, expected)
    }
    let value = memory.read(location, age: age, by: running, failed)
    let isSpurious = value == expected
    threads[running].failedSpuriously = isSpurious
    // A spurious failure must differ from a success.
    record(isSpurious ? ~mix(value, 1) : value)
    if isTracing {
      let found = "found \(show(value, location))\(origin(location, age))"
      note(site, "\(event): failed\(isSpurious ? " spuriously" : ""), \(found)", location)
    }
    return (false, value)
  }
}
