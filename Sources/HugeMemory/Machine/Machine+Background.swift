import MemoryPressure

extension Machine {
  /// Makes a machine. This reserves address space; memory is committed as it is used.
  ///
  /// - Parameters:
  ///   - limit: The most memory that it uses, in bytes: data, page tables and the zero page together.
  ///     2 MiB to 8 TiB. With a budget it is the budget that sets the limit.
  ///   - capacity: What `setLimit` may raise the limit to, in bytes; `limit` if nil.
  ///   - policy: How it pages. The default uses memory to the page; `Policy.linux` does as Linux does.
  ///   - background: Who looks after it. By default a thread of its own, which ends with the machine.
  /// - Throws: `invalidSize`; `system` where address space or a thread cannot be had.
  /// - Complexity: O(1): some system calls, one of which starts the thread.
  public convenience init(
    limit: UInt64, capacity: UInt64? = nil, policy: Policy = Policy(),
    background: Background = .own
  ) throws(MemoryError) {
    try self.init(limit: limit, capacity: capacity, policy: policy, grace: .shared)
    guard background.isOwn else { return }
    if let budget = background.budget {
      self.budget = budget
      budget.follow(self)
    }
    guard let thread = BackgroundThread(self, pressure: background.pressure) else {
      throw .system(call: "pthread_create", errno: 11)
    }
    companion = thread
  }

  /// Who does what does itself by and by (`kswapd` and `khugepaged` in one): gives free memory back to
  /// the system, within half a second; frees the zero page once nobody has held it for a second;
  /// reclaims from the low watermark up to the high one, and when others are short of memory;
  /// collapses dense memory into huge frames when nobody is.
  public struct Background: Sendable {
    let isOwn: Bool
    var budget: SystemBudget?
    var pressure: PressureMonitor?

    /// A thread that the machine starts, and that ends with the machine's last reference.
    public static var own: Background { Background(isOwn: true) }

    /// The same thread, which also looks at what is outside of this process.
    ///
    /// - Parameters:
    ///   - budget: From the start on, the machine's limit is what the system can spare.
    ///   - pressure: Tells of pressure, which is answered by giving memory back.
    public static func own(
      budget: SystemBudget? = nil, pressure: PressureMonitor? = nil
    ) -> Background {
      Background(isOwn: true, budget: budget, pressure: pressure)
    }

    /// Nobody: for measurements and for those who do it themselves. Writes still reclaim before they are
    /// refused. What else there is to do by hand: `settle`, `trim`, `shrink`, `reclaim(untilFree:)`
    /// and a `CollapseScanner`.
    public static var none: Background { Background(isOwn: false) }
  }
}
