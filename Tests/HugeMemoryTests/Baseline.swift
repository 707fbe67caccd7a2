import Testing

@testable import HugeMemory

extension Machine {
  subscript(counter name: String) -> UInt64 { counters.first { $0.name == name }!.value }

  /// At rest, no frames and no references may be left (invariant 17).
  func expectBaseline(_ comment: Comment = "", _ location: SourceLocation = #_sourceLocation) {
    shrink()
    let kept: UInt64 = policy.zeroReference == .neverFreed && zeroPageReferences != 0 ? 1 : 0
    #expect(zeroPageReferences == kept * 2, comment, sourceLocation: location)
    #expect(memoryUsed == kept << 21, comment, sourceLocation: location)
  }
}
