import FoundationEssentials
package import NIOCore

/// Parses server-sent events, which may come in any pieces.
package struct EventParser {
  /// The line that is not complete yet, and the fields of the event that is not.
  private var line: [UInt8] = []
  private var fields: [String: String] = [:]

  private struct Document: Decodable {
    let disk: String?
    let origin: String?
    let formerName: String?
    let count: Int?
  }

  package init() {}

  /// Returns the events that these bytes complete.
  mutating func take(_ bytes: ByteBuffer) throws -> [Event] {
    try messages(bytes).map { try event($0) }
  }

  /// The fields of each complete message.
  package mutating func messages(_ bytes: ByteBuffer) -> [[String: String]] {
    var found: [[String: String]] = []
    for byte in bytes.readableBytesView {
      guard byte == UInt8(ascii: "\n") else {
        line.append(byte)
        continue
      }
      let text = String(decoding: line, as: UTF8.self)
      line = []
      if text.isEmpty {
        // Comments have no name, and end no event.
        if fields["event"] != nil { found.append(fields) }
        fields = [:]
      } else if let colon = text.firstIndex(of: ":") {
        fields[String(text[..<colon])] = String(
          text[text.index(after: colon)...].drop { $0 == " " })
      }
    }
    return found
  }

  private func event(_ fields: [String: String]) throws -> Event {
    let kind = fields["event"] ?? ""
    let data = try JSONDecoder().decode(Document.self, from: Data((fields["data"] ?? "{}").utf8))
    return Event(
      kind: kind.hasPrefix("disk.") ? String(kind.dropFirst(5)) : kind,
      id: fields["id"].flatMap { UInt64($0) } ?? 0, disk: data.disk ?? "", origin: data.origin,
      formerName: data.formerName, count: data.count ?? 0)
  }
}
