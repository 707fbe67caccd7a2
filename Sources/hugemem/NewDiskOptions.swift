import ArgumentParser
import ControlPlane
import Glibc
import NBDServer

/// The options of a disk that is being made.
struct NewDiskOptions: ParsableArguments {
  @Flag(help: "Let clients only read the disk. `hugemem set` can change that later.")
  var readOnly = false
  @Option(help: "A line about the disk, which clients see too.")
  var description: String?

  var options: DiskOptions? {
    guard readOnly || description != nil else { return nil }
    return DiskOptions(isReadOnly: readOnly ? true : nil, description: description)
  }
}

/// A list of names, one per line.
enum NameFile {
  /// Reads the names in a file; `-` is standard input. Skips empty lines and lines that begin with #,
  /// which no name does.
  static func read(_ path: String) throws(ControlError) -> [String] {
    let input = path == "-" ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0) : -1
    guard let file = unsafe path == "-" ? fdopen(input, "r") : fopen(path, "re") else {
      throw ControlError("open \(path): \(unsafe String(cString: strerror(errno)))")
    }
    defer { unsafe fclose(file) }
    var names: [String] = []
    var line: UnsafeMutablePointer<CChar>?
    var room = 0
    defer { unsafe free(line) }
    while true {
      let count = unsafe getline(&line, &room, file)
      guard count >= 0, let start = unsafe line else { break }
      var bytes = unsafe UnsafeRawBufferPointer(start: start, count: count)[...]
      while let last = unsafe bytes.last, [10, 13, 32, 9].contains(last) {
        unsafe bytes.removeLast()
      }
      guard unsafe !bytes.isEmpty, unsafe bytes.first != UInt8(ascii: "#") else { continue }
      names.append(unsafe String(decoding: bytes, as: UTF8.self))
    }
    guard unsafe ferror(file) == 0 else {
      throw ControlError("read \(path): \(unsafe String(cString: strerror(errno)))")
    }
    return names
  }
}
