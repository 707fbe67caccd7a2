extension String {
  /// Returns the text, cut to at most `limit` bytes of UTF-8. A text that is cut ends with an
  /// ellipsis if that fits. No character is cut in two.
  public func cut(toBytes limit: Int) -> String {
    guard utf8.count > limit else { return self }
    let ellipsis = "…"
    var end = utf8.index(startIndex, offsetBy: Swift.max(0, limit - ellipsis.utf8.count))
    while end > startIndex, UTF8.isContinuation(utf8[end]) { end = utf8.index(before: end) }
    return String(self[..<end]) + (limit < ellipsis.utf8.count ? "" : ellipsis)
  }
}
