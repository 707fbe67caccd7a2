import CLinux
import Frames
import Glibc
import HugeZeroPage

// The machine supplies the zero page's frame.
extension Machine {
  var zeroFrames: ZeroFrames { @inline(__always) get { ZeroFrames(machine: self) } }

  fileprivate func allocateZeroFrame() -> UInt32? {
    guard let frame = arena.allocate(order: FrameGeometry.hugeOrder, zeroed: true) else {
      return nil
    }
    // Read-only in hardware, so that a stray write faults instead of being seen by every other
    // reader. If the system has no room for another mapping, there is no zero page and reads do
    // without it.
    guard unsafe hm_protect(arena.address(frame), FrameGeometry.hugeSize, 0) == 0 else {
      arena.release(frame)
      return nil
    }
    assert(isZero(frame, count: FrameGeometry.hugeSize), "zero page: not zero at its publication")
    return frame
  }

  fileprivate func freeZeroFrame(_ frame: UInt32) {
    assert(isZero(frame, count: FrameGeometry.hugeSize), "zero page: not zero at its free")
    // A frame that cannot be made writable is never handed out again.
    guard unsafe hm_protect(arena.address(frame), FrameGeometry.hugeSize, 1) == 0 else { return }
    arena.release(frame)
  }

  /// Whether `count` bytes, at most 2 MiB, from the start of a frame are zeros.
  func isZero(_ frame: FrameNumber, count: Int) -> Bool {
    unsafe memcmp(arena.address(frame), ZeroSource.page, count) == 0
  }

  /// Takes references on the zero page, which is allocated if there is none. Returns nil if that
  /// fails or if the page is withheld.
  func getZeroPage(count: UInt32 = 1) -> FrameNumber? {
    guard allowsZeroPage() else { return nil }
    switch zeroPage.get(count: count, from: zeroFrames) {
    case .shared(let frame): return frame
    case .published(let frame):
      // Counted when published, not when allocated (history item 22).
      events.zeroPageAlloc.count()
      return frame
    case .unavailable:
      events.zeroPageAllocFailed.count()
      return nil
    }
  }

  /// Takes a reference on the zero page if there is one. Never allocates, so the caller may hold a
  /// lock.
  func getPublishedZeroPage() -> Bool {
    guard allowsZeroPage() else { return false }
    return if case .shared = zeroPage.get(from: NoFrames()) { true } else { false }
  }
}

/// The frames of a machine, for its zero page. The machine itself does not conform, since then its
/// users could allocate and free the page.
struct ZeroFrames: ZeroFrameSource {
  let machine: Machine
  func allocateZeroFrame() -> UInt32? { machine.allocateZeroFrame() }
  func freeZeroFrame(_ frame: UInt32) { machine.freeZeroFrame(frame) }
}

/// A source that has no frames.
private struct NoFrames: ZeroFrameSource {
  func allocateZeroFrame() -> UInt32? { nil }
  func freeZeroFrame(_ frame: UInt32) { preconditionFailure("zero page: freed to no arena") }
}
