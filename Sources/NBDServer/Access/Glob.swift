/// A pattern of names: `*` stands for any characters, `?` for one. All others stand for themselves.
struct Glob: Hashable, Sendable {
  let text: String

  init(_ text: String) { self.text = text }

  /// - Complexity: O(pattern × name), whatever the pattern.
  func matches(_ name: String) -> Bool {
    let pattern = Array(text.utf8)
    let name = Array(name.utf8)
    var (p, n) = (0, 0)
    // Where the last star was, and how much of the name it stands for so far.
    var star: (p: Int, n: Int)?
    while n < name.count {
      if p < pattern.count, pattern[p] == UInt8(ascii: "*") {
        star = (p, n)
        p += 1
      } else if p < pattern.count, pattern[p] == UInt8(ascii: "?") || pattern[p] == name[n] {
        p += 1
        n += 1
      } else if let last = star {
        star = (last.p, last.n + 1)
        p = last.p + 1
        n = last.n + 1
      } else {
        return false
      }
    }
    return pattern[p...].allSatisfy { $0 == UInt8(ascii: "*") }
  }
}
