import ControlPlane
import FoundationEssentials
import Glibc
import NBDServer

/// Imports and exports that another program does over NBD, from or to a disk that belongs to this
/// command until it is complete.
struct TransferByNBD {
  let server: ServerOptions
  private var directory: RuntimeDirectory { RuntimeDirectory(server.directory) }
  private var showsProgress: Bool { isatty(STDERR_FILENO) != 0 }

  /// Fills a new disk of `size` bytes by a program, and then gives it its name. `command` gets the
  /// disk's URI.
  func fill(
    _ name: String, size: UInt64, _ limits: DiskLimits, _ options: DiskOptions?, package: String,
    _ command: (String) -> [String]
  ) throws {
    let session = try server.session()
    Tool.endWithSignals()
    guard case .held(let export, _) = try session.ask(.holdEmpty(size: size, limits: limits)) else {
      throw unexpected
    }
    try Tool.run(command(directory.uri(export)), package: package, shows: true)
    _ = try session.ask(.publish(export: export, name: name, options: options))
  }

  /// Imports an image that `qemu-img` reads.
  func load(
    _ image: ForeignImage, as name: String, size: UInt64?, _ limits: DiskLimits,
    _ options: DiskOptions?
  ) throws {
    let whole = max(size ?? image.size, image.size)
    if let size, size < image.size {
      throw ControlError(
        "\(image.path): has \(image.size) bytes, more than --size \(size); give a larger size")
    }
    try fill(name, size: whole, limits, options, package: "qemu-utils") { uri in
      // The new disk is all holes, so zeros need not be written.
      ["qemu-img", "convert"] + (showsProgress ? ["-p"] : [])
        + ["-n", "--target-is-zero", "-f", image.format, "-O", "raw", image.path, uri]
    }
  }

  static func isURI(_ text: String) -> Bool {
    ["nbd", "nbds"].contains { scheme in
      ["://", "+unix://", "+vsock://"].contains { text.hasPrefix(scheme + $0) }
    }
  }

  /// Imports a disk of another NBD server.
  func load(
    uri: String, as name: String, size: UInt64?, _ limits: DiskLimits, _ options: DiskOptions?
  ) throws {
    let output = try Tool.run(["nbdinfo", "--size", uri], package: "libnbd-bin")
    guard let there = UInt64(String(decoding: output, as: UTF8.self).filter { !$0.isWhitespace })
    else { throw ControlError("\(uri): nbdinfo does not tell its size") }
    guard there > 0, size ?? there >= there else {
      throw ControlError("\(uri): has \(there) bytes; a disk must have as many, and at least one")
    }
    try fill(name, size: size ?? there, limits, options, package: "libnbd-bin") { target in
      ["nbdcopy"] + (showsProgress ? ["--progress"] : []) + ["--destination-is-zero", uri, target]
    }
  }

  /// Writes a disk, or what changed in it, to a qcow2 image, which replaces the file as a whole.
  func save(_ name: String, to file: String, backing: (path: String, format: String)?) throws {
    guard file != "-" else {
      throw ControlError("-: a qcow2 image cannot be a stream; name a file")
    }
    let target = absolutePath(file)
    var status = stat()
    if unsafe stat(target, &status) == 0, status.st_mode & S_IFMT != S_IFREG {
      throw ControlError("\(file): exists and is no regular file")
    }
    let temporary =
      "\(target).hugemem-\(String(UInt64.random(in: .min ... .max), radix: 16))"
    let session = try server.session()
    Tool.endWithSignals { unsafe unlink(temporary) }
    defer { unsafe unlink(temporary) }
    guard case .held(let export, _) = try session.ask(.holdView(name: name)) else {
      throw unexpected
    }
    var command = ["qemu-img", "convert"] + (showsProgress ? ["-p"] : [])
    if let backing {
      // qemu sees what is the same as in the origin as not allocated.
      let source = Source(
        file: Source.File(
          server: Source.Server(path: directory.diskSocket), export: export))
      let json = String(decoding: try JSONEncoder().encode(source), as: UTF8.self)
      command += ["-O", "qcow2", "-B", absolutePath(backing.path), "-F", backing.format]
      command += ["json:" + json, temporary]
    } else {
      command += ["-f", "raw", "-O", "qcow2", directory.uri(export), temporary]
    }
    try Tool.run(command, package: "qemu-utils", shows: true)
    guard unsafe rename(temporary, target) == 0 else {
      throw ControlError("replace \(file): \(unsafe String(cString: strerror(errno)))")
    }
  }

  /// qemu's description of an NBD export with a context in place of `base:allocation`.
  private struct Source: Encodable {
    var driver = "raw"
    var file: File
    struct File: Encodable {
      var driver = "nbd"
      var server: Server
      var export: String
      var context = "x-hugemem:origin"
      enum CodingKeys: String, CodingKey {
        case driver, server, export
        case context = "x-dirty-bitmap"
      }
    }
    struct Server: Encodable {
      var type = "unix"
      var path: String
    }
  }
}
