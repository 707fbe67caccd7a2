import CLinux
import Glibc
import NBDServer
import NIOHTTP1

extension API {
  private struct EventDocument: Encodable {
    let id: UInt64
    let time: Double
    let disk: String
    let origin: String?
    let formerName: String?

    init(_ event: DiskEvent) {
      (id, time, disk) = (event.number, event.time, event.disk)
      origin = event.kind == .forked ? event.other : nil
      formerName = event.kind == .renamed ? event.other : nil
    }
  }

  /// Server-sent events: what happens to disks from now on, or after `Last-Event-ID`.
  func events(_ call: Route.Call) throws -> Answer {
    let last = call.request.header("last-event-id") ?? call.request.query["after"]
    var after = disks.events.last
    if let last {
      guard let number = UInt64(last) else {
        throw Problem(400, .invalid, "the id of the last event: write a number")
      }
      after = number
    }
    let isHead = call.request.head.method == .HEAD
    return .stream { [disks, after] connection, request in
      connection.begin(.ok, ["content-type": "text/event-stream"], to: request)
      // Nothing follows, not even the end of a body.
      if isHead { return try connection.flush() }
      let counter = hm_event_counter()
      guard counter >= 0 else { return try connection.end() }
      defer {
        disks.events.forget(counter)
        close(counter)
      }
      var after = after
      // So that the client knows that it is connected.
      try connection.sendPart(": hugemem\n\n")
      while true {
        let (events, missed) = disks.events.events(after: after, waiting: counter)
        var text = ""
        if missed > 0 { text += "event: missed\ndata: {\"count\":\(missed)}\n\n" }
        for event in events {
          text += "id: \(event.number)\nevent: disk.\(event.kind.rawValue)\n"
          text += "data: \(try JSON.text(EventDocument(event)))\n\n"
          after = event.number
        }
        if !text.isEmpty {
          try connection.sendPart(text)
          continue
        }
        guard try call.wait(for: counter) else {
          try connection.sendPart(": still here\n\n")
          continue
        }
        var count: UInt64 = 0
        _ = unsafe read(counter, &count, 8)
      }
    }
  }
}

extension Route.Call {
  /// Seconds after which a stream without events sends a comment, so that proxies keep it.
  private static let heartbeat: Int32 = 15

  /// Waits until a descriptor is readable. Returns false after a while. Throws if the client is gone or
  /// the server stops.
  fileprivate func wait(for descriptor: Int32) throws -> Bool {
    do {
      return try caller.wait(for: descriptor, POLLIN, milliseconds: Self.heartbeat * 1000)
    } catch {
      throw ClientIsGone()
    }
  }
}
