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
  /// With the file's descriptor, the keeper's process number, and since when it is there, in seconds since
  /// 1970.
  case file(keeper: Int32, since: Int)
  case ended
  /// A server uses the file.
  case inUse
  case refused(String)

  var text: String {
    switch self {
    case .file(let keeper, let since): "file \(keeper) \(since)"
    case .ended: "ended"
    case .inUse: "in use"
    case .refused(let why): "refused \(why)"
    }
  }

  init?(_ text: String) {
    let words = text.split(separator: " ", maxSplits: 2)
    switch words.first {
    case "file":
      guard words.count == 3, let keeper = Int32(words[1]), let since = Int(words[2]) else {
        return nil
      }
      self = .file(keeper: keeper, since: since)
    case "ended" where words.count == 1: self = .ended
    case "in" where text == "in use": self = .inUse
    case "refused": self = .refused(words.dropFirst().joined(separator: " "))
    default: return nil
    }
  }
}
