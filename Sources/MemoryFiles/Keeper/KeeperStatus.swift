import Glibc

/// What a keeper has, and who uses it.
package struct KeeperStatus: Encodable, Sendable {
  /// The keeper's process number.
  package let process: Int32
  /// Since when, in seconds since 1970.
  package let since: Int
  /// The size of the file in bytes, holes included, and the memory that it has.
  package let size: UInt64
  package let memory: UInt64
  /// The kind of the file, and of the pages that back it.
  package let kind: String
  /// Whether a server uses the memory.
  package let isUsed: Bool
  /// The process number of that, if this process can see it.
  package let server: Int32?

  /// Looks at the keeper of a directory; nil if there is none.
  package init?(of directory: String) throws(MemoryFileError) {
    guard let keeper = try KeeperConnection(to: directory) else { return nil }
    (process, since) = (keeper.process, keeper.since)
    var status = stat()
    guard unsafe fstat(keeper.file, &status) == 0 else {
      throw MemoryFileError("look at the memory that is kept", errno: errno)
    }
    (size, memory) = (UInt64(status.st_size), UInt64(status.st_blocks) * 512)
    kind = Backing(of: keeper.file, kind: MemoryFile.kind(of: keeper.file)).explanation
    isUsed = FileLock.isTaken(keeper.file)
    server = isUsed ? FileLock.holder(of: keeper.file) : nil
  }
}
