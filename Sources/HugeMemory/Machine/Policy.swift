/// How a machine pages: the knobs of `/sys/kernel/mm/transparent_hugepage`, with the kernel's names
/// and meanings, and a few choices that Linux does not have.
///
/// Start from one of two policies, and change any knob:
///
/// | | `Policy()`, the default | `Policy.linux` |
/// |---|---|---|
/// | a write to untouched memory takes | 4 KiB | 2 MiB |
/// | the background makes a huge frame of | 512 pages that hold data | 1 page of data or more |
/// | ... which are shared with forks | never | up to 256 of them |
/// | the background looks at | 16,384 pages each second | 4,096 pages each 10 s |
///
/// With the default, you use memory to the page, and dense memory still becomes huge frames. With
/// Linux's values, writes that follow the first one to each 2 MiB are faster, and scattered writes
/// cost up to 512 times what they hold. The server uses the default.
///
/// You can change a policy while its machine is in use (`Machine.tune`). What is mapped stays as it
/// is.
///
/// - Thread safety: a value, which you can share freely.
///
/// The whole policy is one word. So a fault reads one consistent set of knobs without a lock, and
/// decodes only the knob that it needs.
public struct Policy: Sendable, Equatable {
  var word: UInt64 = 0

  private func field(_ shift: UInt64, _ bits: UInt64) -> UInt64 { word >> shift & (1 << bits - 1) }
  private mutating func set(_ shift: UInt64, _ bits: UInt64, _ value: UInt64) {
    word = word & ~((1 << bits - 1) << shift) | value << shift
  }

  /// The values of the knob `enabled`.
  public enum Enabled: UInt8, Sendable, CaseIterable {
    /// All that are not advised against.
    case always
    /// Those advised `huge`.
    case madvise
    /// None. The advice `collapse` still makes them, on request.
    case never
    /// None when they fault, so that memory is used to the page. The background makes huge frames
    /// of all mappings, once they are dense enough for `maxPtesNone`. Linux does not have this.
    case collapse
  }
  /// `enabled`: which mappings get huge frames when they fault.
  public var enabled: Enabled {
    get { Enabled(rawValue: UInt8(field(0, 2))) ?? .always }
    set { set(0, 2, UInt64(newValue.rawValue)) }
  }

  /// The values of the knob `defrag`.
  public enum Defrag: UInt8, Sendable, CaseIterable {
    /// Every fault does.
    case always
    /// None; only the background reclaims, and faults fall back.
    case deferred
    /// Faults of mappings advised `huge` do; others leave it to the background.
    case deferredMadvise
    /// Faults of mappings advised `huge` do.
    case madvise
    /// Nobody.
    case never
  }
  /// `defrag`: which faults reclaim memory to get a huge frame before they fall back to 4 KiB.
  public var defrag: Defrag {
    get { Defrag(rawValue: UInt8(field(2, 3))) ?? .madvise }
    set { set(2, 3, UInt64(newValue.rawValue)) }
  }

  /// `use_zero_page`: whether a read of untouched memory maps the zero page. If it is off, the read
  /// maps a cleared frame of the space's own, as before 2012. A read of several pages in a slot
  /// without huge pages maps one frame, for its last page.
  public var useZeroPage: Bool {
    get { field(8, 1) != 0 }
    set { set(8, 1, newValue ? 1 : 0) }
  }

  /// What a write to a huge zero entry allocates (history item 18).
  public enum ZeroWrite: UInt8, Sendable, CaseIterable {
    /// A huge frame, or 4 KiB if there is none. Linux up to 5.7, and from 6.13.
    case huge
    /// 4 KiB; the other 511 entries become zero entries. Linux 5.8 to 6.12.
    case split
  }
  /// What a write to a huge zero entry allocates. Linux has no such knob: its versions differ.
  public var zeroWrite: ZeroWrite {
    get { ZeroWrite(rawValue: UInt8(field(5, 1))) ?? .huge }
    set { set(5, 1, UInt64(newValue.rawValue)) }
  }

