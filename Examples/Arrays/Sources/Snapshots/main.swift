// A key-value store in which each request sees the store as it was when the request came. Readers
// take a copy and need no lock from then on; the writer goes on meanwhile.
import HugeArrays
import Synchronization

/// A hash table with open addressing. 0 is no key.
struct Table: Sendable {
  private var keys = HugeArray<UInt64>(count: 1 << 24)
  private var values = HugeArray<UInt64>(count: 1 << 24)

  private func slot(_ key: UInt64) -> Int {
    var slot = Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) >> 40)
    while keys[slot] != 0 && keys[slot] != key { slot = (slot + 1) & (keys.count - 1) }
    return slot
  }

  subscript(key: UInt64) -> UInt64? {
    get {
      let slot = slot(key)
      return keys[slot] == key ? values[slot] : nil
    }
    set {
      let slot = slot(key)
      keys[slot] = key
      values[slot] = newValue ?? 0
    }
  }

  var machine: String { "\(keys.machine.memoryUsed >> 20) MiB" }
}

final class Store: Sendable {
  private let table = Mutex(Table())
  /// The store as it is now: an assignment, whatever its size.
  func snapshot() -> Table { table.withLock { $0 } }
  func transfer(_ amount: UInt64, from: UInt64, to: UInt64) {
    table.withLock {
      $0[from] = ($0[from] ?? 1000) - amount
      $0[to] = ($0[to] ?? 1000) + amount
    }
  }
}

let accounts: ClosedRange<UInt64> = 1...20_000
let store = Store()
for account in accounts { store.transfer(0, from: account, to: account) }

await withTaskGroup(of: Void.self) { group in
  group.addTask {
    for step in 0..<50_000 as Range<UInt64> {
      store.transfer(1, from: step % 20_000 + 1, to: step * 7 % 20_000 + 1)
    }
  }
  for _ in 0..<20 {
    group.addTask {
      // The sum never changes. A request that saw half a transfer would find another one.
      let snapshot = store.snapshot()
      let sum = accounts.reduce(0) { $0 + (snapshot[$1] ?? 0) }
      precondition(sum == 20_000 * 1000, "a snapshot holds \(sum)")
    }
  }
}
print("20 requests summed 20,000 accounts during 50,000 transfers; each saw a moment")
print("memory in use: \(store.snapshot().machine)")
