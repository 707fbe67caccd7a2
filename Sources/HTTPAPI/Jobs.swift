import CLinux
import ControlPlane
import Glibc
import Logging
import NBDServer
import Primitives
import Synchronization

/// Work that takes longer than a client may wait. The last jobs stay, so that one can ask how they ended.
///
/// - Thread safety: you may call every method on any thread.
final class Jobs: Sendable {
  /// The most jobs at the same time, and the most that stay.
  static let mostRunning = 16
  static let mostKept = 256

  struct Job: Encodable, Sendable {
    var id: String
    var kind: String
    var disk: String
    var state = State.running
    /// In bytes. A total of 0 means that it is unknown.
    var done: UInt64 = 0
    var total: UInt64 = 0
    /// Why it failed.
    var code: Problem.Code?
    var detail: String?

    enum State: String, Encodable { case running, done, failed, cancelled }
  }

  private struct Table {
    var jobs: [Job] = []
    var last = 0
    /// The other end of the socket of each running job: to cancel the job is to shut it down.
    var cancels: [String: OpenFile] = [:]
  }

  private let stop: Int32
  private let log: Logger
  private let table = Mutex(Table())

  init(stop: Int32, log: Logger) { (self.stop, self.log) = (stop, log) }

  var all: [Job] { table.withLock { $0.jobs } }

  func find(_ id: String) throws(Problem) -> Job {
    guard let job = table.withLock({ $0.jobs.first { $0.id == id } }) else {
      throw Problem(404, .noSuchJob, "no job has this id; GET /v1/jobs lists the last ones")
    }
    return job
  }

  /// Begins a job on a thread of its own.
  func start(
    _ kind: String, _ disk: String,
    _ work: @escaping @Sendable (Caller, @escaping DiskFile.Progress) throws -> Void
  ) throws -> Job {
    var ends: [Int32] = [-1, -1]
    guard
      unsafe socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0
    else { throw Problem(503, .tooMany, "no descriptor is left for a job; try again") }
    // The caller of a job is at the other end of this socket. To cancel the job, it goes.
    let (near, far) = (OpenFile(ends[0]), OpenFile(ends[1]))
    let job = try table.withLock { table throws(Problem) in
      guard table.cancels.count < Self.mostRunning else {
        throw Problem(
          429, .tooMany, "\(Self.mostRunning) jobs are running; wait for one, or cancel one")
      }
      table.last += 1
      let job = Job(id: "\(table.last)", kind: kind, disk: disk)
      table.jobs.append(job)
      table.cancels[job.id] = far
      if table.jobs.count > Self.mostKept,
        let oldest = table.jobs.firstIndex(where: { $0.state != .running })
      {
        table.jobs.remove(at: oldest)
      }
      return job
    }
    log.info("job started", metadata: ["job": "\(job.id)", "kind": "\(kind)", "disk": "\(disk)"])
    let caller = Caller(socket: near.descriptor, stop: stop, gone: "the job was cancelled")
    let thread = WorkerThread { [self] in
      do {
        try work(caller) { done, total in
          self.update(job.id) { ($0.done, $0.total) = (done, total) }
        }
        end(job.id, .done)
      } catch {
        let isCancelled = (try? caller.check()) == nil
        end(job.id, isCancelled ? .cancelled : .failed, Problem(error))
      }
      _ = near
    }
    guard let thread else {
      end(job.id, .failed, Problem(503, .tooMany, "no thread for a job"))
      return try find(job.id)
    }
    thread.detach()
    return job
  }

  /// Asks a job to end. Returns it as it is now.
  func cancel(_ id: String) throws -> Job {
    let job = try find(id)
    table.withLock { if let far = $0.cancels[id] { shutdown(far.descriptor, Int32(SHUT_RDWR)) } }
    return job
  }

  private func update(_ id: String, _ change: (inout Job) -> Void) {
    table.withLock { table in
      guard let index = table.jobs.lastIndex(where: { $0.id == id }) else { return }
      change(&table.jobs[index])
    }
  }

  private func end(_ id: String, _ state: Job.State, _ problem: Problem? = nil) {
    update(id) { ($0.state, $0.code, $0.detail) = (state, problem?.code, problem?.detail) }
    _ = table.withLock { $0.cancels.removeValue(forKey: id) }
    var metadata: Logger.Metadata = ["job": "\(id)"]
    if let problem { metadata["reason"] = "\(problem.detail)" }
    log.info("job \(state.rawValue)", metadata: metadata)
  }
}
