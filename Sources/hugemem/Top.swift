import ArgumentParser
import ControlPlane
import Glibc
import Primitives

struct Top: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Watch disks, memory, pressure and reclaim, as top does processes.",
    discussion: """
      The bar is the memory limit, filled by what memory is used for. What ends in /s is counted \
      between two frames; the names are those of /proc/vmstat and of `hugemem stat`. Like stat, \
      each frame walks the tables of all disks: with thousands of them, use a longer interval.

      Keys: o sorts by the next of name, data, own, clients, read, written; space asks again now; \
      q or Ctrl-C quits. Where standard output is no terminal, frames are printed one after the \
      other.
      """)
  @OptionGroup var server: ServerOptions
  @Option(help: ArgumentHelp("Seconds from one frame to the next.", valueName: "seconds"))
  var interval = 1.0
  @Option(help: "How many frames to show; 0: until it is told to quit.") var frames = 0
  @Option(help: "By what disks are sorted at first.") var sort = TopScreen.Order.name

  func validate() throws {
    guard interval.isFinite, 0.1...3600 ~= interval else {
      throw ValidationError("--interval \(interval): 0.1 to 3600 seconds")
    }
    guard frames >= 0 else { throw ValidationError("--frames \(frames): 0 or more") }
  }

  func run() throws {
    // Asked first, so that a server that is not there is said on the screen that stays.
    var status = try ask()
    var asked = Self.now
    let terminal = Terminal()
    defer { terminal?.close() }
    var screen = TopScreen(order: sort)
    var previous: ServerStatus?
    var elapsed = 0.0
    var shown = 0
    while true {
      if let terminal {
        let (width, height) = terminal.size
        terminal.draw(
          screen.lines(status, previous: previous, elapsed: elapsed, width: width, height: height))
      } else {
        if shown > 0 { print() }
        let lines = screen.lines(
          status, previous: previous, elapsed: elapsed, width: Self.plainWidth, height: nil)
        print(lines.joined(separator: "\n"))
        fflush(nil)
      }
      shown += 1
      if shown == frames { return }
      switch wait(for: terminal, until: asked + interval) {
      case "q": return
      case "o":
        // The same figures in another order.
        screen.order = screen.order.next
        shown -= 1
        continue
      default: break
      }
      previous = status
      status = try ask()
      elapsed = Self.now - asked
      asked += elapsed
    }
  }

  /// Nil when the time has come, or the key that means something before that.
  private func wait(for terminal: Terminal?, until end: Double) -> Character? {
    while true {
      let left = end - Self.now
      guard left > 0 else { return nil }
      guard let terminal else {
        usleep(UInt32(left * 1e6))
        continue
      }
      let key = terminal.key(within: left)
      if let key, "qo ".contains(key) { return key }
    }
  }

  private func ask() throws -> ServerStatus {
    guard case .status(let status) = try server.ask(.stat(name: nil)) else { throw unexpected }
    return status
  }

  /// Wide enough for all figures; a pipe has no width of its own.
  private static let plainWidth = 120

  /// Seconds.
  private static var now: Double { Double(monotonicTime()) / 1e9 }
}

extension TopScreen.Order: ExpressibleByArgument {}
