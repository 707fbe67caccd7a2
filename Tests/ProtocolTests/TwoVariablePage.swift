import Interleave

@testable import ProtocolsModel

/// The kernel's protocol of 2012, for comparison and for its bugs. Page and count are two
/// variables. Later the kernel added a copy of the page's number, for code that asks "is this the
/// zero page?".
///
/// A getter that finds count 0 and a page waits for the second step of the publisher or of the
/// shrinker. In the kernel `preempt_disable` bounds that wait. Here the getter calls `pause`.
final class TwoVariablePage {
  enum Plant {
    case none
    /// The shrinker clears the copy after the page. A getter may have published another by then
    /// (item 11).
    case copyClearedLate
    /// The count is published without ordering the page before it.
    case relaxedPublication
    /// 0 means "no page", but the first frame is 0 too (item 4).
    case frameZero
  }

  let count = AtomicWord(0, name: "count")
  let page = AtomicWord(0, name: "page")
  let copy = AtomicWord(0, name: "copy")
  let frames: Frames
  let plant: Plant

  init(_ frames: Frames, _ plant: Plant) {
    self.frames = frames
    self.plant = plant
  }

  private func name(_ frame: UInt32) -> UInt64 { UInt64(frame) - (plant == .frameZero ? 1 : 0) }
  private func frame(_ name: UInt64) -> UInt32 { UInt32(name) + (plant == .frameZero ? 1 : 0) }

  func get() -> UInt32 {
    while true {
      var seen = count.load(.relaxed)
      while seen != 0 {
        let swap = count.compareExchange(seen, seen + 1, .acquire)
        if swap.exchanged { return frame(page.load(.relaxed)) }
        seen = swap.original
      }
      guard let fresh = frames.allocateZeroFrame() else {
        pause()
        continue
      }
      guard page.compareExchange(0, name(fresh), .acquireRelease).exchanged else {
        frames.freeZeroFrame(fresh)
        pause()
        continue
      }
      copy.store(name(fresh), .relaxed)
      count.store(2, plant == .relaxedPublication ? .relaxed : .release)
      return fresh
    }
  }

  func put() { count.subtract(1, .release) }

  func shrink() {
    guard count.compareExchange(1, 0, .acquireRelease).exchanged else { return }
    let old = page.load(.relaxed)
    if plant != .copyClearedLate { copy.store(0, .relaxed) }
    page.store(0, .release)
    if plant == .copyClearedLate { copy.store(0, .relaxed) }
    frames.freeZeroFrame(frame(old))
  }

  /// Whether a frame is the zero page. The caller holds a reference.
  func isZeroPage(_ frame: UInt32) -> Bool { copy.load(.relaxed) == name(frame) }
}
