import Glibc
public import HugeMemory
import Synchronization

/// Contents that a checkpoint saves: those of a disk at one point in time.
public struct DiskContents: Sendable {
  public var name: String
  /// In bytes.
  public var size: UInt64
  public var description: String
  public var isReadOnly: Bool
  /// In bytes; nil if it has none.
  public var quota: UInt64?
  public var reserve: UInt64?
  /// A fork that does not change.
  public var contents: AddressSpace
  public var origin: Origin?

  /// What the disk was forked from.
  public struct Origin: Sendable {
    public var name: String
    /// In bytes.
    public var size: UInt64
    /// The contents at the fork.
    public var contents: AddressSpace

    public init(name: String, size: UInt64, contents: AddressSpace) {
      (self.name, self.size, self.contents) = (name, size, contents)
    }
  }

  public init(
    name: String, size: UInt64, description: String, isReadOnly: Bool, quota: UInt64?,
    reserve: UInt64?, contents: AddressSpace, origin: Origin?
  ) {
    (self.name, self.size, self.description) = (name, size, description)
    (self.isReadOnly, self.quota, self.reserve) = (isReadOnly, quota, reserve)
    (self.contents, self.origin) = (contents, origin)
  }
}

/// Saves the disks of a machine to directories, and brings them back.
///
/// What it saved last stays in memory as forks, which cost what was written since. So the next checkpoint
/// to the same directory writes only that. When memory is short the forks go, and the next checkpoint
/// writes everything.
///
/// - Thread safety: you may call every method on any thread.
public final class Checkpoints: Sendable {
  /// What a checkpoint did.
  public struct Report: Sendable, Equatable {
    /// Counts the checkpoints of the directory.
    public var generation: Int
    public var disks: Int
    /// Bytes that were written, and bytes that the checkpoint has.
    public var written: UInt64
    public var total: UInt64
    /// Whether it only added to the last one.
    public var isIncremental: Bool
  }

  /// What the last checkpoint of a directory has.
  struct Base: Sendable {
    var directory: CheckpointDirectory.Identity
    var generation: Int
    /// The files: with the checksums of what is in them, so that no other checkpoint is taken for it.
    var segments: [Manifest.Segment]
    var numbers: PageNumbers
    /// These keep the frames that have numbers from getting another use.
    var spaces: [AddressSpace]

    init(
      _ manifest: Manifest, in directory: CheckpointDirectory, _ numbers: PageNumbers,
      _ spaces: [AddressSpace]
    ) {
      self.directory = directory.identity
      (generation, segments) = (manifest.generation, manifest.segments)
      (self.numbers, self.spaces) = (numbers, spaces)
    }
  }

  let machine: Machine
  let base = Mutex<Base?>(nil)
  private let isSaving = Mutex(false)

  public init(machine: Machine) {
    self.machine = machine
    machine.shrinkers.register(BaseShrinker(self))
  }

  /// Whether there is something to save, which memory would be freed without.
  var hasBase: Bool { base.withLock { $0 != nil } }

  /// Drops what the next checkpoint would build on.
  func dropBase() { take().map { _ in } }

  private func take() -> Base? {
    base.withLock { base in
      defer { base = nil }
      return base
    }
  }

  /// Writes a checkpoint beside the last one and puts it in its place. If it throws, the last one is as
  /// it was. `progress` gets the pages of 4 KiB written so far, and throws to stop.
  ///
  /// - Complexity: O(tables), and O(data written since the last checkpoint to this directory).
  public func save(
    _ disks: [DiskContents], to directory: CheckpointDirectory,
    progress: @escaping (UInt32) throws -> Void = { _ in }
  ) throws -> Report {
    guard
      isSaving.withLock({ isSaving in
        defer { isSaving = true }
        return !isSaving
      })
    else { throw CheckpointIsRunning() }
    defer { isSaving.withLock { $0 = false } }
    return try directory.locked { try replace(disks, in: directory, progress: progress) }
  }

  /// With the lock of the directory.
  private func replace(
    _ disks: [DiskContents], in directory: CheckpointDirectory,
    progress: @escaping (UInt32) throws -> Void
  ) throws -> Report {
    let last = try Manifest(lastIn: directory)
    if last == nil { try refuseOthers(in: directory) }
    clean(directory, keeping: last)
    var base = take()
    let pages = Int(last?.pages ?? 0)
    // With more garbage than pages in use, a new beginning is smaller.
    if base?.directory != directory.identity || base?.generation != last?.generation
      || base?.segments != last?.segments || last?.isThere(in: directory) != true
      || pages > 2 * (base?.numbers.count ?? 0) + 1024
    {
      base = nil
    }
    let generation = (last?.generation ?? 0) + 1
    let kept = base == nil ? [] : last?.segments ?? []
    let name = "pages.\(generation)"
    var isInPlace = false
    do {
      var writer = TreeWriter(
        try SegmentWriter(name, in: directory, first: base == nil ? 1 : UInt32(pages) + 1),
        arena: machine.frames, after: base?.numbers, progress: progress)
      var saved: [SavedDisk] = []
      for disk in disks {
        saved.append(
          SavedDisk(
            name: disk.name, size: disk.size, description: disk.description,
            isReadOnly: disk.isReadOnly, quota: disk.quota, reserve: disk.reserve,
            contents: try writer.add(disk.contents),
            origin: try disk.origin.map {
              SavedDisk.Origin(name: $0.name, size: $0.size, contents: try writer.add($0.contents))
            }))
      }
      let segment = try writer.finish()
      let numbers = writer.new
      var manifest = Manifest(generation: generation, segments: kept, disks: saved)
      if segment.pages > 0 { manifest.segments.append(segment) }
      try manifest.write(to: directory)
      isInPlace = true
      try directory.sync()
      clean(directory, keeping: manifest)
      let next = Base(
        manifest, in: directory, numbers,
        disks.flatMap { [$0.contents] + ($0.origin.map { [$0.contents] } ?? []) })
      self.base.withLock { $0 = next }
      return Report(
        generation: generation, disks: disks.count, written: UInt64(segment.pages) * 4096,
        total: UInt64(manifest.pages) * 4096, isIncremental: base != nil)
    } catch {
      // Unless it is in place, the last checkpoint does not know the file.
      if !isInPlace { directory.remove(name) }
      if let base { self.base.withLock { $0 = base } }
      throw error
    }
  }

