import ArgumentParser
import Checkpoints
import ControlPlane
import Glibc
import HTTPAPI
import HugeMemory
import Logging
import MemoryPressure
import NBDServer
import TLS

struct Serve: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Serve disks until SIGINT or SIGTERM.",
    discussion: """
      The first SIGINT or SIGTERM stops the server within a second: clients are disconnected and the \
      disks are gone, unless you use --survive. A second one ends the process at once. SIGHUP loads the TLS credentials \
      and the rules again, if there are any, and stops nothing, so the disks stay when the terminal closes.
      """)
  @OptionGroup var server: ServerOptions
  @Option(
    help:
      "The memory limit for all disks together, for example 8G (default: the control group's limit, else half of the machine's memory). The server never uses more than the system can spare."
  )
  var memory: ByteSize?
  @Option(help: ArgumentHelp("Start with an empty disk. Repeatable.", valueName: "name=size"))
  var create: [String] = []
  @Option(
    name: .customLong("import"),
    help: ArgumentHelp("Start with a disk from a raw image. Repeatable.", valueName: "name=file"))
  var imports: [String] = []
  @Option(
    help: ArgumentHelp(
      "Start with the disks of the checkpoint in this directory.", valueName: "dir"),
    completion: .directory)
  var restore: String?
  @Flag(
    help:
      "With --restore: serve the disks at once, and load what they hold meanwhile. Whoever needs a part that is not there yet waits for it."
  )
  var lazy = false
  @Option(
    help: ArgumentHelp(
      "A file in TOML with options: each key is the name of one without its dashes, for example create = [\"golden=10G\"]. The command line counts instead of it.",
      valueName: "file"), completion: .file(extensions: ["toml"]))
  var config: String?
  @Flag(help: "Check the options and the files that they name, and serve nothing.")
  var check = false
  @OptionGroup(title: "Disks that outlive the server") var survival: SurviveOptions
  @OptionGroup(title: "Listening") var listening: ListenOptions
  @OptionGroup(title: "HTTP") var http: HTTPOptions
  @Option(
    help: ArgumentHelp(
      "Who may do what with which disks; see `hugemem rules`. SIGHUP loads it again. (default: on Unix sockets the server's user and root may do everything, and nobody else; on TCP every client may)",
      valueName: "file"), completion: .file())
  var rules: String?
  @OptionGroup(title: "Limits of clients") var connections: ConnectionOptions
  @Option(
    help: "Least level of the log on standard error: trace, debug, info, notice, warning or error.")
  var logLevel: String = "notice"
  @Option(help: ArgumentHelp("Format of the log: text, logfmt or json.", valueName: "format"))
  var logFormat: LogFormat = .text

  func validate() throws {
    if Logger.Level(rawValue: logLevel) == nil {
      throw ValidationError("--log-level \(logLevel): no such level")
    }
    if lazy, restore == nil {
      throw ValidationError("--lazy: needs --restore, whose checkpoint it loads")
    }
    if lazy, survival.isOn {
      throw ValidationError(
        "--lazy: a crash while it loads would leave disks in the memory that lack data; leave out --lazy, or --survive and --memory-file"
      )
    }
    for text in create {
      guard let (_, size) = pair(text), ByteSize(size) != nil else {
        throw ValidationError("--create \(text): write NAME=SIZE, for example data=10G")
      }
    }
    for text in imports where pair(text) == nil {
      throw ValidationError("--import \(text): write NAME=FILE")
    }
  }

  func run() throws {
    if check { return try checkOptions() }
    var directory = RuntimeDirectory(server.directory)
    let taken =
      try survival.takeover
      ? Takeover(from: directory, path: survival.memoryFile) : nil
    let lock = try taken?.lock ?? directory.lock(patience: survival.isOn ? 3000 : 0)
    defer { close(lock) }
    // This also runs if the start fails. The sockets are this server's while it holds the lock.
    let sockets = SocketFiles(taken?.listeners ?? OpenListeners())
    let clean: @Sendable () -> Void = { sockets.remove() }
    defer { clean() }
    let signals = StopSignals(atExit: clean)
    raiseDescriptorLimit()
    let lines = LogQueue(descriptor: STDERR_FILENO, format: logFormat)
    // If the start fails, its error comes after what led to it, and not within.
    defer { lines.flush(within: 100) }
    var log = Logger(label: "hugemem") { _ in ServiceLogHandler(lines) }
    log.logLevel = Logger.Level(rawValue: logLevel) ?? .notice

    let activation = try SocketActivation()
    let tls = try listening.context()
    let token = try http.token()
    let access = AccessControl(
      try rules.map { try RulesFile.load($0) } ?? .standard(user: getuid()))
    let pressure = try pressureMonitor(log)
    // Clients that come before there is anything to serve wait.
    let own = try activation.unix("nbd") ?? sockets.listen(directory.diskSocket)
    directory.diskSocket = own.address
    let others = activation.listeners("nbd").filter { $0.descriptor != own.descriptor }
    let listeners = try [own] + listening.checked(others) + listening.listeners(noting: sockets)
    let pages =
      try http.checked(activation.listeners("http"), listening, hasToken: token != nil)
      + http.listeners(listening, hasToken: token != nil, from: sockets.open)
    let administration =
      try activation.unix("control") ?? sockets.listen(directory.controlSocket)
    let options = MachineOptions(
      limit: limit, capacity: capacity, background: background(pressure))
    let prepared = try taken?.prepare(options)
    if let taken {
      do { try checkDisks(unless: taken.disks(within: limit)) } catch {
        throw ControlError("\(error); the other server goes on")
      }
      try taken.complete()
    }
    sockets.keepTaken()
    let survivor = try survival.obtain(
      in: directory, from: taken, stored: activation.memory, room: limit, log)
    let (disks, overhead) = try registry(survivor, prepared, options, access, log)
    let machine = disks.machine
    let checkpoints = Checkpoints(machine: machine)
    try fill(disks, checkpoints, log)

    let acceptor = Acceptor(log: log, limits: connections.limits(overhead, secure: tls != nil))
    let nbd = Server(
      disks: disks, log: log, acceptor: acceptor, timeouts: connections.timeouts,
      overhead: overhead)
    func security(_ listener: Listener) -> Security {
      tls.map { Security(listening.mode(for: listener), $0) } ?? .none
    }
    for listener in listeners { try nbd.serve(listener, security: security(listener)) }
    signals.onReload { ServiceManager.reloading() }
    if let rules {
      signals.onReload { [log] in
        do {
          access.change(to: try RulesFile.load(rules))
          log.notice("rules loaded again", metadata: ["file": "\(rules)"])
        } catch {
          log.error("the rules stay as they were", metadata: ["reason": "\(error)"])
        }
      }
    }
    if let tls {
      signals.onReload { [log] in
        do throws(TLSError) {
          try tls.reload()
          log.notice("TLS credentials loaded again")
        } catch {
          log.error("TLS credentials stay as they were", metadata: ["reason": "\(error)"])
        }
      }
    }
    guard let stop = StopEvent() else { throw ControlError("no descriptor is left") }
    var control = ControlServer(
      disks: disks, directory: directory, log: log, checkpoints: checkpoints)
    control.stop = stop
    control.pressure = { ("\(pressure.level)", pressure.cause?.description) }
    if let survivor {
      control.survival = { [kept = survivor.kept] in
        .init(keptBy: kept.keeper, memory: kept.file.explanation, room: kept.file.room)
      }
      let handover = Handover(
        lock: lock, memory: survivor.kept.file, listeners: listeners + pages + [administration],
        acceptor: acceptor, log: log, lines: lines)
      control.handOver = { socket throws(ControlError) in try handover.begin(on: socket) }
    }
    let api = API(control, acceptor: acceptor)
    try acceptor.accept(on: administration, as: .control) { api.serve($0) }
    for listener in pages {
      let security = security(listener)
      try acceptor.accept(on: listener, as: .http) {
        api.serve($0, token: token, security: security)
      }
    }
    let status = "\(disks.count) disks, memory limit \(ByteSize(machine.limit))"
    signals.onReload { ServiceManager.ready(status) }
    signals.onFirst { [log] signal in
      ServiceManager.stopping()
      log.info("stopping", metadata: ["signal": "\(signal)"])
      stop.signal()
      // Work that is still going on, or that hangs in a system call, ends with the process.
      acceptor.stop(within: 500)
      clean()
      lines.flush(within: 100)
      _exit(0)
    }
    announce(disks, directory, listeners, pages)
    ServiceManager.ready(status)
    while true { pause() }
  }

  /// The registry, with the disks that an earlier server left. Nothing else refers to these, so that one
  /// that is removed gives its memory back.
  @inline(never)
  private func registry(
    _ survivor: SurvivingMemory?, _ prepared: Machine?, _ options: MachineOptions,
    _ access: AccessControl, _ log: Logger
  ) throws -> (Disks, Overhead) {
    let recovered = try survivor?.recover(prepared, options, log)
    let kept = unsafe recovered.map { unsafe Unmanaged.passRetained($0) }
    let machine = try recovered?.machine ?? machine(options)
    let overhead = connections.overhead(memory: memory?.bytes ?? machine.limit)
    let disks = Disks(
      machine: machine, directory: survivor?.directory, connectForks: connections.connectForks,
      limit: min(connections.maxDisks, overhead.disks), access: access, log: log)
    if let recovered {
      try recovered.restore(to: disks)
      try machine.startThread(of: options.background)
    }
    // If the start fails before this, or later, the process ends with them: a space that ends alone would
    // give back memory that the next server has to find.
    if let kept = unsafe kept {
      _ = unsafe Unmanaged.passRetained(disks)
      unsafe kept.release()
    }
    return (disks, overhead)
  }

  /// Makes the machine. Disks use memory to the page, which is the library's default. Dense data
  /// still gets huge frames: a write of a whole 2 MiB takes one, and the background makes one of
  /// 512 pages that are all present and shared with nobody.
  private func machine(_ options: MachineOptions) throws -> Machine {
    do {
      return try Machine(
        limit: options.limit, capacity: options.capacity, background: options.background)
    } catch {
      throw ControlError("--memory \(memory.map { "\($0)" } ?? "by default"): \(error)")
    }
  }

  /// The budget sets the limit. The machine's whole memory is the capacity, since a control group's limit
  /// can be lifted.
  var limit: UInt64 { memory?.bytes ?? Self.totalMemory }
  private var capacity: UInt64 { max(memory?.bytes ?? 0, Self.totalMemory) }
  private static let totalMemory = (try? MemoryTotals())?.total ?? 1 << 40

  private func background(_ pressure: PressureMonitor) -> Machine.Background {
    .own(budget: SystemBudget(ceiling: memory?.bytes), pressure: pressure)
  }

  /// Monitors memory pressure outside of this process. The budget watches what the process itself
  /// uses of its control group.
  private func pressureMonitor(_ log: Logger) throws -> PressureMonitor {
    var options = PressureMonitor.Options()
    options.kinds.remove(.usage)
    let monitor = try PressureMonitor(options: options)
    for source in monitor.unavailable {
      log.info("pressure source is unavailable", metadata: ["source": "\(source)"])
    }
    return monitor
  }

  private func announce(
    _ disks: Disks, _ directory: RuntimeDirectory, _ listeners: [Listener], _ pages: [Listener]
  ) {
    print("hugemem: ready, memory limit \(ByteSize(disks.machine.limit)), in \(directory.path)")
    for disk in disks.list() {
      print("  \(disk.name), \(ByteSize(disk.size)): \(directory.uri(disk.name))")
    }
    print("  any disk, or a fork of it: \(directory.uri("NAME")) NAME@FORK NAME@")
    for listener in listeners.dropFirst() { print("  \(announcement(of: listener))") }
    for listener in pages {
      let isSecure = listening.mode(for: listener) == .required
      print("  status page: \(isSecure ? "https" : "http")://\(listener.address)/")
    }
    fflush(nil)
  }

  private func announcement(of listener: Listener) -> String {
    let mode = listening.mode(for: listener)
    let scheme = mode == .required ? "nbds" : "nbd"
    let uri =
      switch listener.kind {
      case .unix: "by Unix socket: \(RuntimeDirectory.uri("NAME", socket: listener.address))"
      case .tcp: "over TCP: \(scheme)://\(listener.address)/NAME"
      case .vsock: "over vsock: \(scheme)+vsock://2:\(listener.address)/NAME"
      }
    return uri + (mode == .allowed ? " (or with TLS)" : "")
  }

  /// Raises the limit of descriptors as far as allowed, since each client takes one.
  private func raiseDescriptorLimit() {
    var limit = rlimit()
    guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }
}

extension LogFormat: ExpressibleByArgument {}
