extension TopScreen {
  /// Two lines: the rates of faults and of reclaim. They show all counters of the server that match
  /// these names.
  func activity(_ status: ServerStatus, _ rates: Rates?) -> [String] {
    let faults = ["pgfault", "thp_fault_alloc", "thp_zero_page_alloc", "cow_page", "fork"]
    let reclaim = [
      "pgscan", "pgsteal", "allocstall", "kswapd", "slabs_scanned", "thp_split_page",
      "thp_underused_split_page", "thp_collapse_alloc", "thp_zero_page_free",
    ]
    func parts(_ names: [String]) -> [String] {
      names.flatMap { name in status.counters.filter { $0.name.matches(name) } }
        .map { "\($0.name) \(rates?.of($0).map { "\($0)" } ?? "-")" }
    }
    let givenBack = "given back \(rates?.givenBack(status).map { "\(ByteSize($0))" } ?? "-")"
    return [
      "faults/s".padded(to: Self.label) + parts(faults).joined(separator: Self.gap),
      "reclaim/s".padded(to: Self.label)
        + (parts(reclaim) + [givenBack]).joined(separator: Self.gap),
    ]
  }
}

extension String {
  /// Whether this is the counter `name` or one of its kinds, as `pgscan_kswapd` is of `pgscan`. A
  /// counter of failures does not match.
  fileprivate func matches(_ name: String) -> Bool {
    self == name || hasPrefix(name + "_") && !hasSuffix("_failed")
  }
}
