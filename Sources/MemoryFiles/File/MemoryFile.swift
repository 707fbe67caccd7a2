import CLinux
import Glibc

/// A file of memory that no process owns: what is written to it stays when the server ends, as long as
/// someone has it open or it has a name.
///
/// The file is sparse. Its descriptor is locked for this process: two servers would destroy each
/// other's memory. The kernel drops the lock with the process, however that ends.
public final class MemoryFile: Sendable {
  public enum Kind: Sendable, Equatable {
    /// A file without a name, on a tmpfs that is not mounted anywhere.
    case tmpfs
    /// A file without a name, on the kernel's own tmpfs. It is sealed: it can grow, but never shrink.
    case memfd
    /// A file of the user's, on a tmpfs or on hugetlbfs.
    case named(String)
  }

  /// To map, to grow and to punch holes into. Closed with this object. A mapping outlives it.
  public let descriptor: Int32
  public let kind: Kind
  /// The size of the huge pages that can back a mapping with MADV_HUGEPAGE; nil if only small pages do.
  public let hugePageSize: Int?
  /// Which way was taken, and why no better one.
  public let explanation: String
  /// What to do for huge pages; nil if there are some.
  public let remedy: String?
  /// The file system has a limit of size or a pool of pages, and others can use it up. A write to a page
  /// that is not there yet ends the process with SIGBUS then, unless `hm_populate` has got the page before.
  public let canRunOut: Bool
  /// The room that its file system has left now, in bytes, if it can run out.
  public var room: UInt64? {
    var place = hm_place()
    guard canRunOut, unsafe hm_place_of(descriptor, &place) == 0 else { return nil }
    return Self.roomLeft(place)
  }

  /// Takes ownership of `descriptor`, which has an open file description of its own, and locks it.
  /// Without a `found`, looks at the file and the machine.
  init(
    owning descriptor: Int32, kind: Kind, found: Backing? = nil
  ) throws(MemoryFileError) {
    self.descriptor = descriptor
    self.kind = kind
    let backing = found ?? Backing(of: descriptor, kind: kind)
    hugePageSize = backing.hugePageSize
    explanation = backing.explanation
    remedy = backing.remedy
    var place = hm_place()
    if case .named = kind, unsafe hm_place_of(descriptor, &place) == 0 {
      canRunOut = place.total != 0 || place.kind == HM_HUGETLBFS
    } else {
      canRunOut = false
    }
    try FileLock.take(descriptor, of: kind)
  }

  deinit { close(descriptor) }

  /// Adopts a file that a keeper or a service manager has kept. Takes ownership of `kept`, whose open file
  /// description belongs to both, so that a lock on it would outlive this process.
  convenience init(adopting kept: Int32) throws(MemoryFileError) {
    defer { close(kept) }
    try Self.checkKept(kept)
    try self.init(owning: Self.reopen(kept), kind: Self.kind(of: kept))
  }

  /// Takes a file over from a server that ends, with its lock: `descriptor` has the open file description
  /// of that one. Takes ownership. `path` is its name; throws if it has another.
  public convenience init(
    takenOver descriptor: Int32, path: String? = nil
  ) throws(MemoryFileError) {
    try Self.check(descriptor, isAt: path)
    try self.init(
      owning: descriptor, kind: path.map { .named($0) } ?? Self.kind(of: descriptor))
  }

  /// The kind of a file without a name.
  static func kind(of descriptor: Int32) -> Kind { hm_never_shrinks(descriptor) ? .memfd : .tmpfs }

  /// An open file description of the same file, for someone who keeps it. The caller closes it.
  func another() throws(MemoryFileError) -> Int32 { try Self.reopen(descriptor) }

  /// The size of the file, holes included, in bytes.
  public var size: UInt64 { UInt64(status?.st_size ?? 0) }

  /// The memory that the file has, in bytes.
  public var bytesInUse: UInt64 { UInt64(status?.st_blocks ?? 0) * 512 }

  private var status: stat? {
    var status = stat()
    return unsafe fstat(descriptor, &status) == 0 ? status : nil
  }

  /// Makes the file at least `size` bytes long. What is added is a hole.
  public func grow(to size: UInt64) throws(MemoryFileError) {
    guard size > self.size else { return }
    guard size < UInt64(Int.max), ftruncate(descriptor, Int(size)) == 0 else {
      // RLIMIT_FSIZE counts for files of memory too.
      let hint =
        errno == EFBIG
        ? "; the limit of file sizes is in the way, so use `ulimit -f unlimited`" : ""
      throw MemoryFileError(
        "grow the memory file to \(mebibytes(size)): \(unsafe String(cString: strerror(errno)))\(hint)"
      )
    }
  }

  static func reopen(_ descriptor: Int32) throws(MemoryFileError) -> Int32 {
    let opened = hm_reopen(descriptor)
    guard opened >= 0 else {
      throw MemoryFileError(
        "open the memory file again through /proc/self/fd, which must be there and be this user's",
        errno: -opened)
    }
    return opened
  }

  /// Refuses what is no memory file, since its pages would go to a disk, or end with another process.
  private static func checkKept(_ descriptor: Int32) throws(MemoryFileError) {
    var status = stat()
    var place = hm_place()
    guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
      unsafe hm_place_of(descriptor, &place) == 0, place.kind == HM_TMPFS, status.st_nlink == 0
    else {
      throw MemoryFileError("what was kept is no memory file: it is not a nameless file on a tmpfs")
    }
  }
}
