import Testing

@testable import NBDServer

/// Rules and their file, against a simple model.
@Suite struct RulesTests {
  private func rules(_ text: String) throws -> Rules { try RuleFile.parse(Array(text.utf8)).get() }

  @Test(arguments: [
    ("*", "", true), ("*", "abc", true), ("", "", true), ("", "a", false), ("a*c", "abbc", true),
    ("a*c", "ab", false), ("a?c", "abc", true), ("a?c", "ac", false), ("*a*b*", "xxaxxbxx", true),
    ("*a*b*", "xxbxxaxx", false), ("**", "x", true), ("a*", "ba", false), ("é*", "éa", true),
  ])
  func globs(pattern: String, name: String, expected: Bool) {
    #expect(Glob(pattern).matches(name) == expected)
  }

  @Test func aGlobWithManyStarsEndsSoon() {
    let pattern = Glob(String(repeating: "a*", count: 200) + "b")
    #expect(!pattern.matches(String(repeating: "a", count: 4000)))
  }

  @Test func theFirstRuleThatNamesBothDecides() throws {
    let rules = try rules(
      """
      cert:a golden read
      cert:a golden all
      cert:* job-$name write,fork
      * * none
      """)
    #expect(rules.decide(.certificate("a"), "golden").rights == .read)
    #expect(rules.decide(.certificate("b"), "job-b").rights == [.write, .fork])
    #expect(rules.decide(.certificate("b"), "job-a").rights == [])
    #expect(rules.decide(.key("b"), "job-b").line == 4)
    #expect(rules.unreachable.map(\.line) == [2])
  }

  @Test(arguments: ["*", "?", "", "a*"]) func aNameIsNoPattern(name: String) throws {
    let rules = try rules("cert:* job-$name write\n")
    #expect(rules.decide(.certificate(name), "job-b").rights == [])
    #expect(rules.decide(.certificate(name), "job-ab").rights == [])
  }

  @Test func anonymousHasNoName() throws {
    #expect(try rules("* job-$name write\n").decide(.anonymous, "job-").rights == [])
  }

  @Test func withoutAFileOneUserAndRootMayDoEverything() {
    let rules = Rules.standard(user: 1000)
    #expect(rules.decide(.user(1000), "d").rights == .all)
    #expect(rules.decide(.user(0), "d").rights == .all)
    #expect(rules.decide(.user(1001), "d").rights == [])
    #expect(rules.decide(.anonymous, "d").rights == .all)
    #expect(rules.decide(.certificate("uid:1"), "d").rights == .all)
  }

  /// Names of a certificate or key cannot pass for another kind of client.
  @Test func kindsDoNotMix() throws {
    let rules = try rules("uid:0 * all\npsk:x * read\n")
    #expect(rules.decide(.certificate("uid:0"), "d").rights == [])
    #expect(rules.decide(.key("uid:0"), "d").rights == [])
    #expect(rules.decide(.certificate("psk:x"), "d").rights == [])
  }

  @Test func limits() throws {
    let rules = try rules(
      "limit cert:a connections=1 forks=2 memory=3M requests=4\nlimit * forks=9 # the rest\n")
    let most = rules.allowance(.certificate("a"))
    #expect(most == .init(connections: 1, forks: 2, memory: 3 << 20, requests: 4))
    #expect(rules.allowance(.anonymous) == .init(forks: 9))
  }

  @Test(arguments: [
    ("uid:0", true), ("uid:*", true), ("uid:10??", true), ("uid:4294967295", true), ("*", true),
    ("anonymous", true), ("cert:a:b", true), ("psk:*", true), ("uid:", false), ("uid:abc", false),
    ("uid:a*", false), ("uid:-1", false), ("uid:4294967296", false), ("cert:", false), ("a", false),
    ("anonymous:", false), ("*:", false), ("cert", false), (":a", false),
  ])
  func whoCanBeNamed(client: String, isKnown: Bool) {
    #expect(((try? rules("\(client) * all\n")) != nil) == isKnown)
  }

  /// Accounts of clients that are gone take no memory for ever; those that count something stay.
  @Test func accountsOfTheGoneAreDropped() throws {
    let access = AccessControl(try rules("limit cert:stays connections=1\n"))
    _ = try #require(access.connect(.certificate("stays")))
    for number in 0..<10_000 {
      let client = Identity.certificate("gone\(number)")
      _ = try #require(access.connect(client))
      access.disconnect(client)
    }
    #expect(access.accounts < 200)
    #expect(access.connect(.certificate("stays")) == nil, "it has its one connection")
    access.disconnect(.certificate("stays"))
    #expect(access.connect(.certificate("stays")) != nil)
  }

  /// Any bytes give rules or faults.
  @Test(arguments: 0..<200) func anyBytes(seed: Int) {
    var state = UInt64(seed) &* 0x9e37_79b9_7f4a_7c15 | 1
    let words = [
      "cert:", "a", "*", " ", "\n", "#", "limit", "=", "forks", "memory", "$name", "$", ",", "read",
      "all", "\t", "9999999999999999999999", "T", "\r\n", "\u{85}", "é",
    ]
    var bytes: [UInt8] = []
    for _ in 0..<200 {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      bytes += Array(words[Int(state % UInt64(words.count))].utf8)
      if state % 31 == 0 { bytes.append(UInt8(truncatingIfNeeded: state >> 20)) }
    }
    switch RuleFile.parse(bytes) {
    case .success(let rules): _ = rules.decide(.certificate("a"), "a")
    case .failure(let faults): #expect(!faults.faults.isEmpty)
    }
  }
}
