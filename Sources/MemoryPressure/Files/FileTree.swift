import Glibc

/// Where to find `/proc` and `/sys`: those of the machine, or a copy in some directory.
public struct FileTree: Sendable {
  /// The machine's own `/proc` and `/sys`.
  public static let system = FileTree(root: "")

  /// The prefix of every path.
  public let root: String
  let calls: any SystemCalls

  /// The tree in a directory: `FileTree(root: "/tmp/fake")` has `/tmp/fake/proc/self/cgroup`.
  public init(root: String) { self.init(root: root, calls: LinuxCalls()) }

  init(root: String, calls: any SystemCalls) {
    var root = root
    while root.last == "/" { root.removeLast() }
    self.root = root
    self.calls = calls
  }

  func path(_ path: String) -> String { root + path }

  func open(_ path: String, _ flags: Int32 = O_RDONLY) throws(PressureError) -> OpenFile {
    let path = self.path(path)
    do {
      return OpenFile(Descriptor(try calls.open(path, flags), calls), path: path)
    } catch { throw .system(call: "open", path: path, errno: error.code) }
  }

  /// Reads all of a file in which the kernel lists many records, such as those in `/proc/self`.
  func contents(of path: String) throws(PressureError) -> TextFile { try open(path).whole() }

  /// Whether a directory can be opened. Returns false if it does not exist or we lack permission;
  /// throws any other error.
  func hasFolder(_ path: String) throws(PressureError) -> Bool {
    do {
      _ = try open(path, O_RDONLY | O_DIRECTORY)
      return true
    } catch {
      guard case .system(_, _, let errno) = error, [ENOENT, ENOTDIR, EACCES].contains(errno) else {
        throw error
      }
      return false
    }
  }
}

/// A descriptor that is closed when its last holder is released.
final class Descriptor: Sendable {
  let number: Int32
  let calls: any SystemCalls

  init(_ number: Int32, _ calls: any SystemCalls) {
    self.number = number
    self.calls = calls
  }

  deinit { calls.close(number) }
}

/// A file that is kept open. Reads do not move a file position, so several threads may read at
/// once.
struct OpenFile: Sendable {
  let descriptor: Descriptor
  let path: String

  init(_ descriptor: Descriptor, path: String) {
    self.descriptor = descriptor
    self.path = path
  }

  /// Reads all of a control file in one system call. The kernel generates the contents for each
  /// read from offset 0, so one read is consistent and two reads need not agree.
  func record() throws(PressureError) -> TextFile {
    var bytes = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = try read(into: &bytes, from: 0)
      guard count == bytes.count else { return TextFile(bytes[..<count]) }
      bytes = [UInt8](repeating: 0, count: bytes.count * 2)
    }
  }

  /// Reads all of a file of many records. Each system call may return only some of them.
  func whole() throws(PressureError) -> TextFile {
    var bytes = [UInt8](repeating: 0, count: 4096)
    var filled = 0
    while true {
      let count = try read(into: &bytes, from: filled)
      filled += count
      guard count > 0 else { return TextFile(bytes[..<filled]) }
      if filled == bytes.count { bytes += [UInt8](repeating: 0, count: filled) }
    }
  }

  private func read(into bytes: inout [UInt8], from start: Int) throws(PressureError) -> Int {
    do {
      return try descriptor.calls.read(descriptor.number, into: &bytes, from: start, at: start)
    } catch { throw .system(call: "read", path: path, errno: error.code) }
  }

  func write(_ text: String, endingInZero: Bool = false) throws(PressureError) {
    do {
      try descriptor.calls.write(descriptor.number, Array(text.utf8) + (endingInZero ? [0] : []))
    } catch { throw .system(call: "write", path: path, errno: error.code) }
  }
}
