/// The explored states, by hash, each with the threads that slept there.
///
/// A thread sleeps if its next step is left out because it was explored elsewhere. When a state is
/// reached again and every thread that slept the first time sleeps now, its subtree need not be
/// explored again. Otherwise only the steps of the threads that slept then and do not sleep now are
/// explored (Godefroid 1996, chapter 5).
///
/// A state is represented by 64 bits of hash. With ten million states, the chance that two of them
/// share a hash is three in a million.
struct StateCache {
  enum Visit {
    case new
    /// Everything from this state on was explored.
    case covered
    /// Explore again, but only the steps of the threads in `woken`. Those in `asleep` still sleep.
    case partly(asleep: ThreadSet, woken: ThreadSet)
    /// The state is known, but its threads are about to do something else. So they share something
    /// that the checker cannot see.
    case contradiction
  }

  private struct Entry {
    var key: UInt64 = 0
    var asleep = ThreadSet()
    /// A hash of what each thread was about to do.
    var next: UInt32 = 0
  }

  private var entries = [Entry](repeating: Entry(), count: 1 << 10)
  private(set) var count = 0

  mutating func visit(_ hash: UInt64, asleep: ThreadSet, next: UInt32) -> Visit {
    let key = max(hash, 1)
    if count * 2 >= entries.count { grow() }
    let slot = slot(of: key)
    if entries[slot].key == 0 {
      entries[slot] = Entry(key: key, asleep: asleep, next: next)
      count += 1
      return .new
    }
    guard entries[slot].next == next else { return .contradiction }
    let common = entries[slot].asleep.intersection(asleep)
    if common == entries[slot].asleep { return .covered }
    defer { entries[slot].asleep = common }
    return .partly(asleep: common, woken: entries[slot].asleep.subtracting(common))
  }

  private func slot(of key: UInt64) -> Int {
    let mask = entries.count - 1
    var slot = Int(truncatingIfNeeded: key) & mask
    while entries[slot].key != 0 && entries[slot].key != key { slot = (slot + 1) & mask }
    return slot
  }

  private mutating func grow() {
    let old = entries
    entries = [Entry](repeating: Entry(), count: old.count * 2)
    for entry in old where entry.key != 0 { entries[slot(of: entry.key)] = entry }
  }
}
