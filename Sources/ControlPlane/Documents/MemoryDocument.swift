import HugeMemory

/// The server's memory, in bytes.
package struct MemoryDocument: Codable {
  package let limit: UInt64
  package let capacity: UInt64
  package let used: UInt64
  package let promised: UInt64
  package let resident: UInt64
  package let givenBack: UInt64
  package let kinds: [String: UInt64]
  package let pressure: Pressure
  package let zeroPageReferences: UInt32
  package let counters: [String: UInt64]
  package let survival: ServerStatus.Survival?
  package let loading: ServerStatus.Loading?

  package struct Pressure: Codable {
    package let level: String
    package let cause: String?
  }
}

extension MemoryDocument {
  package init(_ status: ServerStatus, capacity: UInt64) {
    limit = status.memoryLimit
    self.capacity = capacity
    used = status.memoryUsed
    promised = status.memoryPromised
    resident = status.residentMemory
    givenBack = status.memoryGivenBack
    kinds = Dictionary(
      uniqueKeysWithValues: status.memoryByKind.map {
        ($0.name == "zero page" ? "zeroPage" : $0.name, $0.bytes)
      })
    pressure = Pressure(level: status.pressure, cause: status.pressureCause)
    zeroPageReferences = status.zeroPageReferences
    survival = status.survival
    counters = Dictionary(uniqueKeysWithValues: status.counters.map { ($0.name, $0.value) })
    loading = status.loading
  }
}

extension ServerStatus {
  /// Counters come in the order of `/proc/vmstat`; those of a newer server come last.
  package init(_ memory: MemoryDocument, disks: [DiskStatus]) {
    let known = Machine.counterNames
    let names = known + memory.counters.keys.filter { !known.contains($0) }.sorted()
    self.init(
      disks: disks, memoryLimit: memory.limit, memoryUsed: memory.used,
      memoryPromised: memory.promised, memoryGivenBack: memory.givenBack,
      memoryByKind: [("data", "data"), ("tables", "tables"), ("zero page", "zeroPage")].map {
        Kind(name: $0, bytes: memory.kinds[$1] ?? 0)
      },
      residentMemory: memory.resident, pressure: memory.pressure.level,
      pressureCause: memory.pressure.cause, zeroPageReferences: memory.zeroPageReferences,
      counters: names.compactMap { name in
        memory.counters[name].map { Counter(name: name, value: $0) }
      }, survival: memory.survival, loading: memory.loading)
  }
}

extension MemoryStatus {
  package init(_ memory: MemoryDocument) {
    (limit, capacity) = (memory.limit, memory.capacity)
    (used, promised) = (memory.used, memory.promised)
  }
}
