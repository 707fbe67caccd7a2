/// What a client may do with a disk.
public struct Rights: OptionSet, Hashable, Sendable, CustomStringConvertible {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// See the disk in a list, and read it.
  public static let read = Self(rawValue: 1)
  /// Change it. Includes `read`.
  public static let write = Self(rawValue: 3)
  /// Make forks of it by connecting, which then belong to the client.
  public static let fork = Self(rawValue: 4)
  public static let all: Self = [.write, .fork]

  /// The rights with these names, with commas between them; nil if one is no name of a right.
  init?(names: Substring) {
    var rights: Rights = []
    for name in names.split(separator: ",", omittingEmptySubsequences: false) {
      switch name {
      case "none" where names == "none": break
      case "read": rights.insert(.read)
      case "write": rights.insert(.write)
      case "fork": rights.insert(.fork)
      case "all": rights.insert(.all)
      default: return nil
      }
    }
    self = rights
  }

  public var description: String {
    if self == .all { return "all" }
    var names: [String] = []
    if contains(.write) { names.append("write") } else if contains(.read) { names.append("read") }
    if contains(.fork) { names.append("fork") }
    return names.isEmpty ? "none" : names.joined(separator: ",")
  }
}
