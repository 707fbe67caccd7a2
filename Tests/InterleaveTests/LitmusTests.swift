import Interleave
import Testing

/// A shape from the literature, the result in question, and whether C11 allows it. The expectations
/// are those of herd7 for `rc11.cat` (`make herd` compares all results), unless a comment says that
/// C++20 differs.
struct Shape: Sendable, CustomTestStringConvertible {
  enum Expectation: Sendable {
    case allowed, forbidden
    /// C11 allows it, but the checker does not find it. This is one of its documented limits.
    case missed
  }
  let name: String
  let expectation: Expectation
  let isResult: @Sendable ([UInt64]) -> Bool
  let threads: @Sendable (LitmusWords, Registers) -> [() -> Void]

  init(
    _ name: String, _ expectation: Expectation,
    _ isResult: @escaping @Sendable ([UInt64]) -> Bool,
    _ threads: @escaping @Sendable (LitmusWords, Registers) -> [() -> Void]
  ) {
    self.name = name
    self.expectation = expectation
    self.isResult = isResult
    self.threads = threads
  }

  var litmus: Litmus { { words, registers in threads(LitmusWords(words), registers) } }
  var testDescription: String { name }
}

@Suite struct LitmusTests {
  @Test(arguments: storeBuffering + messagePassing + releaseSequences)
  func twoThreads(_ shape: Shape) { verify(shape) }

  @Test(arguments: causality + coherence + orders + readModifyWrites)
  func others(_ shape: Shape) { verify(shape) }

  private func verify(_ shape: Shape) {
    for reduction in reductions {
      let (results, report) = outcomes(reduction, shape.litmus)
      #expect(report.isComplete, "\(report)")
      let found = results.contains { shape.isResult($0) }
      #expect(found == (shape.expectation == .allowed), "\(reduction)")
    }
  }
}
