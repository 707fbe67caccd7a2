import HugeMemory
import Testing

@testable import HugeArrays

/// Random operations on several copies that are alive at once, with `Array` as the model. Between
/// them the machine does whatever its background may do.
@Suite struct CollectionLawTests {
  /// The largest array: some slots of 2 MiB would be too slow to compare, so huge frames come from
  /// the policy.
  static let most = 6_000
  /// More of them with an optimizer (`make interleave`), which makes the fast paths and is twenty times as
  /// fast.
  static let seeds: ClosedRange<UInt64> = {
    var most: UInt64 = 40
    assert(
      {
        most = 6
        return true
      }())
    return 1...most
  }()

  @Test(arguments: Self.seeds) func itBehavesAsAnArrayOfBytes(seed: UInt64) throws {
    var laws = try Laws<UInt8>(seed: seed)
    try laws.run()
  }
  @Test(arguments: Self.seeds) func itBehavesAsAnArrayOfWords(seed: UInt64) throws {
    var laws = try Laws<Int32>(seed: seed)
    try laws.run()
  }
  @Test(arguments: Self.seeds) func itBehavesAsAnArrayOfIntegers(seed: UInt64) throws {
    var laws = try Laws<Int>(seed: seed)
    try laws.run()
  }
  @Test(arguments: Self.seeds) func itBehavesAsAnArrayOfStructures(seed: UInt64) throws {
    var laws = try Laws<Triple>(seed: seed)
    try laws.run()
  }
}

private struct Laws<Element: TestElement> {
  var random: Random
  let machine: Machine
  var copies: [(array: HugeArray<Element>, model: [Element])]

  init(seed: UInt64) throws {
    random = Random(seed: seed)
    machine = try quietMachine()
    if seed % 3 == 0 { machine.tune { $0 = .linux } }
    if seed % 3 == 1 { machine.tune { $0.maxPtesNone = 511 } }
    copies = [(HugeArray(machine: machine), [])]
  }

  mutating func run() throws {
    for step in 0..<300 {
      let index = random.below(copies.count)
      try change(index)
      let (array, model) = copies[min(index, copies.count - 1)]
      #expect(array.elements == model, "step \(step)")
      for _ in 0..<20 where !model.isEmpty {
        let index = random.below(model.count)
        #expect(array[index] == model[index], "step \(step), element \(index)")
      }
      if step % 30 == 0 { try compareAll() }
    }
    try compareAll()
    copies = []
    #expect(machine.isEmpty)
  }

  private mutating func element() -> Element {
    random.below(4) == 0 ? .zero : Element(number: Int(truncatingIfNeeded: random.next()))
  }
  private mutating func elements(_ count: Int) -> [Element] { (0..<count).map { _ in element() } }

