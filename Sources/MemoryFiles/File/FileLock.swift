import CLinux
import Glibc
import Primitives

/// One server at a time uses a file. The lock belongs to an open file description, so it goes with the last
/// descriptor of that, and with the process. Those who only keep the file have a description of
/// their own.
enum FileLock {
  /// In milliseconds.
  private static let patience = 1000

  static func take(_ descriptor: Int32, of kind: MemoryFile.Kind) throws(MemoryFileError) {
    let failed = takeFileLock(descriptor, patience: patience)
    guard failed != 0 else { return }
    guard failed == EWOULDBLOCK else {
      throw MemoryFileError("lock the memory file", errno: failed)
    }
    let what = if case .named(let path) = kind { path } else { "the memory that is kept" }
    throw MemoryFileError(
      "\(what): \(user(of: descriptor)) uses it; stop that first, since one server at a time can")
  }

  /// Whether a server uses the file.
  static func isTaken(_ descriptor: Int32) -> Bool {
    guard let own = try? MemoryFile.reopen(descriptor) else { return false }
    defer { close(own) }
    return takeFileLock(own) == EWOULDBLOCK
  }

  static func user(of descriptor: Int32) -> String {
    holder(of: descriptor).map { "the server with process number \($0)" } ?? "another server"
  }

  /// The process that has the lock, if /proc says it: not from within another namespace of processes.
  static func holder(of descriptor: Int32) -> Int32? {
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { return nil }
    var (major, minor): (UInt32, UInt32) = (0, 0)
    unsafe hm_device_numbers(UInt64(status.st_dev), &major, &minor)
    let file = "\(hexadecimal(major)):\(hexadecimal(minor)):\(status.st_ino)"
    // `1: FLOCK  ADVISORY  WRITE 1234 00:1b:42 0 EOF`; a lock that waits has `->` after its number.
    for line in text("/proc/locks").split(separator: "\n") {
      let words = line.split(separator: " ")
      if words.count > 5, words[1] == "FLOCK", words[5] == file, let process = Int32(words[4]),
        process > 0
      {
        return process
      }
    }
    return nil
  }

  private static func hexadecimal(_ number: UInt32) -> String {
    (number < 16 ? "0" : "") + String(number, radix: 16)
  }

  static func text(_ path: String) -> String {
    let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return "" }
    defer { close(file) }
    var all: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 16 << 10)
    while case let count = unsafe read(file, &piece, piece.count), count > 0 {
      all += piece[..<count]
    }
    return String(decoding: all, as: UTF8.self)
  }
}
