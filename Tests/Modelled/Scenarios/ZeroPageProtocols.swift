import Interleave

extension Protocol {
  static var zeroPage: [Protocol] {
    [
      getters(2, rounds: 1, plants: [.relaxedGet, .relaxedPut]),
      getters(2, rounds: 2),
      getters(3, rounds: 1),
    ]
  }

  /// get, read the page, put; beside the shrinker.
  private static func getters(_ count: Int, rounds: Int, plants: [Plant] = []) -> Protocol {
    Protocol(
      "zero page: \(count) getters, shrinker, \(rounds) ×", threads: count + 1, plants: plants
    ) { scenario in
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
}

private struct HeapSource: ZeroFrameSource {
  let heap = ModelHeap(capacity: 4)
  func allocateZeroFrame() -> UInt32? {
    guard let frame = heap.allocate() else { return nil }
    heap.store(frame, 0)
    return frame
  }
  func freeZeroFrame(_ frame: UInt32) { heap.free(frame) }
}
