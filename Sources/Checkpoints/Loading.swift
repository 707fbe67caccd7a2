import Frames
import HugeMemory
import Primitives

/// Brings the contents of a checkpoint into memory while its disks are in use.
///
/// The spaces have all their upper tables from the beginning. A piece of 2 MiB that is not there yet is
/// *absent*: a table of level 1 without entries, or a huge frame that is not filled. That is a property
/// of the frame. So whatever shares the frame, a fork that was made in the meantime too, shares the piece
/// when it comes, and nothing has to be done for each of them.
///
/// Whoever is about to use a range of a space calls `bring` first: it loads the range's absent pieces, or
/// waits for the thread that does. A thread in the background loads the rest in order. This is sound,
/// because
///
/// - the loading holds forks of all spaces of the checkpoint until its end. So an absent frame gets no
///   other use, and no space owns it: nobody but the loader changes it.
/// - a piece of a space that is there never becomes absent again, as long as nobody gives the space other
///   tables. A reset does, so it waits for all of what it resets to.
/// - the scanners leave such frames alone (`Machine.holdContents`).
///
/// Locks: `lock` is held for no I/O and while nothing waits for memory. Those of the arena come after it.
/// Callers hold no lock of a space.
///
/// - Thread safety: you may call every method on any thread.
@safe package final class Loading: @unchecked Sendable {
  // Sendable: (C), (A), and (L) as said at each field.

  /// What a loading tells of.
  package enum Event: Sendable {
    /// A piece of the disk cannot be loaded. Comes once for each file and disk.
    case failed(disk: String, CheckpointError)
    /// There is no memory for the rest now.
    case noMemory(limit: UInt64)
    /// All is there.
    case whole
  }

  /// How far it is.
  package struct Progress: Sendable, Equatable {
    /// All pieces of 2 MiB, those that are still absent, and those of them that could not be loaded.
    package var pieces: Int
    package var left: Int
    package var failed: Int
  }

  /// A piece of 2 MiB that is absent.
  struct Piece {
    var slot: TreeReader.AbsentSlot
    /// The first disk that has it.
    var disk: String
    var state = State.absent
    enum State {
      case absent
      /// A thread is loading it.
      case loading
      /// It is absent for good, or until its file can be read again.
      case failed(CheckpointError)
    }
  }

  let machine: Machine
  let arena: Arena
  let lock = WaitingLock()
  /// (A) 1 when all is there. `release` when it is set, which pairs with the `acquire` of `isWhole`: who
  /// sees it also sees all contents.
  private let whole = AtomicWord(0)
  /// (C)
  private let report: @Sendable (Event) -> Void
  private let count: Int

  /// (L) lock: the absent pieces, by the frame of their table or contents.
  var pieces: [FrameNumber: Piece]
  /// (L) lock: those of them that could not be loaded.
  private var failed: Set<FrameNumber> = []
  /// (L) lock: the frames of the pages so far.
  var frames: PageFrames
  /// (L) lock: pages of data that a thread is reading.
  var reading: Set<UInt32> = []
  /// (L) lock: nil at the end, which closes the files.
  var reader: PageReader?
  /// (L) lock: pieces that clients wait for. The background lets them go first.
  private var urgent = 0
  private var isStopped = false
  private var isBackgroundDone = false
  /// (L) lock: what was reported: files by disk.
  private var reported: Set<String> = []
  /// (L) lock: forks of all spaces. At the end they are what the next checkpoint goes on from.
  private var forks: [AddressSpace]
  private var atEnd: ((PageNumbers, [AddressSpace]) -> Void)?

  /// `slots` are what `spaces` lack, each with the name of a disk, in the order in which to load them. The
  /// caller has called `Machine.holdContents`.
  init(
    _ slots: [(slot: TreeReader.AbsentSlot, disk: String)], of spaces: [AddressSpace],
    frames: PageFrames, reader: PageReader, machine: Machine,
    report: @escaping @Sendable (Event) -> Void,
    atEnd: @escaping (PageNumbers, [AddressSpace]) -> Void
  ) throws {
    (self.machine, arena) = (machine, machine.frames)
    (self.frames, self.reader) = (frames, reader)
    (self.report, self.atEnd) = (report, atEnd)
    count = slots.count
    pieces = Dictionary(
      uniqueKeysWithValues: slots.map { ($0.slot.frame, Piece(slot: $0.slot, disk: $0.disk)) })
    forks = try AddressSpace.forkTogether(spaces)
    let order = slots.map(\.slot.frame)
    guard let thread = WorkerThread({ self.loadAll(order) }) else {
      throw CheckpointError.file("the checkpoint", call: "make a thread to load", errno: 11)
    }
    thread.detach()
  }

  /// Whether all is there. It stays so.
  package var isWhole: Bool { whole.load(.acquire) != 0 }

  package var progress: Progress {
    lock.withLock { Progress(pieces: count, left: pieces.count, failed: failed.count) }
  }

  /// Makes the background end, with the pieces absent that are. For tests.
  package func stop() {
    lock.withLock {
      isStopped = true
      lock.wakeAll()
    }
  }

  // MARK: What is about to be used

  /// Returns when all of a range is there.
  package func bring(
    _ range: Range<UInt64>, of space: AddressSpace
  ) throws(CheckpointError) {
    var at = range.lowerBound
    while let (slot, frame) = space.nextMapped(in: at..<max(at, range.upperBound)) {
      try bring(frame, isUrgent: true)
      at = slot + UInt64(FrameGeometry.hugeSize)
    }
  }

  /// Returns when the first 2 MiB of a range are there: the end of the part of the range that is.
  package func bringFirst(
    _ range: Range<UInt64>, of space: AddressSpace
  ) throws(CheckpointError) -> UInt64 {
    let huge = UInt64(FrameGeometry.hugeSize)
    let first = min((range.lowerBound | (huge - 1)) + 1, range.upperBound)
    try bring(range.lowerBound..<first, of: space)
    var at = first
    while let (slot, frame) = space.nextMapped(in: at..<range.upperBound) {
      if lock.withLock({ pieces[frame] != nil }) { return slot }
      at = slot + huge
    }
    return range.upperBound
  }

  /// Returns when all of a space is there. `check` is called between pieces, and throws to stop.
  package func bringAll(of space: AddressSpace, check: () throws -> Void) throws {
    var at: UInt64 = 0
    while let (slot, frame) = space.nextMapped(in: at..<max(at, space.size)) {
      try check()
      try bring(frame, isUrgent: true)
      at = slot + UInt64(FrameGeometry.hugeSize)
    }
  }

  /// Returns when a piece is there: loads it, or waits for the thread that does.
  private func bring(_ frame: FrameNumber, isUrgent: Bool) throws(CheckpointError) {
    guard let piece = try claim(frame, isUrgent: isUrgent) else { return }
    var failure: CheckpointError?
    do throws(CheckpointError) { try load(piece.slot) } catch { failure = error }
    let isLast = lock.withLock {
      if isUrgent { urgent -= 1 }
      switch failure {
      case nil:
        pieces[frame] = nil
        failed.remove(frame)
      case .outOfMemory: pieces[frame]?.state = .absent
      case .some(let error):
        pieces[frame]?.state = .failed(error)
        failed.insert(frame)
      }
      lock.wakeAll()
      return pieces.isEmpty && isBackgroundDone
    }
    if isLast { finish() }
    guard let failure else { return }
    if case .outOfMemory = failure { throw failure }
    tell(of: failure, disk: piece.disk)
    throw failure
  }

  /// Takes a piece to load. Nil if it is there by now.
  private func claim(
    _ frame: FrameNumber, isUrgent: Bool
  ) throws(CheckpointError) -> Piece? {
    try lock.withLock { () throws(CheckpointError) in
      while let piece = pieces[frame] {
        switch piece.state {
        case .loading:
          lock.wait()
          continue
        // A file that could not be read may be there again. Damage stays.
        case .failed(.file) where isUrgent: break
        case .failed(let error): throw error
        case .absent: break
        }
        pieces[frame]?.state = .loading
        if isUrgent { urgent += 1 }
        return piece
      }
      return nil
    }
  }

  private func tell(of failure: CheckpointError, disk: String) {
    let file: String
    switch failure {
    case .file(let name, _, _), .damaged(let name, _): file = name
    default: file = ""
    }
    if lock.withLock({ reported.insert("\(disk) \(file)").inserted }) {
      report(.failed(disk: disk, failure))
    }
  }

  // MARK: The background

  private func loadAll(_ order: [FrameNumber]) {
    var isShort = false
    var next = order.startIndex
    while next < order.endIndex {
      guard letOthersGoFirst() else { return }
      do throws(CheckpointError) { try bring(order[next], isUrgent: false) } catch .outOfMemory {
        // Clients may discard something, or somebody raise the limit.
        if !isShort { report(.noMemory(limit: machine.limit)) }
        isShort = true
        lock.withLock { lock.wait(microseconds: 200_000) }
        continue
      } catch {}
      isShort = false
      next += 1
    }
    let isLast = lock.withLock {
      isBackgroundDone = true
      return pieces.isEmpty
    }
    if isLast { finish() }
  }

  /// Waits while pieces are loaded for clients, but not for ever: one of them may hang in a bad file.
  /// Returns false if the background has to end.
  private func letOthersGoFirst() -> Bool {
    lock.withLock {
      if urgent > 0 && !isStopped { lock.wait(microseconds: 50_000) }
      return !isStopped
    }
  }

  /// When all is there: leaves everything as if it had been loaded before the start.
  private func finish() {
    let (frames, forks, atEnd) = lock.withLock {
      defer {
        self.frames = PageFrames(pages: 0)
        (self.forks, self.atEnd, reader) = ([], nil, nil)
      }
      return (self.frames, self.forks, self.atEnd)
    }
    guard let atEnd else { return }
    machine.releaseContents()
    atEnd(frames.numbers(in: arena), forks)
    whole.store(1, .release)
    report(.whole)
  }
}
