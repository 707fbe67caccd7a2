public import Checkpoints
import Glibc
public import Logging
import HugeMemory
import NBDServer

/// Carries out the requests of the command line on connections of the control socket.
public struct ControlServer: Sendable {
  package let disks: Disks
  package let directory: RuntimeDirectory
  package let log: Logger
  /// Seconds that a client has to end a line that it has begun, and to take an answer.
  public var patience = 30
  /// Returns the level of memory pressure and its cause, which `stat` and `top` show. Set it before the
  /// server takes its first request.
  public var pressure: @Sendable () -> (level: String, cause: String?) = { ("normal", nil) }

  /// Returns what keeps the disks when the server ends; nil if they end with it. Set it as `pressure`.
  public var survival: @Sendable () -> ServerStatus.Survival? = { nil }
  /// Hands everything over to a process at the other end of a socket, which it takes; nil if the disks
  /// would not outlive that. Throws the reason why not.
  public var handOver: (@Sendable (Int32) throws(ControlError) -> Void)?

  /// Ends imports, exports and forks that are under way when the server stops.
  public var stop: StopEvent?
  package let slots = MessageSlots()
  package let checkpoints: Checkpoints

  public init(
    disks: Disks, directory: RuntimeDirectory, log: Logger, checkpoints: Checkpoints? = nil
  ) {
    self.disks = disks
    self.checkpoints = checkpoints ?? Checkpoints(machine: disks.machine)
    self.directory = directory
    self.log = log
  }

  /// Serves one client until it is gone.
  public func serve(_ place: Place) {
    var channel = Channel(
      socket: place.socket, lineLimit: Channel.requestLimit, patience: patience, slots: slots)
    let held = HeldByClient(disks)
    guard isAllowed(place) else {
      try? channel.send(ControlResponse.failure(message: Self.notAllowed))
      return
    }
    while true {
      do {
        place.offer()
        guard let request = try channel.receive(ControlRequest.self) else { return }
        place.keep()
        if request.listsAll && disks.count > MessageSlots.fewDisks { try channel.takeSlot() }
        let caller = Caller(socket: place.socket, stop: stop?.descriptor ?? -1)
        let file = channel.takeFile()
        let response = answer(request, file, caller, held) { part in
          // If the client is gone, the work finds that out itself.
          try? channel.send(part)
        }
        if case .failure(let message) = response {
          let isWanted = (try? caller.check()) != nil
          log.notice(
            isWanted ? "refused" : "cancelled",
            metadata: ["request": "\(request.summary)", "reason": "\(message)"])
        } else {
          log.debug("done", metadata: ["request": "\(request.summary)"])
        }
        try channel.send(response)
        channel.giveSlot()
      } catch {
        try? channel.send(ControlResponse.failure(message: error.description))
        return
      }
    }
  }

  /// Whether the client may do anything here. The directory lets nobody else in. This holds even if it
  /// was opened by mistake.
  package func isAllowed(_ place: Place) -> Bool {
    guard let user = Socket.user(of: place.socket), user != getuid(), user != 0 else { return true }
    log.notice("refused", metadata: ["user": "\(user)", "reason": "not the server's user"])
    return false
  }
  package static let notAllowed = "only the server's user and root may do this"

  /// Carries out a request, with the file that came with it. Errors become responses.
  public func answer(
    _ request: ControlRequest, _ file: OpenFile? = nil, _ caller: Caller = .none,
    progress: DiskFile.Progress
  ) -> ControlResponse {
    answer(request, file, caller, HeldByClient(disks)) { part in
      if case .progress(let done, let total) = part { progress(done, total) }
    }
  }

  /// `report` gets the parts of the answer that come before its end.
  private func answer(
    _ request: ControlRequest, _ file: OpenFile?, _ caller: Caller, _ held: HeldByClient,
    report: (ControlResponse) -> Void
  ) -> ControlResponse {
    do {
      return try perform(request, file, caller, held, report)
    } catch {
      return .failure(message: "\(error)")
    }
  }

