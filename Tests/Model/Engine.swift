import Interleave

// The whole engine in a model: its unchanged sources (links in `Engine`), on a tiny machine.

/// A huge frame has two small frames, and a table has two entries.
public enum FrameGeometry {
  public static var frameShift: Int { 5 }
  public static var frameSize: Int { 1 << frameShift }
  public static var hugeOrder: Int { 1 }
  public static var framesPerHuge: Int { 1 << hugeOrder }
  public static var hugeSize: Int { frameSize << hugeOrder }
  /// Small, because a cache of the usual size would hold all memory, and every huge frame would
  /// have to be collected from it.
  static var cacheCapacity: Int { 2 }
  static var cacheBatch: Int { 1 }
}
public typealias FrameNumber = UInt32

/// Plants a bug: the engine takes none of its sleeping locks (history item 2).
@safe nonisolated(unsafe) var plantsNoLock = false

/// A sleeping lock. The checker's spin lock stands in for it, since both only make a thread wait.
public struct Lock: ~Copyable, Sendable {
  private let spin = SpinLock()
  public borrowing func withLock<Result, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    if plantsNoLock { return try body() }
    guard plantsLate != nil else { return try spin.withLock(body) }
    return try spin.withLock { () throws(Failure) in try catchingUp(body) }
  }
  public borrowing func lock() { if !plantsNoLock { spin.lock() } }
  public borrowing func unlock() { if !plantsNoLock { spin.unlock() } }
  borrowing func guards(_ hash: @escaping () -> UInt64) { spin.guards(hash) }
}

/// Plants a bug: the name of the function that does not wait for accesses to end.
@safe nonisolated(unsafe) var plantsNoWait: String?

extension Machine {
  func flushTranslations(caller: String = #function) {
    if let plantsNoWait, caller.hasPrefix(plantsNoWait + "(") { return }
    grace.synchronize()
  }
}

/// The time stands still, since nothing in the model waits for it to pass.
func monotonicTime() -> UInt64 { 0 }

/// The names of threads start again with each execution, so that an execution can be repeated.
private let threadNames = ModelThreadLocal(0)
@safe nonisolated(unsafe) var threadsNamed = 0
func currentThread() -> UInt64 {
  if threadNames.value == 0 {
    threadsNamed += 1
    threadNames.value = threadsNamed
  }
  return UInt64(threadNames.value)
}

/// A count that stays 0, since no knob and no limit is set while a scenario runs.
struct ChangeWord: Sendable {
  init(_: UInt64) {}
  func load(_: MemoryOrder) -> UInt64 { 0 }
  func add(_: UInt64, _: MemoryOrder) {}
}

/// Counters that do nothing. Real ones would be words that every fault touches, and only estimates
/// depend on them.
public final class Counters: Sendable {
  struct Counter { func count(_: Int = 1) {} }
  var fault: Counter { Counter() }
  var faultAlloc: Counter { Counter() }
  var faultFallback: Counter { Counter() }
  var zeroPageAlloc: Counter { Counter() }
  var zeroPageAllocFailed: Counter { Counter() }
  var zeroPageFree: Counter { Counter() }
  var splitPage: Counter { Counter() }
  var splitPMD: Counter { Counter() }
  var collapseAlloc: Counter { Counter() }
  var deferredSplit: Counter { Counter() }
  var underusedSplit: Counter { Counter() }
  var forks: Counter { Counter() }
  var copyOnWrite: Counter { Counter() }
  var tableCopies: Counter { Counter() }
  var tableAlloc: Counter { Counter() }
  var tableFree: Counter { Counter() }
  var forkBorn: Counter { Counter() }
  var forkGone: Counter { Counter() }
  var pgscanKswapd: Counter { Counter() }
  var pgscanDirect: Counter { Counter() }
  var pgstealKswapd: Counter { Counter() }
  var pgstealDirect: Counter { Counter() }
  var allocstall: Counter { Counter() }
  var zeroRevoke: Counter { Counter() }
  var zeroReclaim: Counter { Counter() }
  var equalReclaim: Counter { Counter() }
  var tables: Int { 0 }
  var liveForks: Int { 0 }
  var hugeFrames: UInt64 { 0 }
  var all: [(name: String, value: UInt64)] { [] }
}

