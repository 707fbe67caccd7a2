public import Logging
import HugeMemory
import NBDServer

/// Does what the command line asks for, on connections of the control socket.
public struct ControlServer: Sendable {
  let disks: Disks
  let directory: RuntimeDirectory
  let log: Logger
  /// The level of memory pressure, as `stat` and `top` name it, and what told of it. Whoever watches
  /// memory sets it before the first request.
  public var pressure: @Sendable () -> (level: String, cause: String?) = { ("normal", nil) }

  public init(disks: Disks, directory: RuntimeDirectory, log: Logger) {
    self.disks = disks
    self.directory = directory
    self.log = log
  }

  /// One client, until it is gone.
  public func serve(socket: Int32) {
    var channel = Channel(socket: socket, lineLimit: Channel.requestLimit)
    while true {
      do {
        guard let request = try channel.receive(ControlRequest.self) else { return }
        let response = answer(request) { done, total in
          // Whether anybody still looks makes no difference to the work.
          try? channel.send(ControlResponse.progress(done: done, total: total))
        }
        if case .failure(let message) = response {
          log.notice("refused", metadata: ["request": "\(request)", "reason": "\(message)"])
        } else {
          log.debug("done", metadata: ["request": "\(request)"])
        }
        try channel.send(response)
      } catch {
        try? channel.send(ControlResponse.failure(message: error.description))
        return
      }
    }
  }

  /// Carries a request out; errors become responses.
  public func answer(
    _ request: ControlRequest, progress: DiskFile.Progress
  ) -> ControlResponse {
    do {
      return try perform(request, progress)
    } catch {
      return .failure(message: "\(error)")
    }
  }

  private func perform(
    _ request: ControlRequest, _ progress: DiskFile.Progress
  ) throws -> ControlResponse {
    switch request {
    case .create(let name, let size, let limits):
      try disks.create(name, size: size, limits: limits ?? DiskLimits())
    case .importFile(let name, let path, let limits):
      try disks.load(name, from: path, limits: limits ?? DiskLimits(), progress: progress)
    case .exportFile(let name, let path):
      // From a fork: the contents of one moment, while clients go on writing.
      try DiskFile.save(disks.lookup(name).space.fork(), to: path, progress: progress)
    case .fork(let source, let names, let limits):
      try disks.fork(source, names: names, limits: limits ?? DiskLimits())
    case .reset(let name): try disks.reset(name)
    case .remove(let names): try disks.remove(names)
    case .list: return .disks(disks.list().map(status))
    case .stat(let name):
      let chosen = try name.map { [try disks.lookup($0)] } ?? disks.list()
      return .status(serverStatus(chosen))
    case .shrink:
      let machine = disks.machine
      let freed = machine.reclaim() + machine.shrink()
      machine.trim(all: true)
      return .freed(bytes: freed)
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

  private func tune(_ changes: [KnobValue]) throws -> [KnobValue] {
    var checked: [(Knob, String)] = []
    var trial = disks.machine.policy
    for change in changes {
      guard let knob = Knob(rawValue: change.name) else {
        let names = Knob.allCases.map(\.rawValue).joined(separator: ", ")
        throw ControlError("there is no knob \(change.name); there are: \(names)")
      }
      guard trial.set(knob, to: change.value) else {
        throw ControlError("\(change.name) cannot be \(change.value); it is one of: \(knob.domain)")
      }
      checked.append((knob, change.value))
    }
    disks.machine.tune { policy in
      for (knob, value) in checked { _ = policy.set(knob, to: value) }
    }
    let policy = disks.machine.policy
    return Knob.allCases.map { KnobValue(name: $0.rawValue, value: policy.value(of: $0)) }
  }

  private func status(_ disk: Disk) -> DiskStatus {
    let usage = disk.space.usage()
    let (quota, reserve) = (disk.space.quota, disk.space.reserve)
    let charge = quota == nil && reserve == nil ? nil : disk.space.charge
    return DiskStatus(
      name: disk.name, size: disk.size, data: usage.data, shared: usage.shared,
      huge: usage.huge, zero: usage.zero, own: usage.own,
      quota: quota, reserve: reserve, charge: charge,
      origin: disk.origin, connections: disk.connections, bytesRead: disk.traffic.bytesRead,
      bytesWritten: disk.traffic.bytesWritten, uri: directory.uri(disk.name))
  }

  private func serverStatus(_ chosen: [Disk]) -> ServerStatus {
    let machine = disks.machine
    let pressure = pressure()
    return ServerStatus(
      disks: chosen.map(status), memoryLimit: machine.limit, memoryUsed: machine.memoryUsed,
      memoryPromised: machine.memoryPromised,
      memoryGivenBack: machine.bytesGivenBack, memoryByKind: machine.memoryByKind,
      residentMemory: residentMemory(), pressure: pressure.level, pressureCause: pressure.cause,
      zeroPageReferences: machine.zeroPageReferences,
      counters: machine.counters.map { ServerStatus.Counter(name: $0.name, value: $0.value) })
  }
}

extension Machine {
  /// Uses of memory; together, as far as they were read in one moment, `memoryUsed`.
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
  /// Creates a disk from an image, named only once it is whole.
  public func load(
    _ name: String, from path: String, limits: DiskLimits = DiskLimits(),
    progress: DiskFile.Progress
  ) throws {
    try checkFree(name)
    let space = try DiskFile.load(path, into: machine, progress: progress) { space in
      try limits.apply(to: space, named: name)
    }
    try add(name, space: space)
  }
}