  /// Carries out a request. `held` is what its connection has, and `report` gets the parts of the answer that
  /// come before its end. Closes the file: who has the answer can unmount its file system.
  package func perform(
    _ request: ControlRequest, _ file: OpenFile?, _ caller: Caller, _ held: HeldByClient,
    _ report: (ControlResponse) -> Void
  ) throws -> ControlResponse {
    func progress(_ done: UInt64, _ total: UInt64) { report(.progress(done: done, total: total)) }
    defer { file?.close() }
    switch request {
    case .create(let name, let size, let limits, let options):
      try disks.create(
        name, size: size, limits: limits ?? DiskLimits(), options: options ?? DiskOptions())
    case .fork(let source, let names, let limits, let options):
      try disks.fork(
        source, names: names, limits: limits ?? DiskLimits(), options: options ?? DiskOptions()
      ) { () throws(DiskError) in
        do { try caller.check() } catch { throw .cancelled(reason: "\(error)") }
      }
    case .importFile(let name, let path, let limits, let size, let options):
      let source =
        try file.map { try ImageSource($0, name: path) } ?? ImageSource(path: path, streams: false)
      try disks.load(
        name, from: source, size: size, limits: limits ?? DiskLimits(),
        options: options ?? DiskOptions(), caller: caller, progress: progress)
    case .exportFile(let name, let path):
      let disk = try disks.lookup(name)
      let target =
        try file.map { try ExportFile($0, name: path) } ?? ExportFile(path: path, streams: false)
      // Save a fork, which has the contents of one moment while clients go on writing.
      let fork = try disk.space.fork()
      try bringAll(of: [fork], of: name, caller)
      try DiskFile.save(
        fork, size: disk.size, to: target.file, name: path, caller: caller,
        progress: progress)
      // If the client sent an open file, the client commits it. This does so if it sent only a
      // path.
      try target.commit()
    case .exportChanges(let name, let path):
      return try exportChanges(name, path, file, caller, report)
    case .changes(let ranges): try held.add(ranges)
    case .importChanges(
      let name, let path, let origin, let size, let originSize, let limits, let options):
      try importChanges(
        name, path, file, onto: origin, size, originSize, limits, options, held.takeRanges(),
        caller, progress)
    case .holdView(let name): return held.hold(try disks.holdView(of: name))
    case .holdEmpty(let size, let limits):
      return held.hold(try disks.holdEmpty(size: size, limits: limits ?? DiskLimits()))
    case .publish(let export, let name, let options):
      try held.publish(export, as: name, options ?? DiskOptions())
    case .reset(let name): try disks.reset(name)
    case .rename(let name, let new): try disks.rename(name, to: new)
    case .set(let name, let options): try disks.set(name, options)
    case .resize(let name, let size, let shrinks):
      try disks.resize(name, to: size, shrinks: shrinks)
    case .remove(let names): try disks.remove(names)
    case .list: return .disks(disks.list().map(status))
    case .stat(let name):
      let chosen = try name.map { [try disks.lookup($0)] } ?? disks.list()
      return .status(serverStatus(chosen))
    case .shrink: return .freed(bytes: shrink())
    case .limit(let name, let quota, let reserve):
      try disks.limit(name, quota: quota ?? .keep, reserve: reserve ?? .keep)
      return .disks([status(try disks.lookup(name))])
    case .limitMemory(let bytes):
      if let bytes { try disks.machine.limitMemory(bytes) }
      return .memory(MemoryStatus(disks.machine))
    case .tune(let changes): return .knobs(try tune(changes))
    }
    return .done
  }

  /// Gives back all that can be given back now. Returns how many bytes were freed.
  package func shrink() -> UInt64 {
    let machine = disks.machine
    let freed = machine.reclaim() + machine.shrink()
    machine.trim(all: true)
    return freed
  }