/// The spaces of the scenario. It needs no lock: a scanner is a thread of the scenario, and no
/// space comes or goes while threads run.
@safe final class ScanList: @unchecked Sendable {
  private var handles: [ScanHandle] = []
  func add(_ handle: ScanHandle) { handles.append(handle) }
  var all: [ScanHandle] { handles }
  func handle(at position: Int) -> ScanHandle? {
    position < handles.count ? handles[position] : nil
  }
}
@safe final class ScanHandle: @unchecked Sendable {
  private unowned(unsafe) var space: AddressSpace?
  init(_ space: AddressSpace) { unsafe self.space = space }
  func detach() { unsafe space = nil }
  func withSpace<Result>(_ body: (AddressSpace) -> Result) -> Result? {
    guard let space = unsafe space else { return nil }
    spaceReferences?.word.add(1, .relaxed)
    defer { spaceReferences?.word.subtract(1, .acquireRelease) }
    return withExtendedLifetime(space) { body(space) }
  }
}

/// The references to spaces, for a scenario in which a thread may drop the last one. Swift counts them
/// where the checker does not see it, but who drops the last one takes the space down.
final class SpaceReferences: Sendable {
  let word = ModelWord(1, name: "references to spaces")
}
@safe nonisolated(unsafe) var spaceReferences: SpaceReferences?

let slotSize = UInt64(FrameGeometry.hugeSize)
let pageSize = UInt64(FrameGeometry.frameSize)

/// Makes a machine for one execution, with room for `frames` small frames. With `file`, these survive
/// a crash.
func makeEngine(
  frames: Int, _ reference: Policy.ZeroReference = .perTable, in file: MemoryFile? = nil
) -> Machine {
  physical = nil
  memoryFile = file
  spaceReferences = nil
  threadsNamed = 0
  var policy = Policy.linux
  policy.zeroReference = reference
  let machine = try? Machine(
    limit: UInt64(frames) * pageSize, policy: policy, grace: GracePeriod(expedited: true),
    file: file.map { _ in ArenaFile(descriptor: 0, offset: 0) })
  nameGuardedVariables(machine!)
  return machine!
}

/// Makes a space on the machine. Its lock guards its tables' counts and its mappings.
func makeSpace(on machine: Machine, slots: UInt64 = 2) -> AddressSpace {
  let space = try? machine.makeSpace(size: slots * slotSize)
  unowned let arena = machine.arena
  weak let known = space
  space!.lock.guards {
    // A thread may drop the space.
    guard let owner = known else { return 0 }
    return owner.holds.keys.sorted().reduce(combine(hash(counts: arena), hash(mappings: owner))) {
      combine(combine($0, $1), UInt64(owner.holds[$1] ?? 0))
    }
  }
  return space!
}

/// Declares the variables that the engine keeps outside of words, so that the checker can tell
/// states apart.
private func nameGuardedVariables(_ machine: Machine) {
  unowned let arena = machine.arena
  unowned let retired = machine.retired
  arena.lock.guards {
    var hash = combine(hash(counts: arena), UInt64(arena.nextFresh))
    for list in 0..<Arena.headCount { hash = combine(hash, UInt64(arena.heads[list])) }
    return hash
  }
  arena.splitLock.guards { hash(parts: arena) }
  for index in 0..<arena.caches.used {
    arena.caches.caches[index].lock.guards {
      let cache = arena.caches.caches + index
      let filled = Int(cache.pointee.filled.peek)
      var hash = UInt64(filled)
      for frame in 0..<filled { hash = combine(hash, UInt64(cache.pointee.frames[frame])) }
      return hash
    }
  }
  retired.lock.guards {
    // A thread that drains the list reads the counts of the tables in it.
    var hash = combine(hash(counts: arena), UInt64(retired.frames))
    for index in 0..<retired.filled { hash = combine(hash, retired.filling[index]) }
    return hash
  }
}

