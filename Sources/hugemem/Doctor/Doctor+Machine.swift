import CLinux
import ControlPlane
import Glibc
import MemoryPressure

extension Doctor {
  /// The kernel's settings and the control group, from `/proc` and `/sys` below `root`.
  struct Machine {
    let root: String

    var findings: [Finding] {
      [
        hugePages, defragmentation, overcommit, maps, group, pressure, swap, kernelClient,
      ]
    }

    private var hugePages: Finding {
      let path = "/sys/kernel/mm/transparent_hugepage/enabled"
      let slow = "All memory is in pages of 4 KiB, so reads and writes take up to a third longer."
      guard let choice = choice(path) else {
        return Finding(
          "huge pages", "not in this kernel", limits: slow,
          change: "use a kernel with CONFIG_TRANSPARENT_HUGEPAGE")
      }
      guard choice == "never" else { return Finding("huge pages", choice) }
      return Finding("huge pages", choice, limits: slow, change: Self.set(path, "madvise"))
    }

    private var defragmentation: Finding {
      let path = "/sys/kernel/mm/transparent_hugepage/defrag"
      let choice = choice(path) ?? "not in this kernel"
      guard choice == "never" else { return Finding("huge pages, on demand", choice) }
      return Finding(
        "huge pages, on demand", choice,
        limits: "New memory is huge only where the kernel has such a page free.",
        change: Self.set(path, "madvise"))
    }

    private var overcommit: Finding {
      let value = text("/proc/sys/vm/overcommit_memory") ?? "unknown"
      guard value == "2" else { return Finding("overcommit", value) }
      return Finding(
        "overcommit", value,
        limits:
          "The kernel counts memory that nobody has touched, and may refuse a server its limit.",
        change: "sudo sysctl vm.overcommit_memory=0")
    }

    private var maps: Finding {
      let value = text("/proc/sys/vm/max_map_count") ?? "unknown"
      guard let number = Int(value), number < 65_530 else { return Finding("mappings", value) }
      return Finding(
        "mappings", value, limits: "Memory that is given back in pieces needs many mappings.",
        change: "sudo sysctl vm.max_map_count=65530")
    }

    private var tree: FileTree { FileTree(root: root) }

    private var group: Finding {
      do throws(PressureError) {
        let group = try ControlGroup(in: tree)
        let limit = group.limit.map { "limit \(ByteSize($0))" } ?? "no limit"
        return Finding("control group", "\(group.version), \(limit), \(group.directory)")
      } catch {
        return Finding(
          "control group", "none is visible",
          limits: "A server plans with all of the machine's memory: \(error)",
          change:
            "start it in a group with the memory controller, as `systemd-run --user --scope` does")
      }
    }

    private var pressure: Finding {
      guard let stalls = text("/proc/pressure/memory") else {
        return Finding(
          "memory stalls (PSI)", "not in this kernel",
          limits:
            "A server hears of too little memory only from its control group and its own counts.",
          change: "boot the kernel with psi=1")
      }
      return Finding("memory stalls (PSI)", String(stalls.prefix { $0 != "\n" }))
    }

    private var swap: Finding {
      let devices = (text("/proc/swaps") ?? "").split(separator: "\n").dropFirst()
      guard let first = devices.first?.prefix(while: { $0 != " " && $0 != "\t" }) else {
        return Finding("swap", "none")
      }
      return Finding(
        "swap", "\(first)\(devices.count > 1 ? " and \(devices.count - 1) more" : "")",
        limits: "The kernel may swap disks out; a read then waits for the swap device.",
        change: "sudo swapoff -a, or MemorySwapMax=0 in the server's unit")
    }

    private var kernelClient: Finding {
      guard text("/sys/block/nbd0/size") == nil else {
        return Finding("the kernel's NBD client", "loaded")
      }
      return Finding(
        "the kernel's NBD client", "not loaded; nbdfuse, qemu and libraries need it not")
    }

    /// The part of a setting that is in brackets: `always [madvise] never`.
    private func choice(_ path: String) -> String? {
      text(path)?.split(separator: " ").first { $0.hasPrefix("[") }.map {
        String($0.dropFirst().dropLast())
      }
    }

    /// A small file without white space at its end; nil if it cannot be read.
    private func text(_ path: String) -> String? {
      let file = unsafe open(root + path, O_RDONLY | O_CLOEXEC)
      guard file >= 0 else { return nil }
      defer { close(file) }
      var bytes = [UInt8](repeating: 0, count: 4096)
      let count = unsafe read(file, &bytes, bytes.count)
      guard count >= 0 else { return nil }
      let text = String(decoding: bytes[..<count], as: UTF8.self)
      return String(text.reversed().drop(while: \.isWhitespace).reversed())
    }

    private static func set(_ path: String, _ value: String) -> String {
      "echo \(value) | sudo tee \(path)"
    }
  }
}
