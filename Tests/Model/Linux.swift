// System calls and the C library in the model. A module's own declarations win over imported ones,
// so the engine's sources, which still import Glibc and CLinux, find these.

import Glibc
import Interleave

// MARK: Threads

/// All threads are on one core, so they share one core cache.
public func hm_current_core() -> Int32 { 0 }
/// Only called by a thread that waits for another. The module's name is necessary because the C
/// library has a `pause` too, which waits for a signal.
@discardableResult public func sched_yield() -> Int32 {
  Interleave.pause()
  return 0
}
public func sysconf(_: Int32) -> Int { 1 }
public func hm_prefetch(_: UnsafeRawPointer!) {}

// MARK: Memory

/// The arena of the execution: where its frames are, and a plain cell for the contents of each.
public nonisolated(unsafe) var physical: Physical?

public final class Physical {
  var base: UInt = 0
  var cells: [ModelCell] = []

  /// The frames that a range of addresses touches; empty outside of the arena.
  func frames(_ address: UnsafeRawPointer, _ count: Int) -> Range<Int> {
    let start = UInt(bitPattern: address)
    guard start >= base, start < base + UInt(cells.count * FrameGeometry.frameSize) else {
      return 0..<0
    }
    let first = Int(start - base) >> FrameGeometry.frameShift
    let last = (Int(start - base) + count - 1) >> FrameGeometry.frameShift
    return first..<last + 1
  }
}

private func frames(_ address: UnsafeRawPointer, _ count: Int) -> (Physical, Range<Int>)? {
  guard let physical else { return nil }
  let range = physical.frames(address, count)
  return range.isEmpty ? nil : (physical, range)
}

/// Every frame has words, which are the entries if the frame is a table. If it holds data, the
/// words are unused, and one cell stands for its contents.
public func hm_reserve(_ length: Int, _ huge: Int32) -> UnsafeMutableRawPointer! {
  // Metadata is requested in whole huge pages. A model needs only a little of that.
  let stride = MemoryLayout<FrameMetadata>.stride
  let memory = calloc(1, huge == 0 ? (physical?.cells.count ?? 0) * stride : length)!
  if huge == 0 {
    // A word and zeroed counts for each frame, except in the first block, which is never used.
    let make = {
      for index in FrameGeometry.framesPerHuge..<(physical?.cells.count ?? 0) {
        (memory + index * stride).initializeMemory(
          as: AtomicWord.self, to: AtomicWord(0, name: "metadata \(index)"))
      }
    }
    if let memoryFile, memoryFile.keepsMetadata, memoryFile.metadata == nil {
      memoryFile.metadata = memory.assumingMemoryBound(to: FrameMetadata.self)
      surviving(make)
    } else {
      make()
    }
  } else {
    let physical = Physical()
    physical.base = UInt(bitPattern: memory)
    let count = length >> FrameGeometry.frameShift
    let words = memory.bindMemory(
      to: AtomicWord.self, capacity: length / MemoryLayout<AtomicWord>.stride)
    for frame in 0..<count {
      physical.cells.append(ModelCell(0, name: "contents of frame \(frame)"))
      // The first block is never used.
      guard frame >= FrameGeometry.framesPerHuge else { continue }
      for slot in 0..<FrameGeometry.framesPerHuge {
        (words + frame * FrameGeometry.framesPerHuge + slot).initialize(
          to: AtomicWord(0, name: "frame \(frame) word \(slot)"))
      }
    }
    ProtocolsModel.physical = physical
  }
  return memory
}
public func hm_release(_ address: UnsafeMutableRawPointer!, _: Int) -> Int32 {
  // The frames of a memory file outlive the machine.
  if memoryFile?.has(address) != true { free(address) }
  return 0
}
public func hm_allow_huge_backing(
  _ address: UnsafeMutableRawPointer!, _ length: Int, _ allowed: Int32
) -> Int32 { 0 }
@discardableResult
public func hm_give_back(_ address: UnsafeMutableRawPointer!, _ length: Int) -> Int32 {
  _ = memset(address, 0, length)
  return 0
}
/// Changes the protection. Making memory writable counts as a write, since nobody may be reading
/// then.
public func hm_protect(_ address: UnsafeMutableRawPointer!, _ length: Int, _ writable: Int32)
  -> Int32
{
  if writable != 0, let (physical, range) = frames(address, length) {
    for frame in range { physical.cells[frame].store(0) }
  }
  return 0
}

// MARK: Contents

@discardableResult
public func memset(
  _ target: UnsafeMutableRawPointer, _ value: Int32, _ count: Int
) -> UnsafeMutableRawPointer! {
  guard let (physical, range) = frames(target, count) else {
    target.initializeMemory(as: UInt8.self, repeating: UInt8(value), count: count)
    return target
  }
  let words = UnsafeMutableRawPointer(bitPattern: physical.base)!.assumingMemoryBound(
    to: AtomicWord.self)
  fill(physical, range, 0)
  for frame in range {
    for slot in 0..<FrameGeometry.framesPerHuge {
      words[frame * FrameGeometry.framesPerHuge + slot].store(0, .relaxed)
    }
  }
  return target
}

/// Stores the contents of frames. A planted bug puts it off.
private func fill(_ physical: Physical, _ range: Range<Int>, _ value: UInt64) {
  let store = { for frame in range { physical.cells[frame].store(value) } }
  if plantsLate == .fill, isInSection { putOff(ends: 1, store) } else { store() }
}

/// Copies one value. In a frame, the cell for its contents holds it; elsewhere, the first byte
/// does.
@discardableResult
public func memcpy(
  _ target: UnsafeMutableRawPointer, _ source: UnsafeRawPointer, _ count: Int
) -> UnsafeMutableRawPointer! {
  guard count > 0 else { return target }
  var value: UInt64 = 0
  if let (physical, range) = frames(source, count) {
    for frame in range { value = physical.cells[frame].load() }
  } else {
    value = UInt64(source.load(as: UInt8.self))
  }
  if let (physical, range) = frames(target, count) {
    fill(physical, range, value)
  } else {
    target.storeBytes(of: UInt8(truncatingIfNeeded: value), as: UInt8.self)
  }
  return target
}

/// The engine only compares memory with zeros, or with other memory of the arena.
public func memcmp(_ a: UnsafeRawPointer, _ b: UnsafeRawPointer, _ count: Int) -> Int32 {
  guard let (physical, range) = frames(a, count) else { return 0 }
  let others = physical.frames(b, count)
  return range.allSatisfy {
    let other =
      others.isEmpty ? 0 : physical.cells[others.lowerBound + $0 - range.lowerBound].load()
    return physical.cells[$0].load() == other
  } ? 0 : 1
}

// MARK: Giving back

extension Arena {
  /// Every frame of the model has memory of the system behind it, so there is nothing to do.
  func makeRoomElsewhere(_ order: Int, _ own: Int) -> Bool { false }
  // Only for a file that can run out.
  func obtainBlock(for _: Int, own _: Int, urgent _: Bool = false) -> Bool { false }
  func hasMemory(_: FrameNumber) -> Bool { true }
  func trim(all: Bool) -> Int { 0 }
  /// The metadata's words are kept.
  func forgetFrames(of: FrameNumber) {}
}
