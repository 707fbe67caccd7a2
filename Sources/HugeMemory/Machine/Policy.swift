/// How a machine pages. The defaults are those of Linux with huge pages on.
public struct Policy: Sendable, Equatable {
  /// Who holds a reference on the zero page.
  public enum ZeroReference: String, Sendable, CaseIterable {
    /// One for each table with zero entries, however many: the default.
    case perTable
    /// One for each zero entry, as the kernel did in 2012.
    case perMapping
    /// Nobody: the page stays for ever once it is there. To compare with.
    case neverFreed
  }

  /// Whether a write to untouched memory, or to the zero page, takes a 2 MiB frame (if there is
  /// one) or a 4 KiB one. Off, memory is used to the page.
  public var hugePagesOnWrite = true
  /// Whether a read of untouched memory maps the zero page. Off, it takes a cleared frame of the
  /// reader's own, huge if `hugePagesOnWrite`, as before 2012 and as the kernel's `use_zero_page`
  /// 0. A read of several pages in a slot without huge pages takes one frame, for its last page.
  public var useZeroPage = true
  /// Who holds a reference on the zero page.
  public var zeroReference = ZeroReference.perTable

  /// Linux's defaults, with huge pages on.
  public init() {}
}
