import ArgumentParser
import ControlPlane
import FoundationEssentials
import Glibc

struct Import: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Create a disk from an image. Holes and blocks of zeros become holes.",
    discussion: """
      SOURCE is a raw image: a file, a block device, or a stream (a pipe, a FIFO, or - for standard \
      input), which is read to its end, for example: zstdcat golden.img.zst | hugemem import golden - \
      Or it is a qcow2, vmdk, vhdx, vhd or vdi image, which qemu-img reads; or the URI of a disk on \
      another NBD server, which nbdcopy reads.

      With --onto ORIGIN, SOURCE has changes that `export --changed` wrote. The disk becomes a fork of \
      ORIGIN with these changes.
      """)
  @OptionGroup var server: ServerOptions
  @Argument var name: String
  @Argument(help: "The image, - for standard input, or an NBD URI.", completion: .file())
  var source: String
  @Option(help: "The disk's size, if it should be larger than the image.") var size: ByteSize?
  @Option(help: ArgumentHelp("Apply changes to a fork of this disk.", valueName: "origin"))
  var onto: String?
  @Option(
    help: ArgumentHelp("The map of the changes (default: SOURCE.map).", valueName: "file"),
    completion: .file())
  var map: String?
  @Flag(help: "Allow an image that takes bytes from other files, such as a backing file.")
  var allowBacking = false
  @OptionGroup var limits: LimitOptions
  @OptionGroup var options: NewDiskOptions

  func validate() throws {
    guard onto != nil || map == nil else { throw ValidationError("--map: is for --onto") }
    guard onto == nil || size == nil else {
      throw ValidationError("--size: changes have the size of their disk")
    }
  }

  func run() throws {
    if let onto {
      try apply(onto)
    } else if TransferByNBD.isURI(source) {
      try TransferByNBD(server: server).load(
        uri: source, as: name, size: size?.bytes, limits.limits, options.options)
    } else if let image = try ForeignImage(path: source, allowsOthers: allowBacking) {
      try TransferByNBD(server: server).load(
        image, as: name, size: size?.bytes, limits.limits, options.options)
    } else {
      let image = try ImageSource(path: source)
      try server.ask(
        .importFile(
          name: name, path: source == "-" ? image.name : absolutePath(source),
          limits: limits.limits, size: size?.bytes, options: options.options),
        with: image.file, showing: "import \(name)")
    }
    noteUnevenSize(size)
  }

  private func apply(_ origin: String) throws {
    guard source != "-" else {
      throw ControlError("-: changes are not a stream, since each has its place; name the file")
    }
    guard let image = try ForeignImage(path: source, allowsOthers: true) else {
      return try send(ChangeMap(path: map ?? source + ".map"), source, origin)
    }
    let overlay = try Overlay(image)
    Tool.endWithSignals { overlay.remove() }
    defer { overlay.remove() }
    try send(overlay.read(), overlay.path, origin)
  }

  private func send(_ changes: ChangeMap, _ file: String, _ origin: String) throws {
    let image = try ImageSource(path: file)
    let bar = ProgressBar("import \(name)")
    defer { bar.finish() }
    let session = try server.session()
    for start in stride(from: 0, to: changes.ranges.count, by: ChangeMap.part) {
      let end = min(start + ChangeMap.part, changes.ranges.count)
      _ = try session.ask(.changes(Array(changes.ranges[start..<end])))
    }
    _ = try session.ask(
      .importChanges(
        name: name, path: absolutePath(source), origin: origin, size: changes.size,
        originSize: changes.originSize, limits: limits.limits, options: options.options),
      with: image.file, progress: { bar.show($0, $1) })
  }
}

