import ArgumentParser
import ControlPlane
import Glibc
import Primitives

struct Top: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Watch disks, memory, pressure and reclaim, as top watches processes.",
    discussion: """
      The bar is the memory limit, filled by what memory is used for. Figures in lines and columns \
      that end in /s are rates between two frames. Counters have the names of /proc/vmstat and \
      `hugemem stat`. Like stat, each frame walks the tables of all disks. With thousands of \
      disks, use a longer interval.

      Keys: o sorts by the next of name, data, own, clients, read, written; space updates now; q \
      or Ctrl-C quits. If standard output is no terminal, frames are printed one after the other.
      """)
  @OptionGroup var server: ServerOptions
  @Option(help: ArgumentHelp("Seconds from one frame to the next.", valueName: "seconds"))
  var interval = 1.0
  @Option(help: "Number of frames to show; 0 means until you quit.") var frames = 0
  @Option(help: "The first order of disks.") var sort = TopScreen.Order.name

  func validate() throws {
    guard interval.isFinite, 0.1...3600 ~= interval else {
      throw ValidationError("--interval \(interval): use 0.1 to 3600 seconds")
    }
    guard frames >= 0 else { throw ValidationError("--frames \(frames): use 0 or more") }
  }

  func run() throws {
    // Ask before the screen changes, so that the error for a missing server stays visible.
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
        // Show the same figures in another order.
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

  /// Waits until the time `end`, or for a key that has a meaning. Returns the key, or nil at `end`.
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

  /// Wide enough for all figures. A pipe has no width.
  private static let plainWidth = 120

  /// The monotonic time, in seconds.
  private static var now: Double { Double(monotonicTime()) / 1e9 }
}

extension TopScreen.Order: ExpressibleByArgument {}
