import Glibc

/// Tells long work whether it should go on. It should end when the client that waits for it on a
/// control socket is gone, or when the server stops.
///
/// Work that waits for a descriptor uses `wait`, so that both can end it.
public struct Caller: Sendable {
  /// The control socket on which the client waits, or -1 for none.
  package let socket: Int32
  /// A descriptor that becomes readable when the server stops, or -1 for none.
  let stop: Int32
  /// What the end of `socket` means.
  let gone: String

  /// For work that only the end of the process can end.
  public static let none = Caller(socket: -1, stop: -1)

  package init(socket: Int32, stop: Int32, gone: String = "the client is gone") {
    (self.socket, self.stop, self.gone) = (socket, stop, gone)
  }

  /// Throws if the work should end. Costs one system call.
  package func check() throws(ControlError) { _ = try poll(-1, 0, timeout: 0) }

  /// Waits until a read or write of `descriptor` would not block. Throws if the work should end.
  func wait(for descriptor: Int32, _ events: Int32) throws(ControlError) {
    while try !poll(descriptor, Int16(events), timeout: -1) {}
  }

  /// The same, for at most so many milliseconds. Returns whether the descriptor is ready.
  package func wait(
    for descriptor: Int32, _ events: Int32, milliseconds: Int32
  ) throws(ControlError) -> Bool {
    try poll(descriptor, Int16(events), timeout: milliseconds)
  }

  /// Returns whether `descriptor` is ready. Throws if the work should end.
  private func poll(
    _ descriptor: Int32, _ events: Int16, timeout: Int32
  ) throws(ControlError) -> Bool {
    let (ready, hungUp, stopping) = unsafe withUnsafeTemporaryAllocation(
      of: pollfd.self, capacity: 3
    ) { entries in
      unsafe entries[0] = pollfd(fd: descriptor, events: events, revents: 0)
      // `poll` always reports POLLHUP. It means that the client has closed its end, not only that
      // it sends nothing more.
      unsafe entries[1] = pollfd(fd: socket, events: 0, revents: 0)
      unsafe entries[2] = pollfd(fd: stop, events: Int16(POLLIN), revents: 0)
      guard unsafe Glibc.poll(entries.baseAddress, 3, timeout) > 0 else {
        return (false, false, false)
      }
      return unsafe (entries[0].revents != 0, entries[1].revents != 0, entries[2].revents != 0)
    }
    if stopping { throw ControlError("the server is stopping") }
    if hungUp { throw ControlError("cancelled: \(gone)") }
    return ready
  }
}
