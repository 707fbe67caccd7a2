import Glibc

/// Why there is no memory that outlives a server. Says what, where, and what to do.
public struct MemoryFileError: Error, Sendable, CustomStringConvertible {
  public let description: String

  public init(_ description: String) { self.description = description }

  init(_ what: String, errno code: Int32) {
    description = "\(what): \(unsafe String(cString: strerror(code)))"
  }
}

/// Bytes for people, in whole MiB.
func mebibytes(_ bytes: UInt64) -> String { "\(bytes >> 20) MiB" }
