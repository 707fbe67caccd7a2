import Interleave

// Memory that survives a crash in the model: the frames of a memory file, the words of the durable
// roots, and one word with the names of the spaces that are there. Everything else of a process is
// lost, as in production: metadata, free lists, caches, locks, the grace period, the zero page.

/// The memory file of the execution; nil if its machine has none.
@safe nonisolated(unsafe) var memoryFile: MemoryFile?

/// Frames that a second machine maps again, at the same place. So the first one's words and cells
/// stay valid.
final class MemoryFile {
  fileprivate(set) var frames: Physical?
  /// Plants a bug: what the machine knows about its frames survives too, and the next one trusts it.
  let keepsMetadata: Bool
  var metadata: UnsafeMutablePointer<FrameMetadata>?
  init(keepsMetadata: Bool = false) { self.keepsMetadata = keepsMetadata }
  deinit { if let frames { unsafe UnsafeMutableRawPointer(bitPattern: frames.base)?.deallocate() } }

  func has(_ address: UnsafeMutableRawPointer) -> Bool {
    frames?.base == UInt(bitPattern: address)
  }
}

/// Reserves the frames on the first call. The next process gets them as they are.
public func hm_map_file(
  _: Int32, _: Int64, _ length: Int, _ huge: Int32
) -> UnsafeMutableRawPointer! {
  guard let memoryFile else { return nil }
  if let frames = memoryFile.frames { return UnsafeMutableRawPointer(bitPattern: frames.base) }
  let memory = surviving { hm_reserve(length, huge) }
  memoryFile.frames = physical
  return memory
}

/// A system call, so it comes after all that its caller wrote, and what it did is there.
@discardableResult
public func hm_punch(_ address: UnsafeMutableRawPointer!, _ length: Int) -> Int32 {
  _ = hm_give_back(address, length)
  AtomicWord.fence(.release)
  return 0
}

/// Recovery is one thread.
enum Parallel {
  static func run(_ body: () -> Void) { body() }
  static func each(_ range: Range<Int>, _ body: (Int) -> Void) { range.forEach(body) }
}

/// Plants a bug: where a durable root is stored, or a frame filled, later than in production.
enum Late {
  /// The root of a space in the file, at the end of the section that changed it; or at the end of the
  /// next one, in which what it no longer names is freed.
  case root, rootAfterFree
  /// A frame for a write, at the end of the section that published it.
  case fill
}
@safe nonisolated(unsafe) var plantsLate: Late?

/// What the planted bug has put off, for each thread.
@safe nonisolated(unsafe) private var putOff: [(thread: UInt64, ends: Int, store: () -> Void)] = []

/// Puts a store off until the running thread has ended so many sections.
func putOff(ends: Int, _ store: @escaping () -> Void) {
  putOff.append((currentThread(), ends, store))
}

/// Runs what a thread does under a lock, and what it has put off until the end of that.
func catchingUp<Result, Failure: Error>(
  _ body: () throws(Failure) -> Result
) throws(Failure) -> Result {
  let thread = currentThread()
  depth.value += 1
  defer {
    depth.value -= 1
    for index in putOff.indices where putOff[index].thread == thread { putOff[index].ends -= 1 }
    while let index = putOff.firstIndex(where: { $0.thread == thread && $0.ends <= 0 }) {
      putOff.remove(at: index).store()
    }
  }
  return try body()
}
/// Called at the end of an operation.
func catchUp() {
  guard !putOff.isEmpty else { return }
  let thread = currentThread()
  while let index = putOff.firstIndex(where: { $0.thread == thread }) {
    putOff.remove(at: index).store()
  }
}

/// Whether the thread holds a lock; only kept with a planted bug.
private let depth = ModelThreadLocal(0)
var isInSection: Bool { depth.value > 0 }
/// The word of a root, in the model.
public final class DurableRoot: @unchecked Sendable {
  private let word: AtomicWord
  init(name: String) { word = surviving { AtomicWord(0, name: name) } }

  func load() -> UInt64 { word.load(.relaxed) }

  /// Whether the table that the word names now will go.
  private func isOther(_ entry: Entry) -> Bool {
    let old = Entry(raw: word.peek)
    return old.kind == .table && old.frame != entry.frame
  }

  func store(_ entry: Entry) {
    switch plantsLate {
    case .root: putOff(ends: 1) { [self] in word.store(entry.raw, .release) }
    case .rootAfterFree where isOther(entry):
      putOff(ends: 2) { [self] in word.store(entry.raw, .release) }
    default: word.store(entry.raw, .release)
    }
  }
}

/// The machine of the first process, with its frames in a new memory file.
func makeFileEngine(frames: Int, keepsMetadata: Bool = false) -> Machine {
  putOff.removeAll()
  return makeEngine(frames: frames, in: MemoryFile(keepsMetadata: keepsMetadata))
}

/// The machine of the next process, which has not recovered yet.
func makeNextEngine(frames: Int) -> Machine {
  var policy = Policy.linux
  policy.enabled = .never
  let machine = try? Machine(
    limit: UInt64(frames) * pageSize, policy: policy, grace: GracePeriod(expedited: true),
    file: ArenaFile(descriptor: 0, offset: 0))
  return machine!
}
