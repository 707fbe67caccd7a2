import MemoryPressure

extension Machine {
  /// Makes a machine. This reserves address space; memory is committed as it is used.
  ///
  /// - Parameters:
  ///   - limit: The most memory that the machine uses, in bytes: data, page tables and the zero
  ///     page together. 2 MiB to 8 TiB. With a budget, the budget sets the limit.
  ///   - capacity: The highest limit that `setLimit` can set, in bytes; `limit` if nil.
  ///   - policy: How the machine pages. The default uses memory to the page; `Policy.linux` does as
  ///     Linux does.
  ///   - background: What looks after the machine. The default is a thread of its own, which ends
  ///     with the machine.
  /// - Throws: `invalidSize`, or `system` if the system has no address space or no thread.
  /// - Complexity: O(1): some system calls, one of which starts the thread.
  public convenience init(
    limit: UInt64, capacity: UInt64? = nil, policy: Policy = Policy(),
    background: Background = .own
  ) throws(MemoryError) {
    try self.init(limit: limit, capacity: capacity, policy: policy, grace: .shared)
    try begin(background)
  }

  func begin(_ background: Background) throws(MemoryError) {
    follow(background.budget)
    try startThread(of: background)
  }

  func follow(_ budget: SystemBudget?) {
    guard let budget else { return }
    self.budget = budget
    budget.follow(self)
  }

  /// Starts the thread of a machine that was recovered.
  package func startThread(of background: Background) throws(MemoryError) {
    guard background.isOwn else { return }
    guard let thread = BackgroundThread(self, pressure: background.pressure) else {
      throw .system(call: "pthread_create", errno: 11)
    }
    companion = thread
  }

  /// The work that a machine does in the background, like `kswapd` and `khugepaged` in one. It
  /// gives free memory back to the system within half a second. It frees the zero page once nobody
  /// has held it for a second. It reclaims from the low watermark up to the high one, and when
  /// others are short of memory. When nobody is, it collapses dense memory into huge frames.
  public struct Background: Sendable {
    let isOwn: Bool
    var budget: SystemBudget?
    var pressure: PressureMonitor?

    /// A thread that the machine starts, and that ends with the machine's last reference. It also gives
    /// memory back when memory gets short on the computer or in the control group of this process. All
    /// machines of a process share the thread that watches for that, if the system has anything to watch.
    public static var own: Background { Background(isOwn: true, pressure: processMonitor) }

    private static let processMonitor = try? PressureMonitor()

    /// The same thread, which watches only what you name.
    ///
    /// - Parameters:
    ///   - budget: Sets the machine's limit to what the system can spare, from the start.
    ///   - pressure: Reports memory pressure. The machine then gives memory back.
    public static func own(
      budget: SystemBudget? = nil, pressure: PressureMonitor? = nil
    ) -> Background {
      Background(isOwn: true, budget: budget, pressure: pressure)
    }

    /// No background: for measurements, or if you do its work yourself. Writes still reclaim before
    /// they are refused. For the rest, call `settle`, `trim`, `shrink` and `reclaim(untilFree:)`,
    /// and use a `CollapseScanner`.
    public static var none: Background { Background(isOwn: false) }
  }
}
