import CLinux
import ControlPlane
import Glibc
import NBDServer

extension Doctor {
  /// The limits of this process, which a server started here would have, and the processor.
  struct Process {
    var findings: [Finding] { [files, threads, addresses, cores, aes] }

    /// Descriptors, and threads: one for each connection, and some for the control socket and for the
    /// server itself.
    private var wanted: UInt64 { UInt64(Acceptor.Limits().disks + 1024) }

    private var files: Finding {
      // A server raises its own limit to the hard one.
      let limit = Self.limit(RLIMIT_NOFILE, hard: true)
      guard limit < wanted else { return Finding("open files", Self.show(limit)) }
      return Finding(
        "open files", Self.show(limit),
        limits: "A server has room for fewer than \(Acceptor.Limits().disks) connections.",
        change: "ulimit -Hn \(wanted), or LimitNOFILE=\(wanted) in the server's unit")
    }

    private var threads: Finding {
      let limit = Self.limit(__RLIMIT_NPROC)
      // The limit does not count for root.
      guard limit < wanted, getuid() != 0 else { return Finding("threads", Self.show(limit)) }
      return Finding(
        "threads", Self.show(limit), limits: "Each connection has a thread.",
        change: "ulimit -u \(wanted), or LimitNPROC=\(wanted) in the server's unit")
    }

    private var addresses: Finding {
      let limit = Self.limit(RLIMIT_AS)
      guard limit != .max else { return Finding("address space", Self.show(limit)) }
      return Finding(
        "address space", "\(ByteSize(limit))",
        limits: "A server reserves addresses for all of its memory, and more for each thread.",
        change: "ulimit -v unlimited")
    }

    private var cores: Finding {
      let count = hm_usable_cores()
      guard count == 1 else { return Finding("cores", "\(count)") }
      return Finding(
        "cores", "1",
        limits:
          "Client and server take turns, and no connection looks for its next request (--busy-poll).",
        change: "give the machine a second core")
    }

    private var aes: Finding {
      guard !hm_has_aes() else { return Finding("AES instructions", "yes") }
      return Finding(
        "AES instructions", "no", limits: "TLS uses ChaCha20, which takes several times as long.",
        change: "let the virtual machine see the processor's flags, as `-cpu host` does in QEMU")
    }

    private static func limit(_ resource: __rlimit_resource, hard: Bool = false) -> UInt64 {
      var limit = rlimit()
      unsafe getrlimit(__rlimit_resource_t(resource.rawValue), &limit)
      return UInt64(hard ? limit.rlim_max : limit.rlim_cur)
    }

    private static func show(_ limit: UInt64) -> String { limit == .max ? "unlimited" : "\(limit)" }
  }
}
