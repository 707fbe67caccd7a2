import Glibc

/// Watches a PSI trigger. The kernel raises POLLPRI at most once in a window, when the threshold is
/// passed. An open file description holds one trigger until it is closed.
struct StallWatch: Watch {
  let source: PressureSource
  let descriptor: Descriptor?
  let events = Int16(POLLPRI)
  let pause: Duration
  private let path: String
  private let level: PressureLevel

  init(
    _ kind: PressureSource.Kind, _ path: String, _ trigger: StallTrigger, in tree: FileTree
  ) throws(PressureError) {
    let file = try tree.open(path, O_RDWR | O_NONBLOCK)
    var taken = trigger
    var note = ""
    do throws(PressureError) {
      // Without a final zero byte, the kernel cuts off the last digit.
      try file.write(trigger.setting, endingInZero: true)
    } catch {
      guard case .system(_, _, EINVAL) = error, let rounded = trigger.rounded else { throw error }
      taken = rounded
      try file.write(rounded.setting, endingInZero: true)
      note = " (the kernel refused a window of \(trigger.window.milliseconds) ms)"
    }
    source = PressureSource(kind: kind, path: file.path, detail: taken.detail + note)
    descriptor = file.descriptor
    pause = taken.window
    self.path = file.path
    level = taken.level
  }

  mutating func answer(_ ready: Int16) throws(PressureError) -> PressureLevel {
    // psi_trigger_poll itself reports no error. An error comes from kernfs: the file was removed.
    if ready & Int16(POLLERR | POLLHUP) != 0 { throw .removed(path: path) }
    return level
  }
}
