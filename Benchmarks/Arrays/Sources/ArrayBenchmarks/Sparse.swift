import Collections
import HugeArrays
import HugeMemory

/// 10^6 writes to 2^40 elements: time, and the memory that they take. The ideal is the pages that are
/// written to, 4 KiB each.
func sparse() {
  sparse("at random places", places: scattered(clusters: 1_000_000, each: 1))
  sparse("512 neighbours at a time", places: scattered(clusters: 1_954, each: 512))
}

private func scattered(clusters: Int, each: Int) -> [Int] {
  var random = Random(seed: 9)
  var places: [Int] = []
  for _ in 0..<clusters {
    let start = Int(random.next() % (1 << 40 / 512)) * 512
    places += (0..<each).map { start + $0 }
  }
  return places
}

private func sparse(_ what: String, places: [Int]) {
  print("\(places.count) writes to 2^40 elements, \(what)")
  let pages = Set(places.map { $0 / 512 }).count
  let machine = try! Machine(limit: 12 << 30)
  let count = places.count

  var array = HugeArray<Int>(count: 1 << 40, machine: machine)
  var start = now()
  for place in places { array[place] = place }
  var spent = (now() - start) / Double(count)
  let ideal = Double(pages * 4096)
  line(
    "HugeArray", time(spent),
    "\(rounded(Double(machine.memoryUsed) / 1e6)) MB, \(rounded(Double(machine.memoryUsed) / ideal)) × the pages"
  )

  let before = resident()
  var dictionary: [Int: Int] = [:]
  start = now()
  for place in places { dictionary[place] = place }
  spent = (now() - start) / Double(count)
  line("[Int: Int]", time(spent), "\(rounded((resident() - before) / 1e6)) MB")

  var tree = TreeDictionary<Int, Int>()
  start = now()
  for place in places { tree[place] = place }
  spent = (now() - start) / Double(count)
  line("TreeDictionary of swift-collections", time(spent))

  start = now()
  for place in places { sink &+= array[place] }
  line("HugeArray, read", time((now() - start) / Double(count)))
  start = now()
  for place in places { sink &+= dictionary[place] ?? 0 }
  line("[Int: Int], read", time((now() - start) / Double(count)))
  sink &+= tree.count
}
