/// The geometry of frames, as on x86-64. The model checker's build has a different one, so these
/// numbers must not appear anywhere else.
public enum FrameGeometry {
  public static var frameShift: Int { @inlinable @inline(__always) get { 12 } }
  public static var frameSize: Int { @inlinable @inline(__always) get { 1 << frameShift } }
  /// A huge frame is 2^hugeOrder small frames: 2 MiB. A table has as many entries, of 8 bytes each.
  public static var hugeOrder: Int { @inlinable @inline(__always) get { 9 } }
  public static var framesPerHuge: Int { @inlinable @inline(__always) get { 1 << hugeOrder } }
  public static var hugeSize: Int { @inlinable @inline(__always) get { frameSize << hugeOrder } }
  /// The most frames that a core's cache holds, and how many it takes at once.
  static let cacheCapacity = 126
  package static let cacheBatch = 32
}

/// A frame's number within its arena. 0 means "no frame" and is never allocated (history item 4).
public typealias FrameNumber = UInt32
