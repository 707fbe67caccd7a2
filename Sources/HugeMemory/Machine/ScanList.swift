import Primitives

/// The spaces of a machine that have tables. Scanners go through them; compare the kernel's list of
/// `mm_slot`. A space is added with its first table, so idle forks are not listed.
///
/// The list does not use weak references: an object that has one pays for it at each retain and
/// release.
final class ScanList: @unchecked Sendable {
  // Sendable: (L) under `lock`, which is last in the lock order and held only briefly.
  private let lock = Lock()
  private var handles: [ScanHandle] = []

  func add(_ handle: ScanHandle) {
    lock.withLock {
      // Drops the entries of spaces that are gone, so that they do not make the list grow.
      if handles.count == handles.capacity { handles.removeAll(where: \.isDetached) }
      handles.append(handle)
    }
  }

  /// The handles listed now. The spaces of some may be gone.
  var all: [ScanHandle] { lock.withLock { handles } }

  /// The handle at a position, or nil at the end.
  func handle(at position: Int) -> ScanHandle? {
    lock.withLock { position < handles.count ? handles[position] : nil }
  }
}

/// A scanner's reference to a space. The space may be gone, but it cannot go while the scanner uses
/// it.
///
/// Lock order: `lock` → the space's lock. A space's `deinit` takes `lock` alone, so the object is
/// there as long as somebody uses it through the handle.
@safe final class ScanHandle: @unchecked Sendable {
  // Sendable: (L) lock.
  private let lock = Lock()
  private unowned(unsafe) var space: AddressSpace?
  /// (A) The thread that uses the space now.
  private let scanner = AtomicWord(0)

  init(_ space: AddressSpace) { unsafe self.space = space }

  /// Called when the space goes. That happens on the scanner's own thread if all others gave up
  /// their references while the scanner used the space.
  func detach() {
    if scanner.load(.relaxed) == currentThread() { return unsafe space = nil }
    lock.withLock { unsafe space = nil }
  }

  var isDetached: Bool { lock.withLock { unsafe space == nil } }

  /// Runs `body` on the space, or returns nil if the space is gone. `body` must not let the space
  /// escape.
  func withSpace<Result>(_ body: (AddressSpace) -> Result) -> Result? {
    lock.withLock {
      scanner.store(currentThread(), .relaxed)
      defer { scanner.store(0, .relaxed) }
      return hold(body)
    }
  }

  /// Holds the space until the end: if this reference is the last one, nothing uses the object
  /// after it. A function of its own, so that the reference is given up before `scanner` is
  /// cleared.
  @inline(never)
  private func hold<Result>(_ body: (AddressSpace) -> Result) -> Result? {
    // SAFETY: `detach` waits for the lock before the object's memory goes.
    guard let space = unsafe space else { return nil }
    return withExtendedLifetime(space) { body(space) }
  }
}
