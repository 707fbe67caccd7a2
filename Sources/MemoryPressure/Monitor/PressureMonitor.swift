import Primitives

/// Tells how short of memory this process is, from all that the machine offers: PSI of the machine
/// and of the control group, the events of v2's limits, v1's pressure levels, and the group's use
/// against its limit.
///
/// One thread waits for all of them. The kernel tells only of rises, so a level holds until nothing
/// told of it for `Options.decay` (and a PSI window), and then falls.
///
/// ```swift
/// let monitor = try PressureMonitor()
/// for await level in monitor.levels where level >= .medium { cache.removeAll() }
/// ```
///
/// or, without Swift concurrency,
///
/// ```swift
/// let observation = monitor.observe { level in if level >= .medium { cache.removeAll() } }
/// ```
///
/// All of it may be used from any thread. The monitor ends when it is released, and with it its
/// thread, its sequences and its observations.
public final class PressureMonitor: Sendable {
  public struct Options: Sendable {
    /// PSI triggers, for the machine and for the group. By default 150 ms of stalls of some, and
    /// 100 ms of all, in 2 s: between the 70 ms in 1 s at which Android's lmkd begins to kill and the
    /// 200 ms in 2 s of systemd's `MemoryPressureThresholdSec`.
    public var stalls = [
      StallTrigger(.some, .milliseconds(150), in: .seconds(2), means: .medium),
      StallTrigger(.full, .milliseconds(100), in: .seconds(2), means: .critical),
    ]
    public var usage = UsageThresholds(medium: 0.9, critical: 0.97)
    /// How often the use is looked at, if there is a limit. Without one the thread only wakes for
    /// events.
    public var interval = Duration.milliseconds(100)
    /// How long a level holds after the last that told of it.
    public var decay = Duration.seconds(2)
    /// Which kinds of source are tried.
    public var kinds = Set(PressureSource.Kind.allCases)
    /// Whether a monitor without any source is an error. Else its level is always normal.
    public var requiresSource = false
    public init() {}
  }

  private let core: PressureCore

  /// Opens all sources that there are, and starts the thread. It fails if that cannot start, or if
  /// there are no sources and `requiresSource` is set.
  public init(in tree: FileTree = .system, options: Options = Options()) throws(PressureError) {
    let found = SourceFinder(options, in: tree)
    if options.requiresSource, found.watches.isEmpty { throw .noSource(found.unavailable) }
    let core = PressureCore(
      wake: try .eventCounter(tree.calls), sources: found.watches.map(\.source),
      unavailable: found.unavailable)
    let loop = MonitorLoop(core, found.watches, options)
    let thread = WorkerThread {
      var loop = loop
      loop.run()
    }
    guard let thread else { throw .noThread }
    // Not joined: the last reference may go on that very thread, inside an observation's body.
    thread.detach()
    self.core = core
  }

  deinit { core.end() }

  /// The level of now: one atomic load.
  public var level: PressureLevel { core.level }

  /// Which source told last of the level of now; nil if that is normal.
  public var cause: PressureSource? { core.cause }

  /// What tells of pressure now. One that dies goes to `unavailable`.
  public var sources: [PressureSource] { core.sources }

  /// What does not, and why.
  public var unavailable: [UnavailableSource] { core.unavailable }

  /// Why the last wait for events failed; nil if it did not. It is tried again at each interval:
  /// events stay pending meanwhile, and are not lost but late.
  public var waitFailure: PressureError? { core.waitFailure }

  /// A new subscription: the level of now, then each change. Who is slow gets the newest. It ends
  /// with the monitor, or with the task that iterates it.
  public var levels: AsyncStream<PressureLevel> {
    AsyncStream(bufferingPolicy: .bufferingNewest(1)) { continuation in
      let token = core.add {
        continuation.yield($0)
      } end: {
        continuation.finish()
      }
      continuation.onTermination = { [core] _ in core.remove(token) }
    }
  }

  /// Calls `body` on the monitor's thread with the level of now and then with each change, until the
  /// observation is cancelled or released. A body that takes long keeps the others waiting.
  public func observe(_ body: @escaping @Sendable (PressureLevel) -> Void) -> PressureObservation {
    PressureObservation(core, core.add(body, end: {}))
  }
}

/// Keeps a body being called; see `PressureMonitor.observe`.
public final class PressureObservation: Sendable {
  private let core: PressureCore
  private let token: UInt64

  init(_ core: PressureCore, _ token: UInt64) {
    self.core = core
    self.token = token
  }

  deinit { cancel() }

  /// Once this returns, the body is not running and never will again; called by the body itself, it
  /// is its last run. It must not be called with a lock held that the body waits for.
  public func cancel() {
    core.remove(token)
    core.waitForDelivery()
  }
}
