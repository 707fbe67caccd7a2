import Glibc

/// A source in use. It belongs to the monitor's thread, once that has started.
protocol Watch: Sendable {
  var source: PressureSource { get }
  /// What is polled, and for which events; nil for what is looked at regularly.
  var descriptor: Descriptor? { get }
  var events: Int16 { get }
  /// How long, beyond the monitor's own decay, the kernel may take to say the same again.
  var pause: Duration { get }

  /// Called when the descriptor is ready, or regularly. Returns the level it tells of, `normal` for
  /// none. A watch that throws is dropped.
  mutating func answer(_ ready: Int16) throws(PressureError) -> PressureLevel
}

extension Watch {
  var pause: Duration { .zero }
}
