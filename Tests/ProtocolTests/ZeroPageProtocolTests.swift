import Interleave
import Testing

@testable import Modelled

struct HeapSource: ZeroFrameSource {
  let heap = ModelHeap(capacity: 4)
  func allocateZeroFrame() -> UInt32? {
    guard let frame = heap.allocate() else { return nil }
    heap.store(frame, 0)
    return frame
  }
  func freeZeroFrame(_ frame: UInt32) { heap.free(frame) }
}

@Suite(.serialized) struct ZeroPageProtocolTests {
  private func getters(_ count: Int, rounds: Int, bound: Int? = nil) {
    prove("zero page, \(count) getters and the shrinker, \(rounds) rounds", bound: bound) { scenario in
      let page = Box(HugeZeroPage())
      let source = HeapSource()
      for getter in 0..<count {
        scenario.thread("getter \(getter)") {
          for _ in 0..<rounds {
            switch page.value.get(from: source) {
            case .shared(let frame), .published(let frame): check(source.heap.load(frame) == 0)
            case .unavailable: check(false, "unavailable")
            }
            page.value.put()
          }
        }
      }
      scenario.thread("shrinker") {
        for _ in 0..<rounds { _ = page.value.shrinkerScan(to: source) }
      }
      scenario.finally {
        _ = page.value.shrinkerScan(to: source)
        check(page.value.snapshot() == (0, 0), "the page is gone")
        check(source.heap.liveCount == 0, "no frame is lost")
      }
    }
  }

  @Test func twoGetters() { getters(2, rounds: 1) }
  @Test func twoGettersTwice() { getters(2, rounds: 2) }
  @Test func threeGetters() { getters(3, rounds: 1) }
}
