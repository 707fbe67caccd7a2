/// The words and locks that recovery makes. It runs alone, so a value is all there is to each of them:
/// no older values, and no view. So there may be any number of them. Their locations come after all
/// that a view has room for.
extension Explorer {
  struct OwnWord {
    var value: UInt64
    let name: String
  }

  private static let firstOwn = View.locations + View.threads

  @inline(__always) func isOwn(_ location: Int) -> Bool { location >= Self.firstOwn }

  func addOwn(_ value: UInt64, name: String?) -> Int {
    let number = memory.locations.count + crash.own.count
    crash.own.append(OwnWord(value: value, name: name ?? "word\(number)"))
    return Self.firstOwn + crash.own.count - 1
  }

  func own(_ location: Int) -> UInt64 { crash.own[location - Self.firstOwn].value }

  func name(_ location: Int) -> String {
    isOwn(location)
      ? crash.own[location - Self.firstOwn].name : memory.locations[location].name
  }

  /// A step on such a word. A release still makes the plain writes before it certain, if recovery is
  /// killed too.
  func passOwn(_ kind: Operation.Kind, _ location: Int, releases: Bool = false, _ site: Site) {
    schedule(Operation(kind: kind, object: location, operand: UInt64(site.line), site: site))
    if releases { memory.settleWrites(of: running) }
  }

  func setOwn(_ location: Int, _ value: UInt64) {
    crash.own[location - Self.firstOwn].value = value
  }
}
