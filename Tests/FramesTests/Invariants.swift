import Primitives
import Testing

@testable import Frames

extension Arena {
  /// Checks the buddy allocator's books. Every free block is in the list of its order, aligned,
  /// linked both ways and disjoint from the others, and has no free buddy of its order; and
  ///
  ///     free + outstanding + being given back = handed out so far
  func checkInvariants(
    _ comment: Comment = "", sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let problem = lock.withLock { () -> String? in
      var seen = [Bool](repeating: false, count: reserved)
      var free = 0
      var dirty = 0
      for list in 0..<Arena.headCount {
        let order = list % (FrameGeometry.hugeOrder + 1)
        let clean = list > FrameGeometry.hugeOrder
        var previous: FrameNumber = 0
        var block = unsafe heads[list]
        while block != 0 {
          let whole = order == FrameGeometry.hugeOrder
          let word = unsafe metadata[Int(block)].word.load(.relaxed)
          let isClean =
            whole ? unsafe self.block(block).pointee.isClean : word & FrameState.clean != 0
          let isListed = word & FrameState.free != 0 && FrameState.order(word) == order
          guard whole ? word == 0 : isListed, isClean == clean else {
            return "block \(block) is in list \(list) and says \(String(word, radix: 16))"
          }
          guard block & (1 << FrameNumber(order) - 1) == 0 else { return "\(block) is misaligned" }
          let back =
            whole ? unsafe self.block(block).pointee.previous : unsafe metadata[Int(block)].high
          guard back == previous else { return "\(block): wrong link" }
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
          if !clean { dirty += 1 << order }
          previous = block
          block =
            whole ? unsafe self.block(block).pointee.next : unsafe metadata[Int(block)].low
        }
      }
      guard dirty == freeDirty else { return "\(dirty) dirty, not \(freeDirty)" }
      let out = Int(outstanding.load(.relaxed))
      let returned = Int(returning.load(.relaxed)) << FrameGeometry.hugeOrder
      let handed = Int(nextFresh) - FrameGeometry.framesPerHuge
      return free + out + returned == handed
        ? nil : "\(free) free + \(out) out + \(returned) returning is not \(handed)"
    }
    #expect(problem == nil, comment, sourceLocation: sourceLocation)
  }
}
