/// Which locations have a lane in views. A view has fewer lanes than a scenario may have words. A word that no
/// thread stores to needs none: each load returns what the set-up stored last. Nor does any word while only
/// one thread runs, which always sees the newest store.
///
/// If there are enough lanes, each location has its own from the beginning. If not, a location gets one when
/// a thread first stores to it, in any execution, and keeps it for the whole exploration. All views had 0 there
/// until then, and now get the number of that last store of the set-up.
extension Memory {
  struct Lanes {
    /// Nothing has to be remembered now: this is the set-up, the final checks or recovery.
    var isOneThread = true
    /// By location; kept from one execution to the next.
    fileprivate var given: [Int: Int] = [:]
  }

  /// Gives lanes to the locations of the set-up, which has ended.
  mutating func takeLanes() {
    lanes.isOneThread = false
    let isEnough = locations.count <= View.locations
    for location in locations.indices {
      locations[location].lane = isEnough ? location : lanes.given[location]
    }
  }

  /// The lane of a location that is about to be stored to; nil if it needs none.
  @inline(__always) mutating func laneToStore(_ location: Int) -> Int? {
    if lanes.isOneThread { return locations[location].lane }
    return locations[location].lane ?? giveLane(to: location)
  }

  private mutating func giveLane(to location: Int) -> Int {
    let lane = lanes.given.count
    precondition(
      lane < View.locations,
      "Interleave: threads store to more than \(View.locations) words of a scenario")
    lanes.given[location] = lane
    locations[location].lane = lane
    let number = locations[location].number
    let bit: UInt64 = 1 << UInt64(location)
    for thread in threads.indices {
      threads[thread].view[lane: lane] = number
      if threads[thread].awaitedElsewhere & bit != 0 {
        threads[thread].awaited[lane: lane] = number + 1
        threads[thread].awaitedElsewhere &= ~bit
      }
    }
    return lane
  }
}
