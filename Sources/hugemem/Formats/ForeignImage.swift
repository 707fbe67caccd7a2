import ControlPlane
import FoundationEssentials
import Glibc

/// An image in a format of another program, which `qemu-img` reads.
struct ForeignImage {
  let path: String
  let format: String
  /// The size of the disk in it, in bytes.
  let size: UInt64
  /// The file with what the image does not have itself; nil if there is none.
  let backing: String?

  /// What `qemu-img info --output=json` says.
  private struct Info: Decodable {
    let format: String
    let size: UInt64
    let backing: String?
    let specific: Specific?
    enum CodingKeys: String, CodingKey {
      case format
      case size = "virtual-size"
      case backing = "full-backing-filename"
      case specific = "format-specific"
    }
    struct Specific: Decodable { let data: Parts? }
    struct Parts: Decodable {
      let file: String?
      let extents: [Part]?
      enum CodingKeys: String, CodingKey {
        case file = "data-file"
        case extents
      }
    }
    struct Part: Decodable { let filename: String? }
  }

  /// Looks at a file. Returns nil if it is a raw image, or no regular file.
  ///
  /// An image may name other files, from which the disk would get bytes. With `allowsOthers` false,
  /// such an image is refused, since an image from a stranger could name a file that only you can
  /// read.
  init?(path: String, allowsOthers: Bool) throws {
    guard path != "-", let head = Self.head(path), Self.isForeign(head) else { return nil }
    self.path = absolutePath(path)
    let output = try Tool.run(
      ["qemu-img", "info", "--output=json", self.path], package: "qemu-utils")
    let info: Info
    do { info = try JSONDecoder().decode(Info.self, from: output) } catch {
      throw ControlError("\(path): qemu-img describes it in a way that is not understood: \(error)")
    }
    format = info.format
    size = info.size
    backing = info.backing
    var others = [info.backing, info.specific?.data?.file].compactMap { $0 }
    others += (info.specific?.data?.extents ?? []).compactMap(\.filename).filter {
      absolutePath($0) != self.path
    }
    guard allowsOthers || others.isEmpty else {
      throw ControlError(
        "\(path): takes bytes from another file, \(others[0]); add --allow-backing if you trust it")
    }
  }

  /// The first bytes of a regular file; nil if it is none or cannot be read.
  private static func head(_ path: String) -> [UInt8]? {
    var status = stat()
    guard unsafe stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 512)
    let count = unsafe read(descriptor, &bytes, bytes.count)
    return count > 0 ? Array(bytes[..<count]) : nil
  }

  private static func isForeign(_ head: [UInt8]) -> Bool {
    func has(_ text: String, at place: Int = 0) -> Bool {
      head.count >= place + text.utf8.count && head[place...].starts(with: text.utf8)
    }
    // The magic numbers of qcow2, vmdk (sparse, and its descriptor), vhdx, vhd and vdi.
    return head.starts(with: [0x51, 0x46, 0x49, 0xfb]) || has("KDMV")
      || has("# Disk DescriptorFile") || has("vhdxfile") || has("conectix")
      || head.count >= 0x44 && head[0x40..<0x44] == [0x7f, 0x10, 0xda, 0xbe]
  }

}
