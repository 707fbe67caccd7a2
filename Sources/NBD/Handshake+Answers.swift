// Turns the results of the driver's actions into replies.
extension Handshake {
  /// Continues after the action `.resolve`.
  public mutating func resolved(_ result: Result<Export, Refusal>) -> Action {
    guard case .resolving(let purpose) = state else {
      preconditionFailure("handshake: resolved in state \(state)")
    }
    state = .option
    let export: Export
    switch result {
    case .success(let found): export = found
    case .failure(let refusal):
      // EXPORT_NAME has no error reply.
      if purpose == .exportName { return close() }
      return refuse(refusal.reply, refusal.message)
    }
    switch purpose {
    case .exportName:
      var bytes: [UInt8] = []
      bytes.append(number: export.size)
      bytes.append(number: flags(export).rawValue)
      if !omitsZeroes { bytes.append(contentsOf: repeatElement(0, count: 124)) }
      return transmit(bytes)
    case .info(let requests):
      return .send(information(export, requests) + reply(.acknowledge))
    case .go(let requests):
      return transmit(information(export, requests) + reply(.acknowledge))
    case .metaContexts(let set, let queries):
      return .send(contexts(set, queries) + reply(.acknowledge))
    }
  }

  /// Continues after `.list` or `.sendAndList`. `isLast` says that no more exports follow.
  public mutating func listed(
    _ exports: [(name: String, description: String)], isLast: Bool
  ) -> Action {
    precondition(state == .listing, "handshake: listed in state \(state)")
    var bytes: [UInt8] = []
    for export in exports {
      var payload: [UInt8] = []
      payload.append(number: UInt32(export.name.utf8.count))
      payload.append(contentsOf: export.name.utf8)
      payload.append(contentsOf: export.description.utf8)
      bytes += reply(.server, payload)
    }
    guard isLast else { return .sendAndList(bytes) }
    state = .option
    return .send(bytes + reply(.acknowledge))
  }

  private mutating func transmit(_ bytes: [UInt8]) -> Action {
    state = .transmission
    session.contexts = contexts(of: exportName)
    return .transmit(bytes, session)
  }

  /// The contexts that are selected for an export.
  private func contexts(of export: String) -> MetaContexts {
    selected?.export == export ? selected?.contexts ?? [] : []
  }

  private func flags(_ export: Export) -> TransmissionFlags {
    // An INFO may come before the contexts are selected.
    let isInfo = code == OptionCode.info.rawValue
    return export.flags(session, hasContexts: isInfo || !contexts(of: exportName).isEmpty)
  }

  private func information(_ export: Export, _ requests: [UInt16]) -> [UInt8] {
    var payload: [UInt8] = []
    payload.append(number: InfoType.export.rawValue)
    payload.append(number: export.size)
    payload.append(number: flags(export).rawValue)
    var bytes = reply(.info, payload)
    payload = []
    payload.append(number: InfoType.blockSize.rawValue)
    payload.append(number: Limits.minimalBlock)
    payload.append(number: Limits.preferredBlock)
    payload.append(number: Limits.payload)
    bytes += reply(.info, payload)
    for (type, text) in [(InfoType.name, export.name), (.description, export.description)]
    where requests.contains(type.rawValue) {
      payload = []
      payload.append(number: type.rawValue)
      payload.append(contentsOf: text.utf8)
      bytes += reply(.info, payload)
    }
    return bytes
  }

  /// Selects or lists metadata contexts. In a LIST, an empty list of queries stands for all.
  private mutating func contexts(_ set: Bool, _ queries: [String]) -> [UInt8] {
    var wanted: MetaContexts = []
    for query in queries { wanted.formUnion(MetaContexts(query: query, isList: !set)) }
    if set { selected = (wanted, exportName) }
    var bytes: [UInt8] = []
    for (name, context) in MetaContexts.named
    where wanted.contains(context) || !set && queries.isEmpty {
      var payload: [UInt8] = []
      payload.append(number: set ? context.identifier : 0)
      payload.append(contentsOf: name.utf8)
      bytes += reply(.metaContext, payload)
    }
    return bytes
  }

  func refuse(_ type: OptionReply, _ message: String) -> Action {
    .send(reply(type, Array(message.cut(toBytes: Limits.string).utf8)))
  }

  func reply(_ type: OptionReply, _ payload: [UInt8] = []) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.append(number: Magic.optionReply)
    bytes.append(number: code)
    bytes.append(number: type.rawValue)
    bytes.append(number: UInt32(payload.count))
    return bytes + payload
  }
}
