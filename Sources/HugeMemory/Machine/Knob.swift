/// The knobs of a policy, as text for command lines and configuration files. They have the names
/// that they have below `/sys/kernel/mm/transparent_hugepage`.
package enum Knob: String, CaseIterable, Sendable {
  case enabled
  case defrag
  case useZeroPage = "use_zero_page"
  case shrinkUnderused = "shrink_underused"
  /// Not a knob of Linux: its versions differ (history item 18).
  case zeroWrite = "zero_page_write"
  case maxPtesNone = "khugepaged/max_ptes_none"
  case maxPtesShared = "khugepaged/max_ptes_shared"
  case pagesToScan = "khugepaged/pages_to_scan"
  case scanSleep = "khugepaged/scan_sleep_millisecs"

  /// The possible values, as text for a message.
  package var domain: String {
    switch self {
    case .enabled: Policy.Enabled.allCases.map(\.name).joined(separator: " ")
    case .defrag: Policy.Defrag.allCases.map(\.name).joined(separator: " ")
    case .zeroWrite: Policy.ZeroWrite.allCases.map(\.name).joined(separator: " ")
    case .useZeroPage, .shrinkUnderused: "0 1"
    case .maxPtesNone, .maxPtesShared: "0…511"
    case .pagesToScan, .scanSleep: "0…65535"
    }
  }
}

extension Policy {
  /// A knob's value as the kernel's files show it, without the brackets.
  package func value(of knob: Knob) -> String {
    switch knob {
    case .enabled: enabled.name
    case .defrag: defrag.name
    case .zeroWrite: zeroWrite.name
    case .useZeroPage: useZeroPage ? "1" : "0"
    case .shrinkUnderused: shrinkUnderused ? "1" : "0"
    case .maxPtesNone: String(maxPtesNone)
    case .maxPtesShared: String(maxPtesShared)
    case .pagesToScan: String(pagesToScan)
    case .scanSleep: String(scanSleepMilliseconds)
    }
  }

  /// Sets a knob. If the text is not one of its values, this changes nothing and returns false.
  package mutating func set(_ knob: Knob, to text: String) -> Bool {
    func parse<Value: CaseIterable & Named>(_: Value.Type) -> Value? {
      Value.allCases.first { $0.name == text }
    }
    func number(upTo limit: UInt16) -> UInt16? { UInt16(text).flatMap { $0 <= limit ? $0 : nil } }
    func flag() -> Bool? { text == "1" ? true : text == "0" ? false : nil }
    func assign<Value>(_ path: WritableKeyPath<Policy, Value>, _ value: Value?) -> Bool {
      guard let value else { return false }
      self[keyPath: path] = value
      return true
    }
    return switch knob {
    case .enabled: assign(\.enabled, parse(Enabled.self))
    case .defrag: assign(\.defrag, parse(Defrag.self))
    case .zeroWrite: assign(\.zeroWrite, parse(ZeroWrite.self))
    case .useZeroPage: assign(\.useZeroPage, flag())
    case .shrinkUnderused: assign(\.shrinkUnderused, flag())
    case .maxPtesNone: assign(\.maxPtesNone, number(upTo: 511))
    case .maxPtesShared: assign(\.maxPtesShared, number(upTo: 511))
    case .pagesToScan: assign(\.pagesToScan, number(upTo: .max))
    case .scanSleep: assign(\.scanSleepMilliseconds, number(upTo: .max))
    }
  }
}

/// A value that has a name in the kernel.
private protocol Named { var name: String { get } }

extension Policy.Enabled: Named {
  var name: String {
    switch self {
    case .always: "always"
    case .madvise: "madvise"
    case .never: "never"
    case .collapse: "collapse"
    }
  }
}

extension Policy.Defrag: Named {
  var name: String {
    switch self {
    case .always: "always"
    case .deferred: "defer"
    case .deferredMadvise: "defer+madvise"
    case .madvise: "madvise"
    case .never: "never"
    }
  }
}

extension Policy.ZeroWrite: Named {
  var name: String {
    switch self {
    case .huge: "huge"
    case .split: "split"
    }
  }
}
