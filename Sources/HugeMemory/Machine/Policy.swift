/// How a machine pages: the knobs of `/sys/kernel/mm/transparent_hugepage`, by the kernel's names
/// and with its meanings, and the few choices that are ours. The defaults are Linux 6.18's.
///
/// All can be changed while the machine is in use (`Machine.tune`), but for `zeroReference` and
/// `followsLinux`. What is mapped stays as it is.
public struct Policy: Sendable, Equatable {
  /// `enabled`: which mappings get huge frames when they fault.
  public enum Enabled: UInt8, Sendable, CaseIterable {
    /// All that are not advised against.
    case always
    /// Those advised `huge`.
    case madvise
    /// None. The advice `collapse` still makes them, on request.
    case never
    /// None when they fault, so that memory is used to the page; all in the background, once they
    /// are dense enough for `maxPtesNone`. Not one of Linux's.
    case collapse
  }
  public var enabled = Enabled.always

  /// `defrag`: who reclaims memory for the sake of a huge frame before falling back to 4 KiB.
  public enum Defrag: UInt8, Sendable, CaseIterable {
    /// Every fault does.
    case always
    /// Only the background reclaimer; faults fall back.
    case deferred
    /// Faults of mappings advised `huge` do, others leave it to the background.
    case deferredMadvise
    /// Faults of mappings advised `huge` do.
    case madvise
    /// Nobody.
    case never
  }
  public var defrag = Defrag.madvise

  /// `use_zero_page`: whether a read of untouched memory maps the zero page. Off, it takes a
  /// cleared frame of the reader's own, as before 2012; a read of several pages in a slot without
  /// huge pages takes one frame, for its last page.
  public var useZeroPage = true

  /// What a write to a huge zero entry allocates (history item 18).
  public enum ZeroWrite: UInt8, Sendable, CaseIterable {
    /// A huge frame; 4 KiB if there is none. Linux up to 5.7, and from 6.13.
    case huge
    /// 4 KiB, the other 511 entries zero. Linux 5.8 to 6.12.
    case split
  }
  public var zeroWrite = ZeroWrite.huge

  /// `khugepaged/max_ptes_none`: up to how many untouched or zero entries of 512 the background
  /// scanner fills with zeros to make a huge frame; and above how many all-zero pages of a huge
  /// frame the underused splitter takes it apart. 0...511.
  public var maxPtesNone: UInt16 = 511
  /// `khugepaged/max_ptes_shared`: up to how many pages shared with forks it copies. 0...511.
  public var maxPtesShared: UInt16 = 256
  /// `khugepaged/pages_to_scan`: 4 KiB entries that it looks at before it sleeps again.
  public var pagesToScan: UInt16 = 4096
  /// `khugepaged/scan_sleep_millisecs`: how long it sleeps.
  public var scanSleepMilliseconds: UInt16 = 10_000
  /// `shrink_underused`: whether reclaim takes apart huge frames that are mostly zeros.
  public var shrinkUnderused = true

  /// Who holds a reference on the zero page.
  public enum ZeroReference: String, Sendable, CaseIterable {
    /// One for each table with zero entries, however many: the default.
    case perTable
    /// One for each zero entry, as the kernel did in 2012.
    case perMapping
    /// Nobody: the page stays for ever once it is there. To compare with.
    case neverFreed
  }
  public var zeroReference = ZeroReference.perTable

  /// Do as Linux does also where we know better. Off (the default):
  /// - a hole that is read where huge pages are off maps one zero entry of 2 MiB, not of 4 KiB;
  /// - a hole below tables shared with a fork is read without mapping anything;
  /// - a table goes with its last entry, not with the discard of its whole 2 MiB;
  /// - nothing but zeros is not collapsed into a huge frame of zeros;
  /// - a fork keeps what reads have mapped where nothing was ever written;
  /// - protecting or moving a range with a gap in it changes nothing.
  public var followsLinux = false

  /// Linux's defaults, with huge pages on.
  public init() {}
}

// All knobs in one word, so that a fault reads one consistent set without a lock.
extension Policy {
  var word: UInt64 {
    let references = UInt64(ZeroReference.allCases.firstIndex(of: zeroReference) ?? 0)
    var word = UInt64(enabled.rawValue) | UInt64(defrag.rawValue) << 2
    word |= UInt64(zeroWrite.rawValue) << 5 | references << 6
    word |= (useZeroPage ? 1 : 0) << 8 | (shrinkUnderused ? 1 : 0) << 9
    word |= (followsLinux ? 1 : 0) << 10
    word |= UInt64(min(maxPtesNone, 511)) << 11 | UInt64(min(maxPtesShared, 511)) << 20
    return word | UInt64(pagesToScan) << 29 | UInt64(scanSleepMilliseconds) << 45
  }

  init(word: UInt64) {
    func field(_ shift: UInt64, _ bits: UInt64) -> UInt64 { word >> shift & (1 << bits - 1) }
    enabled = Enabled(rawValue: UInt8(field(0, 2))) ?? .always
    defrag = Defrag(rawValue: UInt8(field(2, 3))) ?? .madvise
    zeroWrite = ZeroWrite(rawValue: UInt8(field(5, 1))) ?? .huge
    zeroReference = ZeroReference.allCases[Int(field(6, 2))]
    useZeroPage = field(8, 1) != 0
    shrinkUnderused = field(9, 1) != 0
    followsLinux = field(10, 1) != 0
    maxPtesNone = UInt16(field(11, 9))
    maxPtesShared = UInt16(field(20, 9))
    pagesToScan = UInt16(field(29, 16))
    scanSleepMilliseconds = UInt16(field(45, 16))
  }
}
