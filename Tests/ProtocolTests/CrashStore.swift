import Interleave

/// A small store of disks in memory that survives its process: the rules of the engine's durable
/// roots, on two disks of one frame each.
///
/// ```
///   survives   names  1 = the disk is there      frames  the contents
///              roots  the frame of each disk     told    what the client of each disk knows
///   is lost    locks, counts of references, which frames are allocated
/// ```
///
/// - A disk is published by one store, to its name, after its root and its frame are filled.
/// - A root changes by one store, after the new frame is filled. Only then is the old one dropped.
/// - A name is cleared before the disk's frame is dropped.
/// - A client is told by a store with release, as by a system call, so what it is told is there.
/// - Recovery trusts names and roots alone. It counts the references itself.
final class CrashStore: Sendable {
  /// A bug that breaks one of the rules.
  enum Planted: CaseIterable {
    case publishedBeforeFilled, nameBeforeRoot, freedBeforeUnpublished, trustedCounts
    case publishedWithoutRelease, toldWithoutRelease
  }

  private final class Disk: Sendable {
    let name: ModelWord, root: ModelWord
    /// What the client was told last, and what it has asked for: the contents, or 0 for no disk.
    let told: ModelWord, asked: ModelWord
    let lock: ModelLock

    init(_ number: Int) {
      name = surviving { ModelWord(0, name: "name \(number)") }
      root = surviving { ModelWord(0, name: "root \(number)") }
      told = surviving { ModelWord(0, name: "told \(number)") }
      asked = surviving { ModelWord(0, name: "asked \(number)") }
      lock = ModelLock(name: "lock \(number)")
    }
  }

  private final class Count: Sendable {
    let word: ModelWord
    init(_ frame: Int, survives: Bool) {
      let name = "count \(frame)"
      word = survives ? surviving { ModelWord(0, name: name) } : ModelWord(0, name: name)
    }
  }

  private static let capacity = 4
  private let frames = surviving { ModelHeap(capacity: CrashStore.capacity) }
  private let disks = [Disk(0), Disk(1)]
  private let counts: [Count]
  private let planted: Planted?

  init(_ planted: Planted? = nil) {
    self.planted = planted
    counts = (0...Self.capacity).map { Count($0, survives: planted == .trustedCounts) }
  }

  private var publication: MemoryOrder { planted == .publishedWithoutRelease ? .relaxed : .release }

  // MARK: Operations

  /// One request of a client to a disk: what it asks for, what is done, and the reply.
  private func serve(_ disk: Disk, _ contents: UInt64, _ body: () -> Void) {
    disk.asked.store(contents, .release)
    body()
    disk.told.store(contents, planted == .toldWithoutRelease ? .relaxed : .release)
  }

  private func take(filledWith contents: UInt64) -> UInt32 {
    guard let frame = frames.allocate() else { fatalError("the store is too small") }
    counts[Int(frame)].word.store(1, .relaxed)
    if planted != .publishedBeforeFilled { frames.store(frame, contents) }
    return frame
  }

  private func drop(_ frame: UInt32) {
    if counts[Int(frame)].word.subtract(1, .acquireRelease) == 1 { frames.free(frame) }
  }

  private func publish(_ disk: Disk, _ root: UInt32) {
    if planted == .nameBeforeRoot { disk.name.store(1, publication) }
    disk.root.store(UInt64(root), publication)
    if planted != .nameBeforeRoot { disk.name.store(1, publication) }
  }

  func create(_ number: Int, _ contents: UInt64) {
    let disk = disks[number]
    disk.lock.lock()
    defer { disk.lock.unlock() }
    guard disk.name.load(.relaxed) == 0 else { return }
    serve(disk, contents) {
      let frame = take(filledWith: contents)
      publish(disk, frame)
      if planted == .publishedBeforeFilled { frames.store(frame, contents) }
    }
  }

  /// Both disks have one frame until one of them is written.
  func fork(_ from: Int, to number: Int) {
    let origin = disks[from], disk = disks[number]
    origin.lock.lock()
    defer { origin.lock.unlock() }
    disk.lock.lock()
    defer { disk.lock.unlock() }
    guard origin.name.load(.relaxed) == 1, disk.name.load(.relaxed) == 0 else { return }
    let root = UInt32(origin.root.load(.relaxed))
    serve(disk, frames.load(root)) {
      counts[Int(root)].word.add(1, .relaxed)
      publish(disk, root)
    }
  }

  /// Writes into the disk's frame, or into a new one if another disk has the frame too.
  func write(_ number: Int, _ contents: UInt64) {
    let disk = disks[number]
    disk.lock.lock()
    defer { disk.lock.unlock() }
    guard disk.name.load(.relaxed) == 1 else { return }
    serve(disk, contents) {
      let root = UInt32(disk.root.load(.relaxed))
      guard counts[Int(root)].word.load(.acquire) > 1 else {
        return frames.store(root, contents)
      }
      let frame = take(filledWith: contents)
      if planted == .freedBeforeUnpublished { drop(root) }
      disk.root.store(UInt64(frame), publication)
      if planted == .publishedBeforeFilled { frames.store(frame, contents) }
      if planted != .freedBeforeUnpublished { drop(root) }
    }
  }

  func remove(_ number: Int) {
    let disk = disks[number]
    disk.lock.lock()
    defer { disk.lock.unlock() }
    guard disk.name.load(.relaxed) == 1 else { return }
    serve(disk, 0) {
      let root = UInt32(disk.root.load(.relaxed))
      if planted == .freedBeforeUnpublished { drop(root) }
      disk.name.store(0, publication)
      if planted != .freedBeforeUnpublished { drop(root) }
    }
  }

  // MARK: After a crash

  /// What the next process has: the frame of each disk, and how many disks have each frame.
  struct Recovered {
    var roots: [UInt32?] = []
    var counts = [UInt64](repeating: 0, count: CrashStore.capacity + 1)
  }

  /// Marks from the roots of the named disks.
  func recover() -> Recovered {
    var recovered = Recovered()
    for disk in disks {
      guard disk.name.load(.acquire) == 1 else {
        recovered.roots.append(nil)
        continue
      }
      let root = UInt32(disk.root.load(.acquire))
      check(root != 0, "a disk without a root")
      _ = frames.claim(root)
      recovered.roots.append(root)
      recovered.counts[Int(root)] += 1
    }
    if planted == .trustedCounts {
      recovered.counts = counts.map { $0.word.load(.acquire) }
    }
    return recovered
  }

  /// Every disk has what its client was told, or what it has asked for since. Then every disk is
  /// dropped, and nothing is left.
  func verify(_ recovered: Recovered) {
    var counts = recovered.counts
    for (disk, root) in zip(disks, recovered.roots) {
      let contents = root.map { frames.load($0) } ?? 0
      check(root == nil || contents != 0, "a disk that was not filled")
      let told = disk.told.load(.acquire), asked = disk.asked.load(.acquire)
      check(
        contents == told || contents == asked, "\(contents), but told \(told), asked \(asked)")
    }
    for root in recovered.roots.compactMap({ $0 }) {
      check(counts[Int(root)] > 0, "a frame has more disks than references")
      counts[Int(root)] -= 1
      if counts[Int(root)] == 0 { frames.free(root) }
    }
    check(frames.liveCount == 0, "a frame leaked")
  }
}
