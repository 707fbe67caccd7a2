/// The server refused a request.
public struct Problem: Error, Sendable, Equatable, Decodable, CustomStringConvertible {
  /// The status of the HTTP answer.
  public let status: Int
  /// Stays the same in all versions of the API, for example `no-such-disk`.
  public let code: String
  /// A sentence for people: what, where and what to do.
  public let detail: String

  public var description: String { detail }
}

/// No server answers, or it has ended.
public struct ServerUnreachable: Error, Sendable, CustomStringConvertible {
  public let description: String
  package init(_ description: String) { self.description = description }
}
