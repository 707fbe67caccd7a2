/// The machine's physical memory, in bytes, from `/proc/meminfo`.
public struct MemoryTotals: Sendable, Equatable {
  /// What the kernel can use of the memory (`MemTotal`).
  public let total: UInt64
  /// The kernel's estimate of what can be allocated without swapping (`MemAvailable`).
  public let available: UInt64

  /// Reads the file, which takes some microseconds.
  public init(in tree: FileTree = .system) throws(PressureError) {
    let path = tree.path("/proc/meminfo")
    let text = try tree.contents(of: "/proc/meminfo")
    func bytes(_ name: String) throws(PressureError) -> UInt64 {
      let (value, overflow) = (text.number(after: name) ?? 0).multipliedReportingOverflow(by: 1024)
      guard value > 0, !overflow else {
        throw .malformed(path: path, found: text.start, expected: "a line \(name)")
      }
      return value
    }
    total = try bytes("MemTotal:")
    available = try bytes("MemAvailable:")
  }
}
