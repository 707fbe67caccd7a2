import Foundation
import HugeMemory
import Testing

@testable import HugeArrays

@Suite struct ValueTests {
  @Test func whatNobodyWroteIsZeroAndCostsNothing() throws {
    let machine = try quietMachine()
    let array = HugeArray<Int>(count: 1 << 40, machine: machine)
    #expect(array[0] == 0 && array[1 << 39] == 0 && array[1 << 40 - 1] == 0)
    #expect(array.nonZeroRanges.isEmpty && machine.memoryUsed == 0)
    #expect(HugeArray(repeating: 0, count: 1 << 40, machine: machine) == array)
    #expect(machine.memoryUsed == 0)
  }

  @Test func aCopyCostsNothingAndTheFirstWriteAPage() throws {
    let machine = try quietMachine()
    var array = HugeArray(0..<(1 << 20), machine: machine)
    machine.settle()
    let before = machine.memoryUsed
    let copy = array
    #expect(machine.memoryUsed == before)
    array[1 << 19] = -1
    machine.settle()
    // The page, its table and the root.
    #expect(machine.memoryUsed - before <= 3 * 4096)
    #expect(copy[1 << 19] == 1 << 19 && array[1 << 19] == -1)
    #expect(array.changes(since: copy) == [1 << 19..<1 << 19 + 512])
    #expect(copy.changes(since: array) == [1 << 19..<1 << 19 + 512])
  }

  @Test func growingAddsLevelsOfTables() throws {
    let machine = try quietMachine()
    var array = HugeArray<Int>(count: 1000, machine: machine)
    for index in array.indices { array[index] = index }
    let small = array
    for count in [1 << 27, 1 << 27 + 1, 1 << 36, 1 << 36 + 1, 1 << 44] {
      try array.resize(to: count)
      array[count - 1] = count
      #expect(array[999] == 999 && array[count - 1] == count)
    }
    #expect(small.elements == Array(0..<1000))
    // The pages that were written to, and what only the longer one has.
    #expect(array.changes(since: small).first?.lowerBound ?? 0 >= 512)
    try array.resize(to: 1000)
    #expect(array == small)
    try array.resize(to: 1 << 28)
    #expect(array.nonZeroRanges == [0..<1024])
    #expect(array[1 << 27] == 0)
  }

  @Test func memoryThatIsRemovedGoesBack() throws {
    let machine = try quietMachine()
    var array = HugeArray(repeating: 7, count: 1 << 20, machine: machine)
    machine.settle()
    let before = machine.memoryUsed
    try array.removeAll(in: 0..<1 << 19)
    machine.settle()
    #expect(machine.memoryUsed <= before / 2 + 8192)
    #expect(array[0] == 0 && array[1 << 19] == 7)
    // Parts of pages are cleared.
    try array.removeAll(in: 1 << 19..<1 << 19 + 5)
    #expect(array[1 << 19 + 4] == 0 && array[1 << 19 + 5] == 7)
    try array.resize(to: 0)
    machine.settle()
    // The tables above.
    #expect(machine.memoryUsed <= 8192)
  }

  @Test func equalityAndHashLookAtValuesNotAtMemory() throws {
    let machine = try quietMachine()
    var written = HugeArray<Double>(count: 5000, machine: machine)
    for index in written.indices { written[index] = index % 2 == 0 ? 0.0 : -0.0 }
    let untouched = HugeArray<Double>(count: 5000, machine: machine)
    #expect(written == untouched && written.hashValue == untouched.hashValue)
    written[4999] = 1
    #expect(written != untouched)
    #expect(untouched != HugeArray<Double>(count: 4999, machine: machine))
    let elsewhere = HugeArray(written.elements, machine: try quietMachine())
    #expect(elsewhere == written && elsewhere.hashValue == written.hashValue)
    #expect(elsewhere.changes(since: untouched) == [0..<5000])
  }

  @Test func slicesAndAlgorithmsOfTheStandardLibraryWork() {
    var array: HugeArray = [5, 3, 9, 1, 7]
    array[1..<4].sort()
    #expect(array.elements == [5, 1, 3, 9, 7])
    array.sort()
    #expect(array.elements == [1, 3, 5, 7, 9] && array.firstIndex(of: 7) == 3)
    array.insert(4, at: 2)
    array.remove(at: 0)
    array += [11]
    array.removeAll { $0 % 2 == 0 }
    #expect(array.elements == [3, 5, 7, 9, 11] && array.reversed().first == 11)
    #expect("\(array)" == "[3, 5, 7, 9, 11]")
    array.insert(contentsOf: array[1...2], at: 0)
    #expect(array.elements == [5, 7, 3, 5, 7, 9, 11])
    array.replaceSubrange(0..<2, with: array)
    #expect(array.elements == [5, 7, 3, 5, 7, 9, 11, 3, 5, 7, 9, 11])
    array.removeAll()
    #expect(array.isEmpty && array.popLast() == nil)
    #expect("\(HugeArray<Int>(count: 5000))" == "5000 elements, of which none may not be 0")
  }

