import Frames
import Glibc
import Paging

extension AddressSpace {
  /// Writes bytes from a buffer, as `write(at:from:)` with a span does. Memory shared with a fork is
  /// copied first, 4 KiB at a time.
  ///
  /// Throws `outOfMemory` or `overQuota` if there is no room even after reclaim. Part of a write of
  /// several pages may have been done by then. Throws `notMapped` or `accessDenied`, and changes
  /// nothing, if a mapping does not allow writing.
  /// - Complexity: O(length); lock-free where this space alone owns the memory.
  public func write(
    at offset: UInt64, from source: UnsafeRawBufferPointer
  ) throws(MemoryError) {
    try check(offset, UInt64(source.count))
    try checkAccess(.write, offset, source.count)
    var done = 0
    while done < source.count {
      let at = offset + UInt64(done)
      // SAFETY: `done + length` lies within `source`.
      let from = unsafe source.baseAddress.unsafelyUnwrapped + done
      let length = min(source.count - done, Self.rest(at, 2))
      let copied = unsafe copyIn(at, from, length)
      done += copied
      if copied < length {
        let at = offset + UInt64(done)
        do {
          done += unsafe try writeFault(at, from + copied, length - copied)
        } catch {
          done += unsafe try writeAgain(at, from + copied, length - copied, after: error)
        }
      }
    }
  }

  /// Writes to one 2 MiB slot as far as this space can without a fault. Returns the number of bytes
  /// written.
  @inline(__always)
  private func copyIn(_ offset: UInt64, _ source: UnsafeRawPointer, _ length: Int) -> Int {
    let section = grace.enter()
    let slot = slot(offset)
    var done = 0
    if slot.exclusive && slot.entry.isWritable {
      if slot.entry.kind == .huge {
        let within = Int(offset & UInt64(FrameGeometry.hugeSize - 1))
        let page = unsafe arena.address(slot.entry.frame) + within
        unsafe Self.copy(to: page, from: source, length, cold: page)
        done = length
      } else {
        let table = Table(slot.entry.frame, in: arena)
        prefetch(offset, behind: table)
        while done < length {
          let at = offset + UInt64(done)
          let entry = table[Radix.index(at, 1)]
          guard entry.kind == .small, entry.isWritable else { break }
          let piece = min(length - done, Self.rest(at, 1))
          let within = Int(at & UInt64(FrameGeometry.frameSize - 1))
          let page = unsafe arena.address(entry.frame) + within
          unsafe Self.copy(to: page, from: source + done, piece, cold: page)
          done += piece
        }
      }
    }
    section.leave()
    return done
  }

  /// Writes where an entry has to change first, within one 2 MiB slot and one mapping. A new frame
  /// is filled before it is published. Returns the number of bytes written, or 0 if another thread
  /// has made the page writable meanwhile. With a `length` of 0, only makes the page writable.
  func writeFault(
    _ offset: UInt64, _ source: UnsafeRawPointer, _ length: Int
  ) throws(MemoryError) -> Int {
    machine.events.fault.count()
    return try lock.withLock { () throws(MemoryError) -> Int in
      let length = try lengthAllowed(.write, offset, length)
      touchMapping(offset)
      let upper = try exclusiveTable(offset, 2)
      let index = Radix.index(offset, 2)
      let entry = upper[index]
      if entry.kind == .huge {
        if entry.isWritable { return 0 }
        if arena.hasOneReference(entry.frame) {
          upper.set(index, entry.madeWritable)
          regain(entry)
          return 0
        }
      }
      if takesHuge(entry, offset, length) {
        if unsafe writeHuge(upper, index, offset, source, length) { return length }
        machine.events.faultFallback.count()
      }
      let table = try smallTable(upper, index)
      return unsafe try writeSmall(table, offset, source, length)
    }
  }

