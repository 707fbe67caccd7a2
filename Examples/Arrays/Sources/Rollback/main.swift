// A game that predicts what remote players do, and rolls back when it was wrong. It keeps a snapshot
// of the whole world for each frame. A snapshot is an assignment: it costs what the next frame
// changes, not the size of the world.
import HugeArrays

struct Cell: BitwiseCopyable {
  var owner: UInt32
  var energy: Float
}

struct World {
  /// 64 million cells, of which most are empty.
  var cells = HugeArray<Cell>(count: 1 << 26)
  var frame = 0

  /// Every player heats some cells around a place that depends on the input.
  mutating func advance(inputs: [Int]) {
    frame += 1
    for (player, input) in inputs.enumerated() {
      let place = (player * 7_919_773 + input * 65_537) % (cells.count - 64)
      for cell in place..<place + 64 {
        cells[cell].owner = UInt32(player + 1)
        cells[cell].energy += 1
      }
    }
  }
}

let players = 100
func inputs(_ frame: Int, wrong: Bool = false) -> [Int] {
  (0..<players).map { $0 == 7 && wrong ? -frame & 0xffff : frame &* ($0 + 1) & 0xffff }
}

var world = World()
var snapshots: [World] = []
for frame in 0..<60 {
  snapshots.append(world)
  // From frame 50 on, the input of player 7 is a wrong guess.
  world.advance(inputs: inputs(frame, wrong: frame >= 50))
}
let guessed = world

// The real input arrives: back to frame 50, and forward again.
world = snapshots[50]
for frame in 50..<60 { world.advance(inputs: inputs(frame)) }

var honest = World()
for frame in 0..<60 { honest.advance(inputs: inputs(frame)) }
func owners(_ world: World) -> [Range<Int>] { world.cells.nonZeroRanges }
let same = honest.cells.changes(since: world.cells).allSatisfy { range in
  range.allSatisfy {
    honest.cells[$0].owner == world.cells[$0].owner
      && honest.cells[$0].energy == world.cells[$0].energy
  }
}
precondition(same, "the world after the rollback is not the one of the real inputs")
precondition(!guessed.cells.changes(since: world.cells).isEmpty)

let bytes = world.cells.count * MemoryLayout<Cell>.stride
print("a world of \(bytes >> 20) MiB, 60 snapshots of it, 10 frames rolled back")
print("memory in use: \(world.cells.machine.memoryUsed >> 20) MiB")
