import ArgumentParser
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

  /// As many as there are descriptors for, with those of the control socket and of files kept free:
  /// a full table of descriptors would shut the administrator out.
  var limits: Acceptor.Limits {
    var limits = Acceptor.Limits()
    limits.disks = maxConnections
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
