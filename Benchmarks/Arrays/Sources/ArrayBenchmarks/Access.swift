import Glibc
import HugeArrays
import HugeMemory

/// Reads and writes of elements, in order and at random.
func access(megabytes: Int, rounds: Int) {
  let count = megabytes << 17
  var array = Array(repeating: 0, count: count)
  var contiguous = ContiguousArray(repeating: 0, count: count)
  let buffer = UnsafeMutableBufferPointer<Int>.allocate(capacity: count)
  defer { buffer.deallocate() }
  buffer.initialize(repeating: 0)
  var huge = HugeArray<Int>(count: count)
  for index in 0..<count { array[index] = index }
  for index in 0..<count { contiguous[index] = index }
  for index in 0..<count { buffer[index] = index }
  for index in 0..<count { huge[index] = index }
  settle(huge)

  compare(
    "read \(megabytes) MiB of Int in order, each", rounds: rounds,
    [
      Entry(name: "Array, for-in", count: count) { sink &+= sum(array) },
      Entry(name: "Array, subscript", count: count) { sink &+= sumBySubscript(array) },
      Entry(name: "ContiguousArray, for-in", count: count) { sink &+= sum(contiguous) },
      Entry(name: "UnsafeMutableBufferPointer, for-in", count: count) { sink &+= sum(buffer) },
      Entry(name: "HugeArray, for-in", count: count) { sink &+= sum(huge) },
      Entry(name: "HugeArray, withContiguousPieces", count: count) { sink &+= sumByPieces(huge) },
      Entry(name: "HugeArray, subscript", count: count) { sink &+= sumBySubscript(huge) },
    ])
  compare(
    "write \(megabytes) MiB of Int in order, each", rounds: rounds,
    [
      Entry(name: "Array, subscript", count: count) { fill(&array) },
      Entry(name: "ContiguousArray, subscript", count: count) { fill(&contiguous) },
      Entry(name: "UnsafeMutableBufferPointer, subscript", count: count) {
        for index in buffer.indices { buffer[index] = index }
      },
      Entry(name: "HugeArray, withMutableContiguousPieces", count: count) { fillByPieces(&huge) },
      Entry(name: "HugeArray, subscript", count: count) { fill(&huge) },
    ])
  let tries = 1 << 22
  compare(
    "read an Int of \(megabytes) MiB at random", rounds: rounds,
    [
      Entry(name: "Array", count: tries) { sink &+= gather(array, tries) },
      Entry(name: "UnsafeMutableBufferPointer", count: tries) { sink &+= gather(buffer, tries) },
      Entry(name: "HugeArray", count: tries) { sink &+= gather(huge, tries) },
    ])
  compare(
    "write an Int of \(megabytes) MiB at random", rounds: rounds,
    [
      Entry(name: "Array", count: tries) { scatter(&array, tries) },
      Entry(name: "HugeArray", count: tries) { scatter(&huge, tries) },
    ])
}

/// Waits until the background has made huge frames of what is dense, as it does within seconds.
func settle(_ array: HugeArray<Int>) {
  var last = 0.0
  for _ in 0..<120 {
    let huge = array.machine.counters.first { $0.name == "thp_collapse_alloc" }.map {
      Double($0.value)
    }
    if let huge, huge == last, huge > 0 { return }
    last = huge ?? 0
    sleep(2)
  }
}

@inline(never) func sum(_ array: [Int]) -> Int {
  var sum = 0
  for element in array { sum &+= element }
  return sum
}
@inline(never) func sum(_ array: ContiguousArray<Int>) -> Int {
  var sum = 0
  for element in array { sum &+= element }
  return sum
}
@inline(never) func sum(_ array: UnsafeMutableBufferPointer<Int>) -> Int {
  var sum = 0
  for element in array { sum &+= element }
  return sum
}
@inline(never) func sum(_ array: HugeArray<Int>) -> Int {
  var sum = 0
  for element in array { sum &+= element }
  return sum
}
@inline(never) func sumByPieces(_ array: HugeArray<Int>) -> Int {
  var sum = 0
  array.withContiguousPieces { _, piece in
    for index in piece.indices { sum &+= piece[index] }
  }
  return sum
}
@inline(never) func sumBySubscript(_ array: [Int]) -> Int {
  var sum = 0
  for index in array.indices { sum &+= array[index] }
  return sum
}
@inline(never) func sumBySubscript(_ array: HugeArray<Int>) -> Int {
  var sum = 0
  for index in array.indices { sum &+= array[index] }
  return sum
}
@inline(never) func fill(_ array: inout [Int]) {
  for index in array.indices { array[index] = index }
}
@inline(never) func fill(_ array: inout ContiguousArray<Int>) {
  for index in array.indices { array[index] = index }
}
@inline(never) func fill(_ array: inout HugeArray<Int>) {
  for index in array.indices { array[index] = index }
}
@inline(never) func fillByPieces(_ array: inout HugeArray<Int>) {
  array.withMutableContiguousPieces { start, piece in
    for index in piece.indices { piece[index] = start &+ index }
  }
}
@inline(never) func gather(_ array: [Int], _ tries: Int) -> Int {
  var random = Random(seed: 3)
  var sum = 0
  let mask = UInt64(array.count - 1)
  for _ in 0..<tries { sum &+= array[Int(random.next() & mask)] }
  return sum
}
@inline(never) func gather(_ array: UnsafeMutableBufferPointer<Int>, _ tries: Int) -> Int {
  var random = Random(seed: 3)
  var sum = 0
  let mask = UInt64(array.count - 1)
  for _ in 0..<tries { sum &+= array[Int(random.next() & mask)] }
  return sum
}
@inline(never) func gather(_ array: HugeArray<Int>, _ tries: Int) -> Int {
  var random = Random(seed: 3)
  var sum = 0
  let mask = UInt64(array.count - 1)
  for _ in 0..<tries { sum &+= array[Int(random.next() & mask)] }
  return sum
}
@inline(never) func scatter(_ array: inout [Int], _ tries: Int) {
  var random = Random(seed: 4)
  let mask = UInt64(array.count - 1)
  for index in 0..<tries { array[Int(random.next() & mask)] = index }
}
@inline(never) func scatter(_ array: inout HugeArray<Int>, _ tries: Int) {
  var random = Random(seed: 4)
  let mask = UInt64(array.count - 1)
  for index in 0..<tries { array[Int(random.next() & mask)] = index }
}
