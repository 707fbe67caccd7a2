/// Where a machine's limit comes from when it is not a constant.
protocol MemoryBudget: Sendable {
  /// Sets the machine's limit to what can be had now. `frames`: as many are wanted just now.
  func follow(_ machine: Machine, for frames: Int)
}