  /// `khugepaged/max_ptes_none`: how many of a slot's 512 entries may be untouched or zero for the
  /// background scanner to make a huge frame; it fills them with zeros. The underused splitter
  /// takes a huge frame apart if more than this many of its pages are all zeros. 0...511; a larger
  /// value counts as 511.
  ///
  /// A write that finds no memory takes apart huge frames that are mostly zeros, whatever this
  /// value is.
  public var maxPtesNone: UInt16 {
    get { UInt16(field(11, 9)) }
    set { set(11, 9, UInt64(min(newValue, 511))) }
  }
  /// `khugepaged/max_ptes_shared`: how many pages shared with forks the scanner copies at most to
  /// make a huge frame. 0...511; a larger value counts as 511.
  public var maxPtesShared: UInt16 {
    get { UInt16(field(20, 9)) }
    set { set(20, 9, UInt64(min(newValue, 511))) }
  }
  /// `khugepaged/pages_to_scan`: how many 4 KiB entries the scanner looks at before it sleeps
  /// again.
  public var pagesToScan: UInt16 {
    get { UInt16(field(29, 16)) }
    set { set(29, 16, UInt64(newValue)) }
  }
  /// `khugepaged/scan_sleep_millisecs`: how long the scanner sleeps, in milliseconds.
  public var scanSleepMilliseconds: UInt16 {
    get { UInt16(field(45, 16)) }
    set { set(45, 16, UInt64(newValue)) }
  }
  /// `shrink_underused`: whether reclaim takes apart huge frames that are mostly zeros. If it is
  /// off, nothing does, not even before a write is refused.
  public var shrinkUnderused: Bool {
    get { field(9, 1) != 0 }
    set { set(9, 1, newValue ? 1 : 0) }
  }

  /// What holds references on the zero page.
  package enum ZeroReference: String, Sendable, CaseIterable {
    /// One reference for each table with zero entries, however many it has: the default.
    case perTable
    /// One reference for each zero entry, as in the kernel of 2012.
    case perMapping
    /// No references: once allocated, the page stays for ever. For comparison.
    case neverFreed
  }
  package var zeroReference: ZeroReference {
    get { field(6, 2) == 0 ? .perTable : field(6, 2) == 1 ? .perMapping : .neverFreed }
    set { set(6, 2, newValue == .perTable ? 0 : newValue == .perMapping ? 1 : 2) }
  }

  /// Whether to do as Linux does where we know better. If it is off, which is the default:
  /// - a read of a hole where huge pages are off maps one zero entry of 2 MiB, not of 4 KiB;
  /// - a read of a hole below tables shared with a fork maps nothing;
  /// - a table goes with its last entry, not only with a discard of its whole 2 MiB;
  /// - a slot of nothing but zeros is not collapsed into a huge frame of zeros;
  /// - a fork keeps what reads have mapped where nothing was ever written;
  /// - a call to protect or move a range with a gap changes nothing.
  package var followsLinux: Bool {
    get { field(10, 1) != 0 }
    set { set(10, 1, newValue ? 1 : 0) }
  }

  /// The default: memory to the page, and huge frames where memory is dense.
  public init() {
    self = .linux
    enabled = .collapse
    maxPtesNone = 0
    maxPtesShared = 0
    pagesToScan = 16_384
    scanSleepMilliseconds = 1_000
  }

  /// The values of Linux 6.18, with huge pages on: `enabled` is `always`.
  public static var linux: Policy {
    var policy = Policy(word: 0)
    policy.enabled = .always
    policy.defrag = .madvise
    policy.useZeroPage = true
    policy.zeroWrite = .huge
    policy.maxPtesNone = 511
    policy.maxPtesShared = 256
    policy.pagesToScan = 4096
    policy.scanSleepMilliseconds = 10_000
    policy.shrinkUnderused = true
    return policy
  }

  init(word: UInt64) { self.word = word }
}
