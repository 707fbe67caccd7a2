/// Sets a machine's limit when the limit is not a constant.
protocol MemoryBudget: Sendable {
  /// The most that the machine may use now, in bytes.
  var limit: UInt64 { get }
  /// Sets the most that `limit` may be, in bytes. Returns the old value; 0 if none was set.
  @discardableResult func setCeiling(_ bytes: UInt64) -> UInt64
  /// Looks at how much memory there is now, and grants the machine some of it.
  func follow(_ machine: Machine)
}