struct Export: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write a disk, as it is now, to an image.",
    discussion: """
      FILE is a file, a block device, or a stream: a pipe, a FIFO, or - for standard output. A \
      stream gets every byte, for example: hugemem export job1 - | zstd > job1.img.zst. A file is \
      written sparsely, and replaced as a whole once the image is complete; a link is followed. If \
      a block device is larger than the disk, the rest of it is not written.

      With --changed, FILE gets only what differs from the disk's origin, each byte at its own offset, \
      and FILE.map tells which ranges these are. `import --onto` takes both back. With --format qcow2 \
      as well, FILE is an overlay of the image that --backing names.
      """)
  @OptionGroup var server: ServerOptions
  @Argument var name: String
  @Argument(help: "The image; - writes standard output.", completion: .file()) var file: String
  @Flag(help: "Write only what differs from the disk that this one was forked from.")
  var changed = false
  @Option(
    help: ArgumentHelp("Where the map of changes goes (default: FILE.map).", valueName: "file"),
    completion: .file())
  var map: String?
  @Option(help: ArgumentHelp("raw or qcow2.", valueName: "format")) var format = "raw"
  @Option(
    help: ArgumentHelp("For a qcow2 of changes: an image of the origin.", valueName: "image"),
    completion: .file())
  var backing: String?
  @Option(help: ArgumentHelp("The format of the backing image.", valueName: "format"))
  var backingFormat = "raw"

  func validate() throws {
    guard ["raw", "qcow2"].contains(format) else {
      throw ValidationError("--format \(format): use raw or qcow2")
    }
    let isOverlay = changed && format == "qcow2"
    guard isOverlay == (backing != nil) else {
      throw ValidationError(
        isOverlay
          ? "--changed with --format qcow2: name an image of the origin with --backing"
          : "--backing: is for --changed with --format qcow2")
    }
    guard map == nil || changed && format == "raw" else {
      throw ValidationError("--map: is for --changed with --format raw")
    }
    guard !(changed && file == "-") else {
      throw ValidationError("-: changes are not a stream, since each has its place; name a file")
    }
  }

  func run() throws {
    if format == "qcow2" {
      return try TransferByNBD(server: server).save(
        name, to: file, backing: backing.map { ($0, backingFormat) })
    }
    let target = try ExportFile(path: file)
    // Without this, a signal would leave the temporary file on file systems where it needs a name.
    if let temporary = target.temporary {
      Signals.take([SIGINT, SIGTERM, SIGHUP]) { signal in
        unsafe unlink(temporary)
        _exit(128 + signal)
      }
    }
    if changed {
      try writeChanges(to: target.file, target.name)
    } else {
      try server.ask(
        .exportFile(name: name, path: target.name), with: target.file, showing: "export \(name)")
    }
    try target.commit()
  }

  /// Writes the changed bytes, and then the map, as a whole.
  private func writeChanges(to open: OpenFile, _ path: String) throws {
    let bar = ProgressBar("export \(name)")
    defer { bar.finish() }
    var ranges: [ChangedRange] = []
    let session = try server.session()
    let answer = try session.ask(
      .exportChanges(name: name, path: path), with: open, progress: { bar.show($0, $1) },
      changes: { ranges += $0 })
    guard case .disks(let disks) = answer, let disk = disks.first else { throw unexpected }
    let changes = ChangeMap(
      disk: disk.name, origin: disk.origin ?? "", size: disk.size,
      originSize: disk.originSize ?? disk.size, ranges)
    let target = try ExportFile(path: map ?? file + ".map", streams: false)
    try target.file.write(try changes.encoded())
    try target.commit()
  }
}

/// Notes a size that is no multiple of 512 bytes. Some clients know only whole sectors, so they
/// show such a disk as larger than it is.
func noteUnevenSize(_ size: ByteSize?) {
  guard let size, size.bytes % 512 != 0 else { return }
  let sectors = (size.bytes + 511) / 512 * 512
  writeToStandardError(
    "note: \(size.bytes) bytes are no whole number of 512-byte sectors; clients that count in sectors, "
      + "such as qemu, see \(sectors) bytes\n")
}
