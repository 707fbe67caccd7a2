import Interleave

/// What the clients of two disks know. Each thread of a scenario is a client that makes one request.
/// What it has asked for and what it was told is one word in memory that survives a crash.
struct Requests {
  /// A request: what it does to the contents, and what it returns.
  typealias Effect = (inout DiskContents) -> UInt8
  /// The answer to a write that found no memory. It changes nothing.
  static let refused: UInt8 = 0xff
  let before: DiskContents
  let effects: [Effect]
  let word: UInt64

  private func bits(_ thread: Int) -> UInt64 { word >> UInt64(16 * thread) }
  private func isBegun(_ thread: Int) -> Bool { bits(thread) & 1 != 0 }
  private func isAnswered(_ thread: Int) -> Bool { bits(thread) & 2 != 0 }
  /// Whether the request began when the other one had been answered.
  private func isLater(_ thread: Int) -> Bool { bits(thread) & 4 != 0 }
  private func answer(_ thread: Int) -> UInt8 { UInt8(truncatingIfNeeded: bits(thread) >> 8) }

  /// With acquire: a client that knows an answer sees what it tells.
  static func began(_ thread: Int, _ word: borrowing ModelWord) {
    let before = word.add(1 << UInt64(16 * thread), .acquireRelease)
    if before >> UInt64(16 * (1 - thread)) & 2 != 0 { word.add(4 << UInt64(16 * thread), .relaxed) }
  }
  /// With release, as the system call that sends a reply.
  static func answered(_ thread: Int, _ answer: UInt8, _ word: borrowing ModelWord) {
    word.add((2 | UInt64(answer) << 8) << UInt64(16 * thread), .release)
  }

  /// All that the disks may hold. A request that was answered is there, one that was not begun is not,
  /// and one in between is there or not. Two that overlapped may have been done in either order.
  var allowed: Set<DiskContents> {
    var allowed: Set<DiskContents> = []
    for done in [[], [0], [1], [0, 1], [1, 0]] {
      let isPossible = [0, 1].allSatisfy {
        done.contains($0) ? isBegun($0) : !isAnswered($0)
      }
      guard isPossible, done.count < 2 || !isLater(done[0]) else { continue }
      var contents = before
      let isAnswer = done.allSatisfy {
        if isAnswered($0) && self.answer($0) == Self.refused { return true }
        let answer = effects[$0](&contents)
        return !isAnswered($0) || answer == self.answer($0)
      }
      if isAnswer { allowed.insert(contents) }
    }
    return allowed
  }
}

/// The pages of the disks that are there.
struct DiskContents: Hashable, CustomStringConvertible {
  var disks: [[UInt8]?]
  var description: String {
    disks.map { $0.map { "\($0)" } ?? "none" }.joined(separator: " ")
  }
}
