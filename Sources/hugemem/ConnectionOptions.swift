import ArgumentParser
import ControlPlane
import Glibc
import NBDServer

/// What clients may take of the server; see docs/what-one-client-can-cost.md.
struct ConnectionOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "How many clients may be connected to disks at the same time. When more come, the one that has negotiated for the longest is cut; if none negotiates, the new one is turned away.",
      valueName: "n"))
  var maxConnections: Int = Acceptor.Limits().disks
  @Option(
    help: ArgumentHelp(
      "Seconds that a client has from the greeting to the start of transmission; 0: for ever.",
      valueName: "seconds"))
  var negotiationTimeout: Int = Timeouts().negotiation
  @Option(
    help: ArgumentHelp(
      "End a connection whose client has read nothing of its replies for so many seconds; 0: never.",
      valueName: "seconds"))
  var sendTimeout: Int = Timeouts().send
  @Flag(
    name: .customLong("no-connect-forks"),
    help: "Clients cannot make forks by connecting to NAME@FORK or NAME@.")
  var noConnectForks = false
  @Option(
    help: ArgumentHelp(
      "How many forks made by connecting there may be at the same time.", valueName: "n"))
  var maxConnectForks: Int = ConnectForks().limit
  @Option(
    help: "How many disks there may be, as far as there is --overhead for them.")
  var maxDisks: Int = Disks.standardLimit
  @Option(
    help:
      "Memory beside --memory for connections and the records of disks: 64 KiB for each connection are half of it, 3 KiB for each disk a quarter; the rest is for larger buffers (default: an eighth of --memory, at least 64M)."
  )
  var overhead: ByteSize?

  func validate() throws {
    // Each has a thread, and there are 8192 readers' slots for all threads of the process.
    guard (1...7000).contains(maxConnections) else {
      throw ValidationError("--max-connections \(maxConnections): use 1 to 7000")
    }
    for (name, seconds) in [
      ("negotiation", negotiationTimeout), ("send", sendTimeout),
    ] {
      guard (0...1_000_000).contains(seconds) else {
        throw ValidationError("--\(name)-timeout \(seconds): use 0 to 1000000 seconds")
      }
    }
    guard maxDisks >= 1 else { throw ValidationError("--max-disks \(maxDisks): use 1 or more") }
    if let overhead, overhead.bytes < Overhead.least {
      throw ValidationError(
        "--overhead \(overhead): use \(ByteSize(Overhead.least)) or more")
    }
    guard maxConnectForks >= 0 else {
      throw ValidationError("--max-connect-forks \(maxConnectForks): use 0 or more")
    }
  }

  var timeouts: Timeouts {
    var timeouts = Timeouts()
    timeouts.negotiation = negotiationTimeout
    timeouts.send = sendTimeout
    return timeouts
  }

  var connectForks: ConnectForks {
    var forks = ConnectForks()
    forks.areAllowed = !noConnectForks
    forks.limit = maxConnectForks
    return forks
  }

  func overhead(memory: UInt64) -> Overhead {
    overhead.map { Overhead(bytes: $0.bytes) } ?? .standard(memory: memory)
  }

  /// As many as there is memory and descriptors for, with those of the control socket and of files
  /// kept free: a full table of descriptors would shut the administrator out.
  func limits(_ overhead: Overhead) -> Acceptor.Limits {
    var limits = Acceptor.Limits()
    limits.disks = min(maxConnections, overhead.connections)
    var descriptors = rlimit()
    if unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &descriptors) == 0 {
      let most = Int(clamping: descriptors.rlim_cur)
      limits.control = max(1, min(limits.control, most / 8))
      // Each control client may have a file and a directory open; some are the server's own.
      let kept = 3 * limits.control + 2 * Acceptor.Limits.slack + 64
      limits.disks = max(1, min(limits.disks, most - min(kept, most / 2)))
    }
    return limits
  }
}
