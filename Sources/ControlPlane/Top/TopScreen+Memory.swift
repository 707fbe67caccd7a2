extension TopScreen {
  /// The bar, its legend, and what the system sees.
  func memory(_ status: ServerStatus, width: Int) -> [String] {
    let kinds = status.memoryByKind
    let indent = String(repeating: " ", count: Self.label)
    let total = "  \(ByteSize(status.memoryUsed)) of \(ByteSize(status.memoryLimit))"
    let bar = Self.bar(
      kinds.map(\.bytes), of: status.memoryLimit, width: width - Self.label - 2 - total.count)
    let free = status.memoryLimit - min(status.memoryLimit, status.memoryUsed)
    var legend = kinds.indices.map { index in
      "\(Self.mark(index)) \(kinds[index].name) \(ByteSize(kinds[index].bytes))"
    }
    legend.append("\(Self.freeMark) free \(ByteSize(free))")
    return [
      "memory".padded(to: Self.label) + "[\(bar)]" + total,
      indent + legend.joined(separator: Self.gap),
      indent + "resident \(ByteSize(status.residentMemory))" + Self.gap
        + "given back \(ByteSize(status.memoryGivenBack))",
    ]
  }

  /// `width` characters for `total` bytes, each part in its own. Rounded on the sums, so that the
  /// bar as a whole is as long as what is used; a part that is there at all has one character if
  /// the bar has room.
  static func bar(_ parts: [UInt64], of total: UInt64, width: Int) -> String {
    guard width > 0 else { return "" }
    var bar = ""
    var sum: UInt64 = 0
    for (index, part) in parts.enumerated() where part > 0 {
      // A limit that has fallen below what is used: the bar is full.
      sum += min(part, total - sum)
      let end = total == 0 ? width : Int((Double(sum) / Double(total) * Double(width)).rounded())
      let length = min(width - bar.count, max(1, end - bar.count))
      bar += String(repeating: mark(index), count: length)
    }
    return bar + String(repeating: freeMark, count: width - bar.count)
  }

  static func mark(_ kind: Int) -> Character {
    let marks: [Character] = ["#", "0", "=", "+", "%", "*"]
    return marks[kind % marks.count]
  }
  static let freeMark: Character = "."
}
