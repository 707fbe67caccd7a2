import ControlPlane
import FoundationEssentials
import Glibc

/// The changes in a qcow2 image with a backing file: a raw copy in a temporary file, and the ranges
/// that the image has itself.
struct Overlay {
  private let image: ForeignImage
  private let directory: String
  /// The raw copy.
  var path: String { directory + "/raw" }

  private struct Part: Decodable {
    let start: UInt64
    let length: UInt64
    let depth: Int
    let zero: Bool
  }

  init(_ image: ForeignImage) throws {
    guard image.backing != nil else {
      throw ControlError(
        "\(image.path): has no backing file, so it is a whole disk; import it without --onto")
    }
    self.image = image
    let parent = unsafe getenv("TMPDIR").map { unsafe String(cString: $0) } ?? "/tmp"
    var template = Array("\(parent)/hugemem-XXXXXX".utf8CString)
    guard unsafe mkdtemp(&template) != nil else {
      throw ControlError(
        "make a directory in \(parent): \(unsafe String(cString: strerror(errno)))")
    }
    directory = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  /// Copies the image, and returns its own ranges.
  func read() throws -> ChangeMap {
    try Tool.run(
      ["qemu-img", "convert", "-f", image.format, "-O", "raw", image.path, path],
      package: "qemu-utils", shows: true)
    let output = try Tool.run(
      ["qemu-img", "map", "--output=json", "-f", image.format, image.path], package: "qemu-utils")
    let own = try JSONDecoder().decode([Part].self, from: output).filter { $0.depth == 0 }
    return ChangeMap(
      disk: image.path, origin: image.backing ?? "", size: image.size, originSize: image.size,
      own.map { ChangedRange($0.start, $0.length, data: !$0.zero) })
  }

  func remove() {
    unsafe unlink(path)
    unsafe rmdir(directory)
  }
}
