import Glibc

/// A source in use. It belongs to the monitor's thread once that has started.
protocol Watch: Sendable {
  var source: PressureSource { get }
  /// The descriptor to poll for `events`; nil if the source is read at regular intervals.
  var descriptor: Descriptor? { get }
  var events: Int16 { get }
  /// How long the kernel may wait, in addition to the monitor's decay, before it reports again.
  var pause: Duration { get }

  /// Called when the descriptor is ready, or at each interval. Returns the level that the source
  /// reports, or `normal` if it reports none. A watch that throws is dropped.
  mutating func answer(_ ready: Int16) throws(PressureError) -> PressureLevel
}

extension Watch {
  var pause: Duration { .zero }
}
