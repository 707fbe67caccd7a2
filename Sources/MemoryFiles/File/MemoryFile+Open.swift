import CLinux
import Glibc

extension MemoryFile {
  /// Opens a file of the user's on a tmpfs or on hugetlbfs, or makes it. The file keeps the memory by its
  /// name, so it needs no keeper: it outlives every process, and is gone when it is removed or the file system
  /// unmounted.
  ///
  /// `bytes` is the most memory that will be in it. A new file on a file system with less room is refused. One
  /// with disks is not: they can be read, whatever room others have left.
  /// Returns whether the file is empty, too.
  public static func open(
    path: String, room bytes: UInt64
  ) throws(MemoryFileError) -> (file: MemoryFile, isNew: Bool) {
    let found = try pin(path, room: bytes)
    defer { close(found) }
    let isEmpty = try check(found, path, room: bytes)
    let opened = hm_reopen(found)
    guard opened >= 0 else { throw failure("open", path, -opened) }
    return (try MemoryFile(owning: opened, kind: .named(path)), isEmpty)
  }

  /// Throws what `open` would throw, and makes nothing.
  public static func check(path: String, room bytes: UInt64) throws(MemoryFileError) {
    guard let found = try find(path, room: bytes) else { return }
    defer { close(found) }
    _ = try check(found, path, room: bytes)
  }

