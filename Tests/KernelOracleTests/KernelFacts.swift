import CKernelOracle
import Foundation

@testable import HugeMemory

/// What differs between kernels, determined on the one that this runs on.
enum KernelFacts {
  private static let directory = "/sys/kernel/mm/transparent_hugepage/"

  private static func contents(_ name: String) -> String? {
    try? String(contentsOfFile: directory + name, encoding: .utf8)
      .trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// The word in brackets.
  private static func choice(_ name: String) -> String? {
    guard let text = contents(name), let open = text.firstIndex(of: "["),
      let close = text.firstIndex(of: "]")
    else { return nil }
    return String(text[text.index(after: open)..<close])
  }

  /// Why this kernel cannot be compared with; nil if it can.
  static let unfit: String? = {
    guard ko_has_scan() != 0 else { return "the kernel has no ioctl PAGEMAP_SCAN (Linux 6.7)" }
    guard let enabled = choice("enabled") else { return "the kernel has no transparent huge pages" }
    guard enabled != "never" else { return "transparent huge pages are switched off" }
    // With sizes in between, a fault would map more than one page.
    let sizes = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
    for size in sizes where size.hasPrefix("hugepages-") && size != "hugepages-2048kB" {
      if let value = choice(size + "/enabled"), value != "never" {
        return "\(size) is \(value); only 2 MiB may be on"
      }
    }
    do {
      let kernel = try Kernel()
      let emptied = try kernel.run(
        program(
          """
          0: map 0..<512
          0: huge 0..<512
          0: write 0.0 1
          0: discard 7
          0: discard 0..<512
          0: read 0.0
          """))
      guard emptied.last?.views[0]?.first?.state == zeroHuge else {
        return "the kernel keeps an emptied page table (no CONFIG_PT_RECLAIM, Linux 6.14)"
      }
    } catch { return "the kernel's side did not start: \(error)" }
    return nil
  }()

  static let zeroHuge = UInt32(KO_PRESENT) | UInt32(KO_ZERO) | UInt32(KO_IS_HUGE)

  /// The policy with which the engine behaves like this kernel.
  static func policy(_ kernel: Kernel) throws -> Policy {
    var policy = Policy.linux
    policy.followsLinux = true
    policy.enabled = choice("enabled") == "always" ? .always : .madvise
    policy.useZeroPage = contents("use_zero_page") != "0"
    let written = try kernel.run(
      program(
        """
        0: map 0..<512
        0: huge 0..<512
        0: read 0.0
        0: write 0.0 1
        """))
    let isHuge = (written.last?.views[0]?.first?.state ?? 0) & UInt32(KO_IS_HUGE) != 0
    policy.zeroWrite = isHuge ? .huge : .split
    return policy
  }
}
