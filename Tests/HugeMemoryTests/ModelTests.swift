import Foundation
import Testing

@testable import HugeMemory

/// Random programs on several spaces, compared with plain arrays of bytes. A failure names its
/// configuration and seed, which reproduce it.
@Suite(.serialized) struct ModelTests {
  struct Configuration: CustomTestStringConvertible, Sendable {
    var huge: Bool
    var reference: Policy.ZeroReference
    var limit: UInt64
    var testDescription: String { "huge \(huge), \(reference.rawValue), \(limit / mib) MiB" }
    static let all = [true, false].flatMap { huge in
      Policy.ZeroReference.allCases.flatMap { reference in
        // Enough room; room for a few huge frames; hardly any room.
        [512 * mib, 14 * mib, 3 * mib].map {
          Configuration(huge: huge, reference: reference, limit: $0)
        }
      }
    }
  }

  @Test(arguments: Configuration.all)
  func randomProgramsAgreeWithByteArrays(_ configuration: Configuration) throws {
    let first = UInt64(ProcessInfo.processInfo.environment["HUGEMEMORY_SEED"] ?? "1")!
    let runs = UInt64(ProcessInfo.processInfo.environment["HUGEMEMORY_RUNS"] ?? "2")!
    for seed in first..<first + runs {
      var program = try Program(configuration, seed: seed)
      for step in 0..<120 where program.failure == nil {
        try program.step()
        program.verify(all: step % 8 == 7)
      }
      program.finish()
      if let failure = program.failure {
        Issue.record("\(configuration.testDescription), seed \(seed): \(failure)")
        return
      }
    }
  }
}

/// A space and what it must contain.
struct Modelled {
  let space: AddressSpace
  var bytes: [UInt8]
}

struct Program: ~Copyable {
  let configuration: ModelTests.Configuration
  let machine: Machine
  let size: UInt64
  var random: Random
  var spaces: [Modelled]
  var pins: Pins
  var touched = 0
  var log: [String] = []
  var failure: String?

  init(_ configuration: ModelTests.Configuration, seed: UInt64) throws {
    var random = Random(seed: seed)
    let machine = try Machine(
      limit: configuration.limit,
      policy: Policy(huge: configuration.huge, reference: configuration.reference))
    let size = [4 * mib + 1234, 4 * mib, 2 * mib + 1].randomElement(using: &random)!
    let space = try machine.makeSpace(size: size)
    self.configuration = configuration
    self.machine = machine
    self.size = size
    self.random = random
    spaces = [Modelled(space: space, bytes: [UInt8](repeating: 0, count: Int(size)))]
    pins = Pins(machine: machine, capacity: 2048)
  }

  mutating func fail(_ what: String) {
    if failure == nil { failure = what + "\n" + log.suffix(12).joined(separator: "\n") }
  }

  /// Small and large ranges, many of them on the boundaries of pages, of slots and of the space.
  mutating func range() -> Range<UInt64> {
    func edge(_ random: inout Random, _ size: UInt64) -> UInt64 {
      let unit: UInt64 = [1, 1, page, page, slot].randomElement(using: &random)!
      return min(size, random.below(size / unit + 2) * unit)
    }
    let start = edge(&random, size)
    var end = edge(&random, size)
    if random.below(3) > 0 { end = min(size, start + 1 + random.below(3 * page)) }
    return min(start, end)..<max(start, end)
  }

  mutating func step() throws {
    let index = Int(random.below(UInt64(spaces.count)))
    touched = index
    let space = spaces[index].space
    let range = range()
    let (start, count) = (range.lowerBound, UInt64(range.count))
    let choice = random.below(20)
    log.append("space \(index) of \(spaces.count), \(range), operation \(choice)")
    switch choice {
    case 0..<6:
      var fresh = [UInt8](repeating: UInt8.random(in: 1...255, using: &random), count: Int(count))
      for at in stride(from: 0, to: fresh.count, by: 509) { fresh[at] = UInt8(at / 509 & 255) }
      try apply(index, range, fresh) { try space.write(fresh, at: start) }
    case 6..<9:
      if try !spaces[index].contains(space.bytes(at: start, count: count), at: start) {
        fail("read")
      }
    case 9..<12:
      try apply(index, range, [UInt8](repeating: 0, count: Int(count))) {
        try space.discard(at: start, length: count)
      }
    case 12:
      try apply(index, range, [UInt8](repeating: 0, count: Int(count))) {
        try space.zero(at: start, length: count, reserve: true)
      }
    case 13, 14:
      guard spaces.count < 5 else { return }
      spaces.append(Modelled(space: try space.fork(), bytes: spaces[index].bytes))
    case 15:
      let origin = Int(random.below(UInt64(spaces.count)))
      try space.reset(to: spaces[origin].space)
      spaces[index].bytes = spaces[origin].bytes
    case 16:
      guard spaces.count > 1 else { return }
      spaces.remove(at: index)
      touched = 0
    case 17:
      pins.release()
    case 18:
      guard UInt64(pins.room) >= count / page + 2 else { return }
      let before = pins.count
      try space.pin(at: start, length: count, into: &pins)
      var new: [UInt8] = []
      for piece in max(before, 1) - 1..<pins.count { unsafe new.append(contentsOf: pins[piece]) }
      // The first piece may have grown, but only at its end.
      if !spaces[index].contains(Array(new.suffix(Int(count))), at: start) {
        fail("pinned contents")
      }
    default: machine.shrink()
    }
  }

