package import Checkpoints
import HugeMemory
import Logging
import NBDServer

// Disks of a checkpoint that are served while their contents are loaded.
extension Disks {
  /// Brings the disks of a checkpoint back, and loads their contents from then on. Returns the number of
  /// disks.
  package func restoreLazily(
    from directory: CheckpointDirectory, _ checkpoints: Checkpoints, _ log: Logger
  ) throws -> Int {
    let (disks, loading) = try checkpoints.loadLazily(from: directory) { event in
      switch event {
      case .failed(let disk, let error):
        log.error(
          "a part of a disk cannot be loaded", metadata: ["disk": "\(disk)", "reason": "\(error)"])
      case .noMemory(let limit):
        log.warning(
          "no memory for the rest of the checkpoint; loading goes on when there is some",
          metadata: ["limit": "\(ByteSize(limit))"])
      case .whole: log.notice("the checkpoint is loaded")
      }
    }
    if let loading { bring(by: LoadingContents(loading)) }
    do { try add(disks) } catch {
      loading?.stop()
      throw error
    }
    return disks.count
  }
}

/// A loading as the disks see it.
private final class LoadingContents: LateContents {
  private let loading: Loading

  init(_ loading: Loading) { self.loading = loading }

  var isWhole: Bool { loading.isWhole }

  var progress: (pieces: Int, left: Int, failed: Int) {
    let progress = loading.progress
    return (progress.pieces, progress.left, progress.failed)
  }

  func bring(_ range: Range<UInt64>, of space: AddressSpace) throws(LateError) {
    do throws(CheckpointError) { try loading.bring(range, of: space) } catch {
      throw Self.late(error)
    }
  }

  func bringFirst(_ range: Range<UInt64>, of space: AddressSpace) throws(LateError) -> UInt64 {
    do throws(CheckpointError) { return try loading.bringFirst(range, of: space) } catch {
      throw Self.late(error)
    }
  }

  func bringAll(of space: AddressSpace, check: () throws -> Void) throws {
    try loading.bringAll(of: space, check: check)
  }

  private static func late(_ error: CheckpointError) -> LateError {
    if case .outOfMemory(let limit) = error { return .noMemory(limit: limit) }
    return .unreadable("\(error)")
  }
}

extension ControlServer {
  /// Returns when the contents of spaces are there that are about to be read as a whole.
  func bringAll(of spaces: [AddressSpace], of disk: String, _ caller: Caller) throws {
    guard let late = disks.late else { return }
    for space in spaces {
      do { try late.bringAll(of: space, check: caller.check) } catch let error as CheckpointError {
        throw ControlError("disk \"\(disk)\": a part of it is not loaded: \(error)")
      }
    }
  }
}

extension ServerStatus {
  /// How far the loading of a checkpoint is, in pieces of 2 MiB.
  public struct Loading: Codable, Sendable, Equatable {
    public var pieces: Int
    /// Those that are still to be loaded, and those of them that could not be.
    public var left: Int
    public var failed: Int
  }

  /// For people.
  package var loadingSummary: String? {
    loading.map { loading in
      "\(loading.left) of \(loading.pieces) pieces of 2 MiB are still to be loaded"
        + (loading.failed == 0 ? "" : ", and \(loading.failed) of them cannot be; the log says why")
    }
  }
}
