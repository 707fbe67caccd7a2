import Frames
import Glibc
import HugeZeroPage
import Paging
import Primitives

/// Pieces of memory on their way out of a space, held by reference. The memory of each piece stays
/// alive, and is used for nothing else, until `release`. A slow reader of the pieces holds up no
/// grace period.
///
/// A concurrent write may still change the bytes of a pinned frame, as it may change those of a
/// `read` in progress. Holes are pieces of the zero page.
///
/// Use pins to send memory without a copy: with one vectored write for all pieces, while other
/// threads go on. For all else, `read` is simpler.
///
/// - Thread safety: none; one owner at a time.
@safe public struct Pins: ~Copyable {
  /// The number of pieces, at most `capacity`.
  public private(set) var count = 0
  /// The number of references held, at most `capacity`.
  private var held = 0
  /// The number of references held on huge frames. Each keeps 2 MiB from being used again, however
  /// small the piece is.
  package private(set) var hugeHeld = 0
  /// Where the pieces of this `pin` begin. They are not joined with earlier ones.
  private var first = 0
  private let capacity: Int
  private let machine: Machine
  private let pieces: UnsafeMutablePointer<UnsafeRawBufferPointer>
  /// The frames held. 0 stands for a reference on the zero page.
  private let frames: UnsafeMutablePointer<FrameNumber>

  /// Makes an empty list. `capacity` is the most pieces, and the most frames, that it holds at
  /// once.
  public init(machine: Machine, capacity: Int) {
    self.machine = machine
    self.capacity = capacity
    unsafe pieces = .allocate(capacity: capacity)
    unsafe frames = .allocate(capacity: capacity)
  }

  deinit {
    for index in 0..<held { Self.release(unsafe frames[index], in: machine) }
    unsafe pieces.deallocate()
    unsafe frames.deallocate()
  }

  /// How many more pieces of 4 KiB fit. `pin` needs a bit more than a piece for each page.
  public var room: Int { capacity - max(count, held) }

  /// A piece, valid until `release` or the end of these pins. Traps beyond `count`.
  public subscript(index: Int) -> UnsafeRawBufferPointer {
    precondition(index < count, "pins: index out of range")
    return unsafe pieces[index]
  }

  /// Releases everything held. The pieces are no longer valid.
  public mutating func release() {
    for index in 0..<held { Self.release(unsafe frames[index], in: machine) }
    held = 0
    hugeHeld = 0
    count = 0
    first = 0
  }

  private static func release(_ frame: FrameNumber, in machine: Machine) {
    if frame == 0 { machine.zeroPage.put() } else { machine.arena.release(frame) }
  }

  mutating func begin() { first = count }

  /// Appends a piece. The caller has already retained `frame`; nil if nothing needs to be held.
  /// Pieces that are adjacent in memory are joined, so that a send has few of them.
  mutating func append(
    _ address: UnsafeRawPointer, _ length: Int, holding frame: FrameNumber?, isHuge: Bool = false
  ) {
    if isHuge { hugeHeld += 1 }
    if let frame {
      unsafe frames[held] = frame
      held += 1
    }
    if count > first {
      let last = unsafe pieces[count - 1]
      if let base = last.baseAddress, unsafe base + last.count == address {
        unsafe pieces[count - 1] = UnsafeRawBufferPointer(start: base, count: last.count + length)
        return
      }
    }
    precondition(count < capacity, "pins: over capacity")
    unsafe pieces[count] = UnsafeRawBufferPointer(start: address, count: length)
    count += 1
  }
}

extension AddressSpace {
  /// Appends the memory of a range to `pins`, as it is now. Traps unless `room` of `pins` is at least
  /// two more than the whole pages in the length of the range. Throws as `read` does.
  ///
  /// - Complexity: O(pages); lock-free.
  public func pin(_ range: Range<UInt64>, into pins: inout Pins) throws(MemoryError) {
    try pin(at: range.lowerBound, length: range.upperBound - range.lowerBound, into: &pins)
  }

  /// As `pin(_:into:)`. `room` of `pins` must be at least `length / 4096 + 2`.
  package func pin(
    at offset: UInt64, length: UInt64, into pins: inout Pins
  ) throws(MemoryError) {
    try check(offset, length)
    if hasMappings.load(.relaxed) != 0 {
      try checkMappings(.read, offset, Int(clamping: length))
    }
    precondition(
      pins.room >= Int(clamping: length) / FrameGeometry.frameSize + 2, "pins: not enough room")
    pins.begin()
    let end = offset + length
    var at = offset
    var wait = SpinWait()
    while at < end {
      let piece = min(end - at, UInt64(Self.rest(at, 2)))
      if pinSlot(at, Int(piece), &pins) {
        at += piece
      } else {
        // The slot's huge frame is being split. Look again when that is done.
        wait.turn()
      }
    }
  }

  private func pinSlot(_ offset: UInt64, _ length: Int, _ pins: inout Pins) -> Bool {
    let section = grace.enter()
    let pinned = pinMapped(slot(offset), offset, length, &pins)
    section.leave()
    return pinned
  }

  /// Within a section.
  private func pinMapped(
    _ slot: Slot, _ offset: UInt64, _ length: Int, _ pins: inout Pins
  ) -> Bool {
    switch slot.entry.kind {
    case .huge:
      guard arena.retainHuge(slot.entry.frame) else { return false }
      let within = Int(offset & UInt64(FrameGeometry.hugeSize - 1))
      unsafe pins.append(
        UnsafeRawPointer(arena.address(slot.entry.frame) + within), length,
        holding: slot.entry.frame, isHuge: true)
    case .table:
      let table = Table(slot.entry.frame, in: arena)
      var done = 0
      while done < length {
        let at = offset + UInt64(done)
        var piece = min(length - done, Self.rest(at, 1))
        var entry = table[Radix.index(at, 1)]
        var wait = SpinWait()
        while entry.kind == .small && !arena.retainIfSame(entry.frame) {
          // Its huge frame is being split, under a spin lock.
          wait.turn()
          entry = table[Radix.index(at, 1)]
        }
        if entry.kind == .small {
          let within = Int(at & UInt64(FrameGeometry.frameSize - 1))
          unsafe pins.append(
            UnsafeRawPointer(arena.address(entry.frame) + within), piece, holding: entry.frame)
        } else {
          // A run of zeros is one piece and one reference.
          while done + piece < length,
            table[Radix.index(offset + UInt64(done + piece), 1)].kind != .small
          {
            piece = min(length - done, piece + FrameGeometry.frameSize)
          }
          pinZeros(piece, &pins)
        }
        done += piece
      }
    default: pinZeros(length, &pins)
    }
    return true
  }

  /// Zeros come from the zero page. If there is none, they come from memory that the system keeps.
  private func pinZeros(_ length: Int, _ pins: inout Pins) {
    if let frame = machine.getZeroPage() {
      unsafe pins.append(UnsafeRawPointer(arena.address(frame)), length, holding: 0)
    } else {
      unsafe pins.append(ZeroSource.page, length, holding: nil)
    }
  }
}