  /// A descriptor that pins the file without opening it, since to open a device or a pipe has effects.
  private static func pin(_ path: String, room bytes: UInt64) throws(MemoryFileError) -> Int32 {
    // Of two servers that make the file at once, one finds that of the other.
    for _ in 0..<2 {
      if let found = try find(path, room: bytes) { return found }
      let made = unsafe Glibc.open(
        path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
      if made >= 0 {
        defer { close(made) }
        // Whatever the umask is.
        fchmod(made, 0o600)
        let pinned = unsafe Glibc.open("/proc/self/fd/\(made)", pathOnly | O_CLOEXEC)
        guard pinned >= 0 else { throw failure("open", path) }
        return pinned
      }
      guard errno == EEXIST else { throw failure("make", path) }
    }
    throw failure("open", path, ENOENT)
  }

  /// Pins a file that is there; nil if there is none, and one can be made.
  private static func find(_ path: String, room bytes: UInt64) throws(MemoryFileError) -> Int32? {
    let found = unsafe Glibc.open(path, pathOnly | O_NOFOLLOW | O_CLOEXEC)
    if found >= 0 { return found }
    guard errno == ENOENT else { throw failure("open", path) }
    try checkDirectory(of: path, room: bytes)
    return nil
  }

  /// Refuses a directory in which the file would be refused, before it is made.
  private static func checkDirectory(
    of path: String, room bytes: UInt64
  ) throws(MemoryFileError) {
    let directory =
      path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    let found = unsafe Glibc.open(directory, pathOnly | O_DIRECTORY | O_CLOEXEC)
    guard found >= 0 else { throw failure("open directory", directory) }
    defer { close(found) }
    try checkRoom(checkPlace(found, path), path, for: bytes)
  }

  private static func checkRoom(
    _ place: hm_place, _ path: String, for bytes: UInt64
  ) throws(MemoryFileError) {
    let free = roomLeft(place)
    guard free < bytes else { return }
    let remedy =
      switch place.kind {
      case HM_HUGETLBFS where place.total != 0 && place.free <= free: "mount it with a larger size"
      case HM_HUGETLBFS: "let the system reserve more huge pages with `sysctl vm.nr_hugepages=N`"
      default: "give it more room with `mount -o remount,size=N DIR`"
      }
    throw MemoryFileError(
      "\(path): its file system has room for \(mebibytes(free)), and the server needs "
        + "\(mebibytes(bytes)), the memory limit and 8 MiB; lower --memory, or \(remedy)")
  }

  /// The room that a file system has left; `UInt64.max` if it has no limit.
  static func roomLeft(_ place: hm_place) -> UInt64 {
    let free = place.total == 0 ? UInt64.max : place.free
    return place.kind == HM_HUGETLBFS ? min(free, HugePagePool.bytesFree) : free
  }

  /// Returns whether the file is empty.
  private static func check(
    _ found: Int32, _ path: String, room bytes: UInt64
  ) throws(MemoryFileError) -> Bool {
    var status = stat()
    guard unsafe fstat(found, &status) == 0 else { throw failure("look at", path) }
    let kind = status.st_mode & S_IFMT
    guard kind != S_IFLNK else {
      throw MemoryFileError("\(path): is a link; name the file that it leads to")
    }
    guard kind == S_IFREG else {
      let what = kind == S_IFDIR ? "a directory" : "no regular file"
      throw MemoryFileError(
        "\(path): is \(what); name a file on a tmpfs or hugetlbfs, or one that is not there yet")
    }
    let place = try checkPlace(found, path)
    guard status.st_uid == geteuid() else {
      throw MemoryFileError(
        "\(path): belongs to the user \(status.st_uid), and the server runs as \(geteuid()); every disk "
          + "would be theirs, so name another file")
    }
    guard status.st_mode & 0o077 == 0 else {
      throw MemoryFileError(
        "\(path): is open to others, who could read every disk; `chmod 0600` it, or name another file"
      )
    }
    guard status.st_nlink == 1 else {
      throw MemoryFileError(
        "\(path): has \(status.st_nlink) names (hard links); remove the others, or name another file"
      )
    }
    let isEmpty = status.st_size == 0
    if isEmpty { try checkRoom(place, path, for: bytes) }
    return isEmpty
  }

  private static func checkPlace(
    _ found: Int32, _ path: String
  ) throws(MemoryFileError) -> hm_place {
    var place = hm_place()
    let error = unsafe hm_place_of(found, &place)
    guard error == 0 else { throw failure("look at the file system of", path, error) }
    switch place.kind {
    case HM_TMPFS: return place
    case HM_HUGETLBFS:
      guard place.page == HugePagePool.pageSize else {
        throw MemoryFileError(
          "\(path): is on a hugetlbfs with pages of \(mebibytes(place.page)); mount one with pagesize=2M"
        )
      }
      return place
    default:
      throw MemoryFileError(
        "\(path): is not on a tmpfs (its file system is \(name(ofMagic: place.magic))), so its memory "
          + "would be written to a disk; name a file on a tmpfs, such as /dev/shm, or on hugetlbfs, or leave "
          + "the name out")
    }
  }

  private static func name(ofMagic magic: UInt) -> String {
    let known: [UInt: String] = [
      0xef53: "ext4", 0x5846_5342: "XFS", 0x9123_683e: "Btrfs", 0x794c_7630: "overlayfs",
      0x2fc1_2fc1: "ZFS", 0x6969: "NFS",
    ]
    return known[magic] ?? "0x\(String(magic, radix: 16))"
  }

  /// O_PATH, which Glibc's module lacks.
  private static let pathOnly: Int32 = 0o10000000

  /// Throws unless the memory of a running server is the file of that name, or without one the memory of a
  /// keeper: a later start would not find it.
  static func check(_ descriptor: Int32, isAt path: String?) throws(MemoryFileError) {
    var own = stat()
    var named = stat()
    guard unsafe fstat(descriptor, &own) == 0 else { throw failure("look at", "the memory file") }
    if let path {
      let isThere = unsafe stat(path, &named) == 0
      if isThere, named.st_dev == own.st_dev, named.st_ino == own.st_ino { return }
    } else if own.st_nlink == 0 {
      return
    }
    guard own.st_nlink > 0 else {
      throw MemoryFileError(
        "the memory of that server has no name; use --survive instead of a file")
    }
    let file =
      unsafe realpath("/proc/self/fd/\(descriptor)", nil).map { target in
        defer { unsafe free(target) }
        return unsafe String(cString: target)
      } ?? "another file"
    throw MemoryFileError("the memory of that server is \(file); name it with --memory-file")
  }

  private static func failure(
    _ what: String, _ path: String, _ code: Int32 = errno
  ) -> MemoryFileError {
    let hint =
      code == EACCES || code == EPERM
      ? "; name a file that the user \(geteuid()) may read and write" : ""
    return MemoryFileError("\(what) \(path): \(unsafe String(cString: strerror(code)))\(hint)")
  }
}