/// A hash of the plain fields of the frames' metadata: links of free blocks, counts of tables.
private func hash(counts arena: Arena) -> UInt64 {
  var hash: UInt64 = 1
  for frame in 0..<arena.reserved {
    let metadata = arena.metadata + frame
    hash = combine(hash, UInt64(metadata.pointee.low) << 32 | UInt64(metadata.pointee.high))
    let block = arena.block(FrameNumber(frame)).pointee
    hash = combine(hash, UInt64(block.next) << 32 | UInt64(block.previous))
  }
  return hash
}

/// A hash of what `splitLock` guards: which frames are parts and of which head, how often each part
/// is mapped, and the queue.
private func hash(parts arena: Arena) -> UInt64 {
  var hash = UInt64(arena.splitQueue.pointee)
  for frame in FrameGeometry.framesPerHuge..<arena.reserved {
    let metadata = arena.metadata + frame
    guard metadata.pointee.word.peek & (FrameState.tail | FrameState.marked) != 0 else { continue }
    hash = combine(hash, UInt64(frame))
    hash = combine(hash, UInt64(metadata.pointee.low) << 32 | UInt64(metadata.pointee.high))
  }
  return hash
}

private func hash(mappings space: AddressSpace) -> UInt64 {
  var hash: UInt64 = space.scanHandle == nil ? 0 : 1
  if let limits = space.limits {
    hash = combine(hash, UInt64(limits.charge) << 32 | UInt64(limits.reserve))
    hash = combine(hash, UInt64(limits.quota ?? .max))
    hash = combine(hash, limits.look.offset << 2 | (limits.look.isLast ? 2 : 0))
    hash = combine(hash, limits.look.notBefore << 1 | (limits.look.hasNew ? 1 : 0))
  }
  guard let mappings = space.mappings else { return hash }
  hash = combine(hash, UInt64(mappings.all.count))
  for mapping in mappings.all {
    hash = combine(hash, combine(mapping.start, mapping.end))
    hash = combine(hash, combine(mapping.origin, mapping.family))
    let advice: UInt64 =
      switch mapping.advice {
      case .none: 0
      case .huge: 1
      case .noHuge: 2
      }
    hash = combine(
      hash, UInt64(mapping.protection.rawValue) << 3 | advice << 1 | (mapping.isForked ? 1 : 0))
  }
  return hash
}

private func combine(_ a: UInt64, _ b: UInt64) -> UInt64 {
  let product = (a ^ 0x9E37_79B9_7F4A_7C15).multipliedFullWidth(by: b ^ 0xD1B5_4A32_D192_ED03)
  return product.high ^ (product.low &+ (b << 7) &+ (a << 23 | a >> 41))
}

/// Checks that nothing is in use once everything is dropped and shrunk (invariant 17).
func expectBaseline(_ machine: Machine) {
  machine.shrink()
  check(machine.memoryUsed == 0, "frames in use are back at the baseline")
  check(machine.zeroPageReferences == 0, "the zero page is gone")
}

extension AddressSpace {
  func byte(at offset: UInt64) -> UInt8 {
    var byte: UInt8 = 0xff
    withUnsafeMutableBytes(of: &byte) { try! read(at: offset, into: $0) }
    return byte
  }
  func put(_ byte: UInt8, at offset: UInt64) {
    withUnsafeBytes(of: byte) { try! write(at: offset, from: $0) }
  }
  /// Reads a byte. Returns nil if the mapping does not allow it.
  func byteIfAllowed(at offset: UInt64) -> UInt8? {
    var byte: UInt8 = 0xff
    let done: Void? = withUnsafeMutableBytes(of: &byte) { try? read(at: offset, into: $0) }
    return done == nil ? nil : byte
  }
  /// Writes a byte. Returns false if the write is refused.
  func putIfAllowed(_ byte: UInt8, at offset: UInt64) -> Bool {
    withUnsafeBytes(of: byte) { (try? write(at: offset, from: $0)) != nil }
  }
}