  /// Whether a write fault on a slot's entry takes a huge frame.
  private func takesHuge(_ entry: Entry, _ offset: UInt64, _ length: Int) -> Bool {
    // A write of the whole slot does not need what was there.
    if length == FrameGeometry.hugeSize { return true }
    switch entry.kind {
    case .none: return mayBeHuge(offset)
    case .zero:
      // Linux does not check the advice again. We do: our huge zero entries also exist where huge
      // pages are off, and there memory is used to the page.
      let policy = machine.policy
      return policy.zeroWrite == .huge && (policy.followsLinux || mayBeHuge(offset))
    default: return false
    }
  }

  /// Replaces a slot by a new huge frame; false if there is none.
  private func writeHuge(
    _ upper: Table, _ index: Int, _ offset: UInt64, _ source: UnsafeRawPointer, _ length: Int
  ) -> Bool {
    let old = upper[index]
    guard let frame = allocateHuge(offset, zeroed: length < FrameGeometry.hugeSize) else {
      return false
    }
    let within = Int(offset & UInt64(FrameGeometry.hugeSize - 1))
    unsafe memcpy(arena.address(frame) + within, source, length)
    replace(upper, index, Entry(.huge, frame, writable: true))
    machine.events.faultAlloc.count()
    retire(old, level: 1)
    return true
  }

  /// A huge frame for a fault. `defrag` decides whether this reclaims.
  func allocateHuge(_ offset: UInt64, zeroed: Bool) -> FrameNumber? {
    guard admits(FrameGeometry.framesPerHuge) else { return nil }
    if let frame = takeHuge(zeroed: zeroed) { return frame }
    let reclaims =
      switch machine.policy.defrag {
      case .always: true
      case .madvise, .deferredMadvise: mapping(at: offset).advice == .huge
      case .deferred, .never: false
      }
    // Nobody uses what waits for a grace period.
    guard machine.retired.drain(into: machine) || reclaims else { return nil }
    if reclaims { machine.freeUnused() }
    return takeHuge(zeroed: zeroed)
  }

  /// Writes page by page, as long as the pages need a fault.
  private func writeSmall(
    _ table: Table, _ offset: UInt64, _ source: UnsafeRawPointer, _ length: Int
  ) throws(MemoryError) -> Int {
    var done = 0
    repeat {
      let at = offset + UInt64(done)
      let index = Radix.index(at, 1)
      let entry = table[index]
      if entry.kind == .small {
        if entry.isWritable { return done }
        if arena.isSole(entry.frame) {
          table.set(index, entry.madeWritable)
          regain(entry)
          return done
        }
      }
      guard let frame = takeSmall(for: entry) else {
        // Returns what was written so far. The next call throws.
        if done > 0 { return done }
        throw full(for: entry)
      }
      let piece = min(length - done, Self.rest(at, 1))
      let page = unsafe arena.address(frame)
      if piece < FrameGeometry.frameSize {
        if entry.kind == .small {
          unsafe memcpy(page, arena.address(entry.frame), FrameGeometry.frameSize)
        } else {
          unsafe memset(page, 0, FrameGeometry.frameSize)
        }
      }
      let within = Int(at & UInt64(FrameGeometry.frameSize - 1))
      unsafe memcpy(page + within, source + done, piece)
      replace(table, index, Entry(.small, frame, writable: true).kept(entry.isKept))
      if entry.kind == .small {
        machine.events.copyOnWrite.count()
        retire(entry, level: 0)
      }
      done += piece
    } while done < length
    return done
  }

  /// Retires what an entry mapped that was removed from its table. `level` is the level of the
  /// table that it names, if it names one.
  func retire(_ entry: Entry, level: Int) {
    let huge = FrameGeometry.framesPerHuge
    let kept = discharge(entry)
    switch entry.kind {
    case .none, .zero: break
    case .small: machine.retire(.small(entry.frame), promising: kept)
    case .huge: machine.retire(.data(entry.frame), frames: huge, promising: kept)
    case .table:
      machine.retire(.table(entry.frame, level: level), frames: huge, promising: kept)
    }
  }
}
