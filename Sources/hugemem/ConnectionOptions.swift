import ArgumentParser
import ControlPlane
import Glibc
import NBDServer

/// The limits of what clients may take of the server; see docs/what-one-client-can-cost.md.
struct ConnectionOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "The most clients that may be connected to disks at the same time. One more client replaces the one that has been in negotiation the longest. If none is in negotiation, the new client is turned away.",
      valueName: "n"))
  var maxConnections: Int = Acceptor.Limits().disks
  @Option(
    help: ArgumentHelp(
      "Seconds that a client has from the greeting to the start of transmission; 0 means no limit.",
      valueName: "seconds"))
  var negotiationTimeout: Int = Timeouts().negotiation
  @Option(
    help: ArgumentHelp(
      "End a connection when its client has read nothing of its replies for so many seconds; 0 means never.",
      valueName: "seconds"))
  var sendTimeout: Int = Timeouts().send
  @Option(
    help: ArgumentHelp(
      "Microseconds that a connection with requests in quick succession looks for the next one before its thread sleeps; 0 means never. Costs CPU, and saves the time of waking up.",
      valueName: "microseconds"))
  var busyPoll = Int(Timeouts().busyPoll / 1000)
  @Flag(
    name: .customLong("no-connect-forks"),
    help: "Do not let clients make forks by connecting to NAME@FORK or NAME@.")
  var noConnectForks = false
  @Option(
    help: ArgumentHelp(
      "The most forks made by connecting that may exist at the same time.", valueName: "n"))
  var maxConnectForks: Int = ConnectForks().limit
  @Option(
    help: "The most disks that may exist at the same time. --overhead may allow fewer.")
  var maxDisks: Int = Disks.standardLimit
  @Option(
    help:
      "Memory that the server may use in addition to --memory. Half of it is for connections, 64 KiB each, or 128 KiB if TLS is on. A quarter is for the records of disks, 3 KiB each. The rest is for larger buffers. (default: an eighth of --memory, at least 64M)"
  )
  var overhead: ByteSize?

  func validate() throws {
    // Each connection has a thread, and the process has 8192 reader slots for all its threads.
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
    guard (0...10_000).contains(busyPoll) else {
      throw ValidationError("--busy-poll \(busyPoll): use 0 to 10000 microseconds")
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
    timeouts.busyPoll = UInt64(busyPoll) * 1000
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

  /// As many connections as there are memory and descriptors for. Some descriptors are kept free
  /// for the control socket and for files, since a full table would shut the administrator out.
  func limits(_ overhead: Overhead, secure: Bool) -> Acceptor.Limits {
    var limits = Acceptor.Limits()
    limits.disks = min(maxConnections, overhead.connections(secure: secure))
    var descriptors = rlimit()
    if unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &descriptors) == 0 {
      let most = Int(clamping: descriptors.rlim_cur)
      limits.control = max(1, min(limits.control, most / 8))
      limits.http = max(1, min(limits.http, most / 32))
      // Each control client may have a file and a directory open. The server needs some for itself.
      let kept = 3 * (limits.control + limits.http) + 3 * Acceptor.Limits.slack + 64
      limits.disks = max(1, min(limits.disks, most - min(kept, most / 2)))
    }
    return limits
  }
}
