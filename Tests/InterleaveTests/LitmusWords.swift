import Interleave

/// The locations of a litmus shape. They are words of the checker or, when the shape is printed,
/// names.
final class LitmusWords {
  let x: LitmusWord, y: LitmusWord, z: LitmusWord
  private let recorder: Recorder?

  init(_ words: Words) {
    recorder = nil
    x = LitmusWord(location: .x, words: words, recorder: nil)
    y = LitmusWord(location: .y, words: words, recorder: nil)
    z = LitmusWord(location: .z, words: words, recorder: nil)
  }

  init(_ recorder: Recorder) {
    self.recorder = recorder
    x = LitmusWord(location: .x, words: nil, recorder: recorder)
    y = LitmusWord(location: .y, words: nil, recorder: recorder)
    z = LitmusWord(location: .z, words: nil, recorder: recorder)
  }

  func fence(_ order: MemoryOrder = .sequential) {
    if let recorder { recorder.fence(order) } else { ModelWord.fence(order) }
  }
}

/// A location, with the methods of `ModelWord`. With a recorder, it returns tokens.
struct LitmusWord {
  let location: Program.Location
  let words: Words?
  let recorder: Recorder?

  func load(_ order: MemoryOrder) -> UInt64 {
    recorder?.load("\(location)", order) ?? words!.with(location) { $0.load(order) }
  }

  func store(_ value: UInt64, _ order: MemoryOrder) {
    if let recorder { return recorder.store("\(location)", value, order) }
    words!.with(location) { $0.store(value, order) }
  }

  @discardableResult
  func add(_ value: UInt64, _ order: MemoryOrder) -> UInt64 {
    recorder?.add("\(location)", value, order) ?? words!.with(location) { $0.add(value, order) }
  }

  /// Returns the value found.
  func compareExchange(
    _ expected: UInt64, _ desired: UInt64, _ order: MemoryOrder
  ) -> UInt64 {
    recorder?.compareExchange("\(location)", expected, desired, order)
      ?? words!.with(location) { $0.compareExchange(expected, desired, order).original }
  }
}
