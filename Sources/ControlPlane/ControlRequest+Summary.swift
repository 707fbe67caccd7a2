extension ControlRequest {
  /// The request as the log shows it, in the words of the command line.
  var summary: String {
    switch self {
    case .create(let name, let size, _, _): "create \(name) --size \(size)"
    case .importFile(let name, let path, _, _, _): "import \(name) \(path)"
    case .exportFile(let name, let path): "export \(name) \(path)"
    case .fork(let source, let names, _, _): "fork \(source) \(Self.shown(names))"
    case .exportChanges(let name, let path): "export \(name) \(path) --changed"
    case .changes(let ranges): "\(ranges.count) changed ranges"
    case .importChanges(let name, let path, let origin, _, _, _, _):
      "import \(name) \(path) --onto \(origin)"
    case .holdView(let name): "export \(name) by NBD"
    case .holdEmpty(let size, _): "import by NBD, \(size) bytes"
    case .publish(_, let name, _): "import \(name)"
    case .reset(let name): "reset \(name)"
    case .rename(let name, let new): "rename \(name) \(new)"
    case .set(let name, _): "set \(name)"
    case .resize(let name, let size, _): "resize \(name) \(size)"
    case .remove(let names): "remove \(Self.shown(names))"
    case .list: "list"
    case .stat(let name): "stat \(name ?? "")"
    case .shrink: "shrink"
    case .limit(let name, _, _): "limit \(name)"
    case .limitMemory(let bytes): "limit --memory \(bytes.map(String.init) ?? "")"
    case .tune(let changes): "tune \(Self.shown(changes.map { "\($0.name)=\($0.value)" }))"
    }
  }

  private static func shown(_ words: [String]) -> String {
    words.count > 3 ? "\(words[0]) and \(words.count - 1) more" : words.joined(separator: " ")
  }
}

extension DecodingError {
  /// What is wrong with a line, without the names of Swift's types.
  package var summary: String {
    switch self {
    case .keyNotFound(let key, _): "\"\(key.stringValue)\" is missing"
    case .typeMismatch(_, let context), .valueNotFound(_, let context),
      .dataCorrupted(let context):
      (context.codingPath.map(\.stringValue) + [context.debugDescription]).joined(separator: ": ")
    @unknown default: "it has another form than was expected"
    }
  }
}
