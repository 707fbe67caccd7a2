import CLinux
import Glibc

extension MemoryFile {
  /// Makes a file without a name, the best that this machine allows: on a tmpfs of its own with huge pages;
  /// else a memfd, which has huge pages if `shmem_enabled` allows them.
  ///
  /// A tmpfs of its own comes first, since its huge pages depend on no setting that most machines have at
  /// `never`, and since only mappings with MADV_HUGEPAGE get them. A memfd without huge pages is
  /// better than such a tmpfs without them: it can be sealed.
  public static func make() throws(MemoryFileError) -> MemoryFile { try make(useTmpfs: true) }

  /// `useTmpfs` is for tests, on machines that allow it.
  static func make(useTmpfs: Bool) throws(MemoryFileError) -> MemoryFile {
    var refusal: String?
    if useTmpfs {
      let (descriptor, reason) = tmpfs()
      if let descriptor {
        let backing = Backing(of: descriptor, kind: .tmpfs)
        if backing.hugePageSize != nil {
          // Others keep the file with the description that it was made with, so the lock needs another.
          defer { close(descriptor) }
          return try MemoryFile(owning: reopen(descriptor), kind: .tmpfs, found: backing)
        }
        close(descriptor)
      }
      refusal = reason
    }
    let descriptor = unsafe hm_memfd("hugemem")
    guard descriptor >= 0 else { throw MemoryFileError("make a memfd", errno: -descriptor) }
    defer { close(descriptor) }
    return try MemoryFile(
      owning: reopen(descriptor), kind: .memfd,
      found: Backing(of: descriptor, kind: .memfd, because: refusal))
  }

  /// A file on a tmpfs of its own, or why there is none.
  private static func tmpfs() -> (descriptor: Int32?, refusal: String?) {
    var refusal = unsafe hm_refusal()
    let descriptor = unsafe hm_tmpfs_file(&refusal)
    guard descriptor < 0 else { return (descriptor, nil) }
    let step = unsafe refusal.step.map { unsafe String(cString: $0) } ?? "mount"
    if unsafe refusal.signal == SIGSYS { return (nil, "a filter of system calls forbids it") }
    if unsafe refusal.signal != 0 { return (nil, "\(step): signal \(unsafe refusal.signal)") }
    return (nil, "\(step): \(unsafe String(cString: strerror(refusal.error)))")
  }
}
