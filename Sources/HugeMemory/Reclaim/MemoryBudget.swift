/// Where a machine's limit comes from when it is not a constant.
protocol MemoryBudget: Sendable {
  /// The most that the machine may use now, in bytes.
  var limit: UInt64 { get }
  /// Returns the old one; 0: none was set.
  @discardableResult func setCeiling(_ bytes: UInt64) -> UInt64
  /// Looks at what can be had now, and grants the machine some of it.
  func follow(_ machine: Machine)
}
