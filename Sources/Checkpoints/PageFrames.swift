import Frames

/// Which frames have the pages of a checkpoint, as far as they were read. A page that several tables name
/// is read once.
struct PageFrames: Sendable {
  /// The frame of each page that was read as one of data; 0 for none yet.
  var smalls: [FrameNumber]
  /// The frames that were read as a whole, by their first page.
  var huges: [UInt32: FrameNumber] = [:]
  /// Tables by their page. A page that is a table of two levels is damaged.
  var tables: [UInt32: (frame: FrameNumber, level: Int)] = [:]

  init(pages: UInt32) { smalls = Array(repeating: 0, count: Int(pages) + 1) }

  /// What the frames have that were read, for a checkpoint that goes on from this one.
  func numbers(in arena: Arena) -> PageNumbers {
    var numbers = PageNumbers(frames: arena.capacity + 2 * FrameGeometry.framesPerHuge)
    for (page, frame) in smalls.enumerated() where frame != 0 { numbers.set(frame, UInt32(page)) }
    for (page, frame) in huges {
      for part in 0..<FrameGeometry.framesPerHuge {
        numbers.set(frame + FrameNumber(part), page + UInt32(part))
      }
    }
    for (page, table) in tables { numbers.set(table.frame, page) }
    return numbers
  }
}
