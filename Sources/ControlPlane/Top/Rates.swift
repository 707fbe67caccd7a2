/// Rates per second between two states of a server. A rate is nil if there was no earlier figure,
/// or if a counter went back, since another server answers now.
struct Rates {
  private let seconds: Double
  private let counters: [String: UInt64]
  private let disks: [String: DiskStatus]
  private let memoryGivenBack: UInt64

  /// Nil without an earlier status, or if no time has passed since.
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
