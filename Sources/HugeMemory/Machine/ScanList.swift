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

  init(_ space: AddressSpace) { unsafe self.space = space }

  /// (A) The thread in `withSpace`, 0 for none; each only looks for itself.
  private let user = AtomicWord(0)

  /// The space is going.
  func detach() {
    // Whoever uses it here may have become the last to hold it, and has the lock.
    if user.load(.relaxed) == currentThread() { return unsafe space = nil }
    lock.withLock { unsafe space = nil }
  }

  var isDetached: Bool { lock.withLock { unsafe space == nil } }

  /// Runs `body` on the space, which must not escape from it; nil if it is gone.
  func withSpace<Result>(_ body: (AddressSpace) -> Result) -> Result? {
    lock.withLock {
      user.store(currentThread(), .relaxed)
      defer { user.store(0, .relaxed) }
      return use(body)
    }
  }

  /// Not inlined, so that what it retains is released before `user` changes.
  @inline(never)
  private func use<Result>(_ body: (AddressSpace) -> Result) -> Result? {
    // SAFETY: `detach` on another thread waits for the lock before the object's memory goes.
    unsafe space.map { body($0) }
  }
}
