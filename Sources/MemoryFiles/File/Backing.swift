import CLinux
import Glibc

/// Which pages back a mapping of a file, and why.
struct Backing {
  var hugePageSize: Int?
  var explanation: String
  var remedy: String?

  /// The knob for memfds, which also overrides the option `huge` of every tmpfs: deny and force.
  static let knob = "/sys/kernel/mm/transparent_hugepage/shmem_enabled"

  init(of descriptor: Int32, kind: MemoryFile.Kind, because refusal: String? = nil) {
    if HugePagePool.has(descriptor) {
      hugePageSize = 2 << 20
      explanation = "a file on your hugetlbfs, with huge pages that are reserved"
      return
    }
    let what =
      switch kind {
      case .tmpfs: "a tmpfs of its own"
      case .memfd: "a memfd"
      case .named: "a file on your tmpfs"
      }
    let why = refusal.map { ", since there is no tmpfs of its own (\($0))" } ?? ""
    switch hm_is_huge(descriptor) {
    case 1:
      hugePageSize = 2 << 20
      explanation = "\(what) with huge pages\(why)"
      return
    case 0: explanation = "\(what) with pages of 4 KiB"
    default: explanation = "\(what); the system does not say whether it has huge pages"
    }
    let choice = Self.choice
    remedy = "echo advise | sudo tee \(Self.knob)"
    switch (kind, choice) {
    case (_, nil):
      explanation += why + ": this kernel has no huge pages for files in memory"
      remedy = "use a kernel with CONFIG_TRANSPARENT_HUGEPAGE"
    case (_, "deny"): explanation += why + ": \(Self.knob) is deny"
    case (.named, _):
      explanation += ": it is not mounted with huge=advise"
      remedy = "sudo mount -o remount,huge=advise DIR, where DIR is the place of that tmpfs"
    case (_, let choice?): explanation += why + ": \(Self.knob) is \(choice)"
    }
  }

  /// The value of the knob, which is in brackets: `always within_size advise [never] deny force`.
  static var choice: String? {
    let file = unsafe open(knob, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return nil }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 256)
    let count = unsafe read(file, &bytes, bytes.count)
    guard count > 0 else { return nil }
    return String(decoding: bytes[..<count], as: UTF8.self).split(whereSeparator: \.isWhitespace)
      .first { $0.hasPrefix("[") && $0.hasSuffix("]") }.map { String($0.dropFirst().dropLast()) }
  }
}
