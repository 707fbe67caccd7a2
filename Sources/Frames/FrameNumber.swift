/// The geometry of frames, as on x86-64. The model checker's build has a different one, so these
/// numbers must not appear anywhere else.
public enum FrameGeometry {
  public static let frameShift = 12
  public static let frameSize = 1 << frameShift
  /// A huge frame is 2^hugeOrder small frames: 2 MiB. A table has as many entries, of 8 bytes each.
  public static let hugeOrder = 9
  public static let framesPerHuge = 1 << hugeOrder
  public static let hugeSize = frameSize << hugeOrder
  /// The most frames that a core's cache holds, and how many it takes at once.
  static let cacheCapacity = 126
  static let cacheBatch = 32
}

/// A frame's number within its arena. 0 means "no frame" and is never allocated (history item 4).
public typealias FrameNumber = UInt32
