import Primitives
import Testing

@testable import Frames

extension Arena {
  /// The buddy allocator's books: every free block is in the list of its order, aligned, linked both
  /// ways, disjoint from the others, with no free buddy of its order; and
  ///
  ///     free + outstanding + being given back = handed out so far
  func checkInvariants(
    _ comment: Comment = "", sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let problem = lock.withLock { () -> String? in
      var seen = [Bool](repeating: false, count: reserved)
      var free = 0
      for order in 0...FrameGeometry.hugeOrder {
        var previous: FrameNumber = 0
        var block = unsafe heads[order]
        while block != 0 {
          let word = unsafe metadata[Int(block)].word.load(.relaxed)
          guard word & FrameState.free != 0, FrameState.order(word) == order else {
            return "block \(block) is in list \(order) and says \(String(word, radix: 16))"
          }
          guard block & (1 << FrameNumber(order) - 1) == 0 else { return "\(block) is misaligned" }
          guard unsafe metadata[Int(block)].high == previous else { return "\(block): wrong link" }
          for frame in block..<block + 1 << FrameNumber(order) {
            guard !seen[Int(frame)], frame < nextFresh else { return "\(frame) is free twice" }
            seen[Int(frame)] = true
          }
          if order < FrameGeometry.hugeOrder {
            let buddy = unsafe metadata[Int(block ^ 1 << FrameNumber(order))].word.load(.relaxed)
            let isFree = buddy & FrameState.free != 0 && FrameState.order(buddy) == order
            guard !isFree else { return "\(block) and its buddy are both free" }
          }
          free += 1 << order
          previous = block
          block = unsafe metadata[Int(block)].low
        }
      }
      let out = Int(outstanding.load(.relaxed))
      let returned = Int(returning.load(.relaxed)) << FrameGeometry.hugeOrder
      let handed = Int(nextFresh) - FrameGeometry.framesPerHuge
      return free + out + returned == handed
        ? nil : "\(free) free + \(out) out + \(returned) returning is not \(handed)"
    }
    #expect(problem == nil, comment, sourceLocation: sourceLocation)
  }
}