  /// Throws if a directory without a checkpoint has other files than the first one leaves when it is
  /// interrupted, or a file system.
  private func refuseOthers(in directory: CheckpointDirectory) throws(CheckpointError) {
    let known = ["pages.1", Manifest.temporary, "lost+found"]
    let others = directory.names().filter { !$0.hasPrefix(".") && !known.contains($0) }
    if let name = others.min() { throw .notEmpty(name) }
  }

  /// Removes what the last checkpoint does not need: files of older ones, and of one that was interrupted.
  private func clean(_ directory: CheckpointDirectory, keeping last: Manifest?) {
    let needed = Set(last?.segments.map(\.name) ?? [])
    for name in directory.names()
    where Manifest.isSegment(name) && !needed.contains(name) || name == Manifest.temporary {
      directory.remove(name)
    }
  }

  /// Brings the disks of a directory's checkpoint back into memory. If it throws, nothing stays.
  /// `progress` gets the pages of 4 KiB read so far.
  ///
  /// - Complexity: O(data in the checkpoint)
  public func load(
    from directory: CheckpointDirectory, progress: @escaping (Int) -> Void = { _ in }
  ) throws -> [(disk: SavedDisk, contents: AddressSpace, origin: AddressSpace?)] {
    let manifest = try Manifest(in: directory)
    var reader = TreeReader(
      try PageReader(manifest, in: directory), machine: machine, progress: progress)
    var disks: [(disk: SavedDisk, contents: AddressSpace, origin: AddressSpace?)] = []
    for disk in manifest.disks {
      let contents = try reader.space(disk.contents)
      disks.append((disk, contents, try disk.origin.map { try reader.space($0.contents) }))
    }
    // The next checkpoint can go on from this one.
    let spaces = disks.flatMap { [$0.contents] + ($0.origin.map { [$0] } ?? []) }
    if let forks = try? AddressSpace.forkTogether(spaces) {
      let next = Base(
        manifest, in: directory, reader.frames.numbers(in: machine.frames), forks)
      base.withLock { $0 = next }
    }
    return disks
  }

  /// Reads all of a directory's checkpoint and checks it, without memory for its data. Returns the disks.
  ///
  /// - Complexity: O(bytes of its files)
  public static func check(_ directory: CheckpointDirectory) throws -> [SavedDisk] {
    let manifest = try Manifest(in: directory)
    let reader = try PageReader(manifest, in: directory)
    let page = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
    defer { unsafe page.deallocate() }
    for number in 0..<manifest.pages { try unsafe reader.read(number + 1, into: page) }
    return manifest.disks
  }
}

/// One checkpoint is written at a time.
public struct CheckpointIsRunning: Error, CustomStringConvertible {
  /// Another server writes it, to the same directory.
  var isOfAnotherServer = false
  public var description: String {
    isOfAnotherServer
      ? "another server is writing a checkpoint there; give each server a directory of its own"
      : "another checkpoint is being written; try again when it is done"
  }
}

/// Gives back what checkpoints keep in memory, before a write is refused.
private final class BaseShrinker: Shrinker {
  let name = "checkpoint"
  let seeks = 2
  let batch = 1
  private let checkpoints: Weak

  /// The machine outlives neither; it holds this.
  private final class Weak: Sendable {
    private let value: Mutex<Reference>
    struct Reference: Sendable { weak var checkpoints: Checkpoints? }
    init(_ checkpoints: Checkpoints) { value = Mutex(Reference(checkpoints: checkpoints)) }
    var checkpoints: Checkpoints? { value.withLock { $0.checkpoints } }
  }

  init(_ checkpoints: Checkpoints) { self.checkpoints = Weak(checkpoints) }

  func count() -> Int { checkpoints.checkpoints?.hasBase == true ? 1 : 0 }

  func scan(_ target: Int) -> Int? {
    guard let checkpoints = checkpoints.checkpoints, checkpoints.hasBase else { return 0 }
    checkpoints.dropBase()
    return 1
  }
}