  private mutating func change(_ at: Int) throws {
    let count = copies[at].model.count
    switch random.below(23) {
    case 0, 1, 2:
      guard count > 0 else { return }
      // Near each other, so that the window moves; and anywhere.
      var index = random.below(count)
      for _ in 0..<random.below(20) {
        let element = element()
        copies[at].array[index] = element
        copies[at].model[index] = element
        index = random.below(3) == 0 ? random.below(count) : min(index + 1, count - 1)
      }
    case 3:
      for _ in 0..<random.below(40) {
        let element = element()
        copies[at].array.append(element)
        copies[at].model.append(element)
      }
    case 4, 5:
      let added = elements(random.below(1200))
      copies[at].array.append(contentsOf: added)
      copies[at].model.append(contentsOf: added)
    case 6:
      let added = elements(random.below(50))
      copies[at].array.append(contentsOf: added.lazy.map { $0 })
      copies[at].model.append(contentsOf: added)
    case 7:
      for _ in 0..<min(count, random.below(20)) {
        #expect(copies[at].array.removeLast() == copies[at].model.removeLast())
      }
    case 8:
      let removed = random.below(count + 1) / 2
      copies[at].array.removeLast(removed)
      copies[at].model.removeLast(removed)
    case 9, 10:
      let range = random.range(count)
      let new = elements(random.below(range.count + 100))
      copies[at].array.replaceSubrange(range, with: new)
      copies[at].model.replaceSubrange(range, with: new)
    case 11:
      let range = random.range(count, length: 40)
      copies[at].array.removeSubrange(range)
      copies[at].model.removeSubrange(range)
    case 12:
      let range = random.range(count)
      try copies[at].array.removeAll(in: range)
      for index in range { copies[at].model[index] = .zero }
    case 13:
      let new = random.below(CollectionLawTests.most)
      try copies[at].array.resize(to: new)
      copies[at].model = Array(copies[at].model.prefix(new))
      copies[at].model += Array(repeating: .zero, count: new - copies[at].model.count)
    case 14:
      let range = random.range(count)
      let new = elements(range.count)
      try copies[at].array.update(from: new.span, at: range.lowerBound)
      copies[at].model.replaceSubrange(range, with: new)
    case 15:
      let range = random.range(count)
      let factor = random.below(100)
      copies[at].array.withMutableContiguousPieces(in: range) { start, piece in
        for index in piece.indices { piece[index] = Element(number: (start + index) &* factor) }
      }
      for index in range { copies[at].model[index] = Element(number: index &* factor) }
    case 16:
      let range = random.range(count)
      let new = element()
      var span = copies[at].array.mutableSpan(of: range)
      let written = span.count
      for index in span.indices { span[index] = new }
      #expect(written > 0 || range.isEmpty)
      for index in range.prefix(written) { copies[at].model[index] = new }
    case 17:
      let range = random.range(count)
      try copies[at].array.reserveMemory(in: range)
    case 22:
      let range = random.range(count, length: 30)
      let new = elements(random.below(40))
      copies[at].array[range] = HugeArray(new, machine: machine)[0..<new.count]
      copies[at].model.replaceSubrange(range, with: new)
    case 18:
      guard count > 1 else { return }
      let (one, two) = (random.below(count), random.below(count))
      copies[at].array.swapAt(one, two)
      copies[at].model.swapAt(one, two)
      copies[at].array.reverse()
      copies[at].model.reverse()
    case 19: copies.append(copies[at])
    case 20:
      if copies.count > 6 {
        copies.removeLast(5)
        return
      }
    default: machine.disturb()
    }
    if at < copies.count, copies[at].model.count > CollectionLawTests.most {
      copies[at].array.removeLast(copies[at].model.count - 1000)
      copies[at].model.removeLast(copies[at].model.count - 1000)
    }
  }

  /// Every copy has its elements by all ways to read them, and pairs of copies differ where they say.
  private mutating func compareAll() throws {
    for (array, model) in copies {
      #expect(array.count == model.count)
      #expect(array.indices.allSatisfy { array[$0] == model[$0] })
      var seen: [Element] = []
      array.withContiguousPieces { start, piece in
        #expect(start == seen.count)
        for index in piece.indices { seen.append(piece[index]) }
      }
      #expect(seen == model)
      let range = random.range(model.count)
      let span = array.span(of: range)
      #expect(span.count > 0 || range.isEmpty)
      #expect(span.indices.allSatisfy { span[$0] == model[range.lowerBound + $0] })
      let stored = array.nonZeroRanges
      #expect(zip(stored, stored.dropFirst()).allSatisfy { $0.upperBound <= $1.lowerBound })
      var rest = Set(model.indices.filter { model[$0] != .zero })
      for range in stored { rest.subtract(range) }
      #expect(rest.isEmpty)
      let (first, _) = copies[random.below(copies.count)]
      #expect((first == array) == (first.elements == model))
      if first == array { #expect(first.hashValue == array.hashValue) }
      var changed = Set(0..<max(first.count, array.count))
      for index in 0..<min(first.count, array.count) where first[index] == array[index] {
        changed.remove(index)
      }
      for range in array.changes(since: first) { changed.subtract(range) }
      #expect(changed.isEmpty)
      #expect(Array(array[range]) == Array(model[range]))
    }
  }
}
