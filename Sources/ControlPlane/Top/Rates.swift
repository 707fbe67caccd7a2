/// What happened a second between two looks at a server. Nil where it cannot be said: there was no
/// look before, or a counter went back, so another server answers now.
struct Rates {
  private let seconds: Double
  private let counters: [String: UInt64]
  private let disks: [String: DiskStatus]
  private let memoryGivenBack: UInt64

  /// Nil without a status before, or without time between.
  init?(since previous: ServerStatus?, seconds: Double) {
    guard let previous, seconds > 0 else { return nil }
    self.seconds = seconds
    counters = Dictionary(
      previous.counters.map { ($0.name, $0.value) }, uniquingKeysWith: { first, _ in first })
    disks = Dictionary(
      previous.disks.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    memoryGivenBack = previous.memoryGivenBack
  }

  func of(_ counter: ServerStatus.Counter) -> UInt64? {
    rate(counter.value, counters[counter.name])
  }
  func givenBack(_ status: ServerStatus) -> UInt64? {
    rate(status.memoryGivenBack, memoryGivenBack)
  }
  func read(_ disk: DiskStatus) -> UInt64? { rate(disk.bytesRead, disks[disk.name]?.bytesRead) }
  func written(_ disk: DiskStatus) -> UInt64? {
    rate(disk.bytesWritten, disks[disk.name]?.bytesWritten)
  }

  private func rate(_ value: UInt64, _ before: UInt64?) -> UInt64? {
    guard let before, value >= before else { return nil }
    return UInt64((Double(value - before) / seconds).rounded())
  }
}