  package func tune(_ changes: [KnobValue]) throws -> [KnobValue] {
    var checked: [(Knob, String)] = []
    var trial = disks.machine.policy
    for change in changes {
      guard let knob = Knob(rawValue: change.name) else {
        let names = Knob.allCases.map(\.rawValue).joined(separator: ", ")
        throw ControlError("there is no knob \(change.name); use one of: \(names)")
      }
      guard trial.set(knob, to: change.value) else {
        throw ControlError("\(change.name) cannot be \(change.value); use one of: \(knob.domain)")
      }
      checked.append((knob, change.value))
    }
    disks.machine.tune { policy in
      for (knob, value) in checked { _ = policy.set(knob, to: value) }
    }
    let policy = disks.machine.policy
    return Knob.allCases.map { KnobValue(name: $0.rawValue, value: policy.value(of: $0)) }
  }

  package func status(_ disk: Disk) -> DiskStatus {
    let usage = disk.space.usage()
    let limits = disk.limits
    return DiskStatus(
      name: disk.name, size: disk.size, data: usage.data, shared: usage.shared,
      huge: usage.huge, zero: usage.zero, own: usage.own,
      quota: limits.quota, reserve: limits.reserve, charge: disk.charge,
      origin: disk.origin, hasOrigin: disks.hasOrigin(disk),
      originSize: disk.originSize, isReadOnly: disk.settings.isReadOnly,
      description: disk.settings.description.isEmpty ? nil : disk.settings.description,
      connections: disk.connections, bytesRead: disk.traffic.bytesRead,
      bytesWritten: disk.traffic.bytesWritten, uri: directory.uri(disk.name))
  }

  package func serverStatus(_ chosen: [Disk]) -> ServerStatus {
    let machine = disks.machine
    let pressure = pressure()
    return ServerStatus(
      disks: chosen.map(status), memoryLimit: machine.limit, memoryUsed: machine.memoryUsed,
      memoryPromised: machine.memoryPromised,
      memoryGivenBack: machine.bytesGivenBack, memoryByKind: machine.memoryByKind,
      residentMemory: residentMemory(), pressure: pressure.level, pressureCause: pressure.cause,
      zeroPageReferences: machine.zeroPageReferences,
      counters: machine.counters.map { ServerStatus.Counter(name: $0.name, value: $0.value) },
      survival: survival(),
      loading: disks.late.map {
        let progress = $0.progress
        return ServerStatus.Loading(
          pieces: progress.pieces, left: progress.left, failed: progress.failed)
      })
  }
}

extension Machine {
  /// The uses of memory. Their sum is `memoryUsed`, except that the figures are not read at the
  /// same moment.
  fileprivate var memoryByKind: [ServerStatus.Kind] {
    let used = memoryUsed
    let zeroPage = zeroPageReferences == 0 ? 0 : min(used, 2 << 20)
    let tables = min(used - zeroPage, memoryTables)
    return [
      ServerStatus.Kind(name: "data", bytes: used - zeroPage - tables),
      ServerStatus.Kind(name: "tables", bytes: tables),
      ServerStatus.Kind(name: "zero page", bytes: zeroPage),
    ]
  }
}

extension Disks {
  /// Creates a disk from an image. The disk gets its name only when it is complete. `size` is the
  /// disk's size, if that is not the image's.
  public func load(
    _ name: String, from source: ImageSource, size: UInt64? = nil,
    limits: DiskLimits = DiskLimits(), options: DiskOptions = DiskOptions(),
    caller: Caller = .none, progress: DiskFile.Progress
  ) throws {
    try checkFree(name)
    let image = try DiskFile.load(
      source, size: size, into: machine, caller: caller, progress: progress
    ) { space in
      try limits.apply(to: space, named: name)
    }
    try add(name, space: image.space, size: image.size, options: options)
  }
}

extension ControlRequest {
  /// Whether the answer lists all disks, so that its length grows with their number.
  fileprivate var listsAll: Bool {
    switch self {
    case .list, .stat(name: nil): true
    default: false
    }
  }
}
