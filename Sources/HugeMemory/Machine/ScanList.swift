import Primitives

/// The spaces of a machine that have tables, for scanners to go through; the kernel's list of
/// `mm_slot`. A space is added with its first table, so idle forks are not here.
///
/// Not by weak references: an object that has one pays for it with each retain and release.
final class ScanList: @unchecked Sendable {
  // Sendable: (L) under `lock`, which is taken last of all and holds nothing up.
  private let lock = Lock()
  private var handles: [ScanHandle] = []

  func add(_ handle: ScanHandle) {
    lock.withLock {
      // Spaces come and go; the list does not grow with those that went.
      if handles.count == handles.capacity { handles.removeAll(where: \.isDetached) }
      handles.append(handle)
    }
  }

  /// Those that are here now; the spaces of some may be gone.
  var all: [ScanHandle] { lock.withLock { handles } }

  /// The one at a position; nil at the end.
  func handle(at position: Int) -> ScanHandle? {
    lock.withLock { position < handles.count ? handles[position] : nil }
  }
}

/// A space as a scanner knows it: it may be gone, but not while the scanner is at it.
///
/// Lock order: `lock` → the space's lock. A space's `deinit` takes it alone, so that the object is
/// still there as long as somebody uses it here.
@safe final class ScanHandle: @unchecked Sendable {
  // Sendable: (L) lock.
  private let lock = Lock()
  private unowned(unsafe) var space: AddressSpace?
  /// (A) The thread that is at it.
  private let scanner = AtomicWord(0)

  init(_ space: AddressSpace) { unsafe self.space = space }

  /// The space is going: on the scanner's own thread if all others let go of it meanwhile.
  func detach() {
    if scanner.load(.relaxed) == currentThread() { return unsafe space = nil }
    lock.withLock { unsafe space = nil }
  }

  var isDetached: Bool { lock.withLock { unsafe space == nil } }

  /// Runs `body` on the space, which must not escape from it; nil if it is gone.
  func withSpace<Result>(_ body: (AddressSpace) -> Result) -> Result? {
    lock.withLock {
      scanner.store(currentThread(), .relaxed)
      defer { scanner.store(0, .relaxed) }
      return hold(body)
    }
  }

  /// Holds the space until the end, so that if this reference is the last one, nothing uses the object
  /// after it; and by a call of its own, so that it is given up before the scanner is forgotten.
  @inline(never)
  private func hold<Result>(_ body: (AddressSpace) -> Result) -> Result? {
    // SAFETY: `detach` waits for the lock before the object's memory goes.
    guard let space = unsafe space else { return nil }
    return withExtendedLifetime(space) { body(space) }
  }
}
