import Primitives

/// Watches how short of memory this process is. It uses every source that the machine offers: PSI
/// of the machine and of the control group, limit events of cgroup v2, pressure levels of cgroup
/// v1, and the group's use against its limit.
///
/// One thread waits for all sources. The kernel reports only rises, so a level holds until no
/// source has reported it for `Options.decay` (plus the window of a PSI source), and then falls.
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
/// You may use all of it from any thread. When the monitor is released, its thread, its sequences
/// and its observations end with it.
public final class PressureMonitor: Sendable {
  /// What a monitor watches, and what it takes for pressure.
  public struct Options: Sendable {
    /// PSI triggers, for the machine and for the group. By default, 150 ms of `some` stalls in 2 s
    /// mean `medium` and 100 ms of `full` stalls in 2 s mean `critical`. That is between Android's
    /// lmkd, which begins to kill at 70 ms in 1 s, and the 200 ms in 2 s of systemd's
    /// `MemoryPressureThresholdSec`.
    public var stalls = [
      StallTrigger(.some, .milliseconds(150), in: .seconds(2), means: .medium),
      StallTrigger(.full, .milliseconds(100), in: .seconds(2), means: .critical),
    ]
    /// How full the group may be. By default, 90 % of its limit mean `medium` and 97 % `critical`.
    public var usage = UsageThresholds(medium: 0.9, critical: 0.97)
    /// How often the group's use is read, if it has a limit. Without a limit, the thread wakes only
    /// for events.
    public var interval = Duration.milliseconds(100)
    /// How long a level holds after a source last reported it.
    public var decay = Duration.seconds(2)
    /// The kinds of source to try.
    public var kinds = Set(PressureSource.Kind.allCases)
    /// Whether it is an error if no source can be used. If false, the level of such a monitor is
    /// always normal.
    public var requiresSource = false
    /// The defaults.
    public init() {}
  }

  private let core: PressureCore

  /// Opens all available sources and starts the thread. Throws if the thread cannot start, or if no
  /// source can be used and `requiresSource` is set.
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
    // Not joined: the last reference may be released on this thread, inside an observation's body.
    thread.detach()
    self.core = core
  }

  deinit { core.end() }

  /// The present level. Costs one atomic load.
  public var level: PressureLevel { core.level }

  /// The source that last reported the present level; nil if the level is normal.
  public var cause: PressureSource? { core.cause }

  /// The sources in use. One that fails moves to `unavailable`.
  public var sources: [PressureSource] { core.sources }

  /// The sources that are not in use, each with the reason.
  public var unavailable: [UnavailableSource] { core.unavailable }

  /// Why the last wait for events failed; nil if it succeeded. The monitor tries again after each
  /// interval. Events stay pending in the meantime: they arrive late but are not lost.
  public var waitFailure: PressureError? { core.waitFailure }

  /// A new subscription. It yields the present level and then each change. A slow consumer misses
  /// changes but always gets the newest. The sequence ends with the monitor, or with the task that
  /// iterates it.
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

  /// Calls `body` on the monitor's thread with the present level and then with each change, until
  /// the observation is cancelled or released. A slow body delays all other subscribers.
  public func observe(_ body: @escaping @Sendable (PressureLevel) -> Void) -> PressureObservation {
    PressureObservation(core, core.add(body, end: {}))
  }
}

/// A subscription made by `PressureMonitor.observe`. Its body is called for as long as it is alive.
public final class PressureObservation: Sendable {
  private let core: PressureCore
  private let token: UInt64

  init(_ core: PressureCore, _ token: UInt64) {
    self.core = core
    self.token = token
  }

  deinit { cancel() }

  /// Ends the observation. Once this returns, the body does not run and never will again. If the
  /// body itself calls it, the present run is the last. Do not hold a lock that the body may wait
  /// for.
  public func cancel() {
    core.remove(token)
    core.waitForDelivery()
  }
}