  /// Runs a change and applies it to the model. A full arena may have stopped the change anywhere.
  mutating func apply(
    _ index: Int, _ range: Range<UInt64>, _ fresh: [UInt8], _ change: () throws -> Void
  ) throws {
    let bounds = Int(range.lowerBound)..<Int(range.upperBound)
    do {
      try change()
      spaces[index].bytes.replaceSubrange(bounds, with: fresh)
    } catch MemoryError.outOfMemory {
      log.append("  out of memory")
      if configuration.limit > 256 * mib { fail("out of memory") }
      let old = spaces[index].slice(range)
      let now = try spaces[index].space.bytes(at: range.lowerBound, count: UInt64(range.count))
      if let at = firstForeign(now, fresh, old) {
        return fail("after out of memory, at \(range.lowerBound + UInt64(at))")
      }
      spaces[index].bytes.replaceSubrange(bounds, with: now)
    }
  }

  mutating func verify(all: Bool) {
    for index in spaces.indices where all || index == touched {
      if let wrong = spaces[index].mismatch() { fail("space \(index): \(wrong)") }
    }
  }

  mutating func finish() {
    spaces = []
    pins.release()
    machine.setLimit(configuration.limit)
    machine.shrink()
    let kept: UInt64 =
      configuration.reference == .neverFreed && machine.zeroPageReferences != 0 ? 1 : 0
    if machine.zeroPageReferences != 2 * kept {
      fail("at the end \(machine.zeroPageReferences) references on the zero page")
    }
    if machine.memoryUsed != kept * slot { fail("at the end \(machine.memoryUsed) bytes used") }
  }
}

extension Modelled {
  func slice(_ range: Range<UInt64>) -> [UInt8] {
    Array(bytes[Int(range.lowerBound)..<Int(range.upperBound)])
  }

  /// Whether the model has exactly these bytes at `offset`. A debug build compares arrays byte by
  /// byte, which this avoids.
  func contains(_ other: [UInt8], at offset: UInt64) -> Bool {
    unsafe bytes.withUnsafeBytes { model in
      unsafe other.withUnsafeBytes { other in
        guard let base = other.baseAddress else { return true }
        return unsafe memcmp(model.baseAddress! + Int(offset), base, other.count) == 0
      }
    }
  }

  /// Compares without mapping anything. What the walk reports as a hole or zero must be zeros, and
  /// reading data changes no entry. Returns what is wrong.
  func mismatch() -> String? {
    do {
      var at: UInt64 = 0
      for extent in try space.extents() {
        guard extent.offset == at, extent.length > 0 else { return "extents overlap at \(at)" }
        let real =
          extent.kind == .data
          ? try space.bytes(at: extent.offset, count: extent.length)
          : [UInt8](repeating: 0, count: Int(extent.length))
        if !contains(real, at: extent.offset) {
          let expected = slice(extent.offset..<extent.end)
          let first = zip(real, expected).enumerated().first { $1.0 != $1.1 }!.offset
          return
            "\(extent.kind) at \(extent.offset)+\(first) has \(real[first]), not \(expected[first])"
        }
        at = extent.end
      }
      return at == space.size ? nil : "extents end at \(at)"
    } catch { return "\(error)" }
  }
}

/// The first byte that is neither the fresh nor the old one. Skips runs of either by whole pages,
/// because a change stops only between pages.
private func firstForeign(_ now: [UInt8], _ fresh: [UInt8], _ old: [UInt8]) -> Int? {
  var at = 0
  while at < now.count {
    let count = min(512, now.count - at)
    let isKnown = unsafe now.withUnsafeBytes { now in
      [fresh, old].contains {
        unsafe $0.withUnsafeBytes {
          unsafe memcmp(now.baseAddress! + at, $0.baseAddress! + at, count) == 0
        }
      }
    }
    if !isKnown {
      for index in at..<at + count where now[index] != fresh[index] && now[index] != old[index] {
        return index
      }
    }
    at += count
  }
  return nil
}
