/// A table of text with aligned columns. The first row is the heading.
public struct TextTable: Sendable, CustomStringConvertible {
  private let rows: [[String]]
  private let rightAligned: Range<Int>

  /// All `rows` must have as many columns as the first. Align numbers to the right, where they are
  /// easier to compare.
  public init(_ rows: [[String]], rightAligned: Range<Int> = 0..<0) {
    self.rows = rows
    self.rightAligned = rightAligned
  }

  public var lines: [String] {
    let widths = (rows.first ?? []).indices.map { column in
      rows.map { $0[column].count }.max() ?? 0
    }
    return rows.map { row in
      row.indices.map { column in
        let width = widths[column]
        let cell = row[column]
        return rightAligned.contains(column)
          ? cell.padded(from: width) + "  " : cell.padded(to: width + 2)
      }.joined().trimmed()
    }
  }

  public var description: String { lines.joined(separator: "\n") }
}

extension String {
  /// Adds spaces at the end, up to `width` characters.
  package func padded(to width: Int) -> String {
    self + String(repeating: " ", count: max(0, width - count))
  }
  /// Adds spaces at the beginning, up to `width` characters.
  func padded(from width: Int) -> String {
    String(repeating: " ", count: max(0, width - count)) + self
  }
  fileprivate func trimmed() -> String {
    var text = self
    while text.last == " " { text.removeLast() }
    return text
  }
}
