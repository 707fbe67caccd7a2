import Interleave

@testable import ProtocolsModel

/// The kernel's protocol of 2012, for comparison and for its bugs: page and count are two
/// variables, and since a later year there is a copy of the page's number beside them, for those
/// who ask «is this the zero page?».
///
/// A getter that meets count 0 and a page waits for the publisher's second step, or for the
/// shrinker's. In the kernel `preempt_disable` bounds that; `pause` here.
final class TwoVariablePage {
  enum Plant {
    case none
    /// The shrinker clears the copy after the page: a getter may have published anew (item 11).
    case copyClearedLate
    /// The count is published without ordering the page before it.
    case relaxedPublication
    /// «No page» is 0, and so is the first frame (item 4).
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

  /// Asked by somebody who holds a reference.
  func isZeroPage(_ frame: UInt32) -> Bool { copy.load(.relaxed) == name(frame) }
}