  @Test func anIteratorKeepsTheElementsThatItBeganWith() throws {
    let machine = try quietMachine()
    var array = HugeArray(0..<3000, machine: machine)
    var iterator = array.makeIterator()
    for expected in 0..<1000 { #expect(iterator.next() == expected) }
    var second = iterator
    for index in array.indices { array[index] = -1 }
    machine.disturb()
    for expected in 1000..<3000 { #expect(iterator.next() == expected) }
    for expected in 1000..<3000 { #expect(second.next() == expected) }
    #expect(iterator.next() == nil && second.next() == nil && iterator.next() == nil)
  }

  @Test func itIsEncodedAsWhatIsNotZero() throws {
    var array = HugeArray<Int>(count: 1 << 40)
    array[1] = 2
    array[2] = 3
    array[1 << 30] = 7
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    let data = try encoder.encode(array)
    #expect(
      String(decoding: data, as: UTF8.self)
        == #"{"count":1099511627776,"parts":[[1,2,3],[1073741824,7]]}"#)
    #expect(try JSONDecoder().decode(HugeArray<Int>.self, from: data) == array)
  }

  @Test(arguments: [
    #"{"count":-1,"parts":[]}"#, #"{"count":9223372036854775807,"parts":[]}"#,
    #"{"count":2,"parts":[[2,1]]}"#, #"{"count":2,"parts":[[-1,1]]}"#,
    #"{"count":2,"parts":[[0,1,2,3]]}"#, #"{"count":2,"parts":[[9223372036854775807,1,2]]}"#,
    #"{"parts":[]}"#, #"{"count":1}"#, #"{"count":1,"parts":[[]]}"#,
    #"{"count":1,"parts":[["a"]]}"#,
  ])
  func whatIsNotAnArrayIsNotDecoded(text: String) {
    #expect(throws: DecodingError.self) {
      try JSONDecoder().decode(HugeArray<Int>.self, from: Data(text.utf8))
    }
  }

  /// A fork makes the window read-only, and it may still be read. What writes past it must end it.
  @Test func aWriteByPiecesIsSeenThroughTheWindow() throws {
    let machine = try quietMachine()
    var array = HugeArray<Int>(count: 1000, machine: machine)
    array[0] = 1
    var copy = array
    copy[0] = 2
    array.withMutableContiguousPieces { _, piece in piece[0] = 3 }
    #expect(array[0] == 3 && copy[0] == 2 && array.first == 3)
    copy = array
    copy[1] = 2
    try array.reserveMemory(in: 0..<1000)
    array[0] = 4
    array[999] = 5
    array[0] = 6
    #expect(array[0] == 6 && copy[0] == 3 && array.first == 6)
  }

  @Test func memoryIsReservedAcrossSlotsAndGivenBack() throws {
    let machine = try quietMachine()
    var array = HugeArray<Int>(count: 1 << 20, machine: machine)
    try array.reserveMemory(in: 100..<array.count)
    #expect(machine.memoryUsed > 8 << 20)
    try array.resize(to: 0)
    machine.settle()
    #expect(machine.memoryUsed <= 8192)
  }

  @Test func anotherHugeArrayIsAppendedByWhatItHas() throws {
    let machine = try quietMachine(32)
    var sparse = HugeArray<Int>(count: 1 << 40)
    sparse[1 << 39] = 7
    var array = HugeArray(sparse, machine: machine)
    #expect(array == sparse && machine.memoryUsed < 1 << 20)
    array.append(1)
    array.append(contentsOf: sparse)
    #expect(array.count == 2 << 40 + 1 && array[1 << 40] == 1)
    #expect(array[1 << 40 + 1 + 1 << 39] == 7 && machine.memoryUsed < 1 << 20)
  }

  @Test func whatADebuggerShowsIsElements() {
    let array: HugeArray = [1, 2, 3]
    #expect(Mirror(reflecting: array).children.map { $0.value as? Int } == [1, 2, 3])
    #expect(Mirror(reflecting: HugeArray<Int>(count: 1 << 40)).children.count == 2)
  }

  @Test func manySpansCostNoMoreThanFew() throws {
    var array = HugeArray<UInt8>(count: 1 << 31)
    for index in stride(from: 0, to: array.count, by: 1 << 21) { array[index] = 1 }
    var seen = 0
    for index in stride(from: 0, to: array.count, by: 1 << 21) {
      seen += Int(array.span(of: index..<index + 4096)[0])
    }
    #expect(seen == 1024)
    try array.removeAll(in: 0..<4096)
    #expect(array.storage.borrowed.count == 0)
  }
}
