/// What is said to a keeper, a packet each. A keeper may be of an older version than the server, since it
/// lives through upgrades, so this must stay as it is. What is new gets a new first word.
enum KeeperRequest: String {
  /// Hand over the file. The connection stays, and ends with the keeper.
  case take = "hugemem 1 take"
  /// Drop the memory and end.
  case end = "hugemem 1 end"
}

/// The answers of a keeper, a packet each.
enum KeeperReply: Equatable {
  /// With the file's descriptor. `since` is in seconds since 1970.
  case file(since: Int)
  case ended
  /// A server uses the file.
  case inUse
  case refused(String)

  var text: String {
    switch self {
    case .file(let since): "file \(since)"
    case .ended: "ended"
    case .inUse: "in use"
    case .refused(let why): "refused \(why)"
    }
  }

  init?(_ text: String) {
    let words = text.split(separator: " ", maxSplits: 1)
    switch words.first {
    case "file":
      guard words.count == 2, let since = Int(words[1]) else { return nil }
      self = .file(since: since)
    case "ended" where words.count == 1: self = .ended
    case "in" where text == "in use": self = .inUse
    case "refused": self = .refused(words.count == 2 ? String(words[1]) : "")
    default: return nil
    }
  }
}
