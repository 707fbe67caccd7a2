import HugeArrays
import HugeMemory

/// A copy and one write after it, for sizes from 1 MiB to what fits, and the comparison of two copies.
func copies(gigabytes: Int, rounds: Int) {
  print("a copy and one write after it")
  for megabytes in [1, 16, 256, 1024, 4096, 16384] where megabytes <= gigabytes << 10 {
    let count = megabytes << 17
    let machine = try! Machine(limit: UInt64(megabytes) << 20 + 1 << 30)
    var huge = HugeArray(repeating: 1, count: count, machine: machine)
    var times: [Double] = []
    var random = Random(seed: 5)
    for _ in 0..<max(200, rounds) {
      let index = Int(random.next() % UInt64(count))
      let start = now()
      let copy = huge
      huge[index] = index
      times.append(now() - start)
      sink &+= copy[index]
    }
    let median = times.sorted()[times.count / 2]
    var note = ""
    if megabytes <= 1024 {
      var array = Array(repeating: 1, count: count)
      var arrays: [Double] = []
      for _ in 0..<max(3, min(rounds, 2048 / megabytes)) {
        let start = now()
        let copy = array
        array[count / 2] &+= 1
        arrays.append(now() - start)
        sink &+= copy[0]
      }
      let other = arrays.sorted()[arrays.count / 2]
      note = "Array \(time(other)), \(rounded(other / median)) times as long"
    }
    line("\(megabytes) MiB", time(median), note)
    guard megabytes == 1024 else { continue }
    let copy = huge
    huge[count / 2] = -1
    var comparisons: [Double] = []
    for _ in 0..<100 {
      let start = now()
      if huge == copy { print("equal?") }
      comparisons.append(now() - start)
    }
    line("== of two of 1 GiB with one page changed", time(comparisons.sorted()[50]))
  }
}
