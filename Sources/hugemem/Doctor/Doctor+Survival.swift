import MemoryFiles

extension Doctor {
  /// The memory that `serve --survive` would get here. It is made, looked at, and dropped.
  static var survival: Finding {
    let subject = "memory that survives"
    do throws(MemoryFileError) {
      let file = try MemoryFile.make()
      guard file.hugePageSize == nil, let remedy = file.remedy else {
        return Finding(subject, file.explanation)
      }
      return Finding(
        subject, file.explanation,
        limits: "With --survive, all memory is in pages of 4 KiB.", change: remedy)
    } catch {
      return Finding(
        subject, "none", limits: "A server cannot start with --survive: \(error)",
        change: "use --memory-file FILE with a file on a tmpfs")
    }
  }
}
