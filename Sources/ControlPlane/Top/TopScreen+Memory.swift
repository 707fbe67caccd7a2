extension TopScreen {
  /// Three lines: the bar, its legend, and the memory that the system sees.
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

  /// A bar of `width` characters for `total` bytes. Each part has its own character. The sums of
  /// parts are rounded, not the parts, so that the bar as a whole is as long as what is used. A
  /// part that is not 0 has at least one character if the bar has room.
  static func bar(_ parts: [UInt64], of total: UInt64, width: Int) -> String {
    guard width > 0 else { return "" }
    var bar = ""
    var sum: UInt64 = 0
    for (index, part) in parts.enumerated() where part > 0 {
      // If the limit has fallen below the memory used, the bar is full.
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
