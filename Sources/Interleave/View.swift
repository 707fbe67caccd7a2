import CFiber

/// What a thread, a store or a fence has seen: for each location the oldest store that may still be
/// read, and for each thread the last plain access that happened before.
///
/// ```
///   lane 0 ..< 56                      lane 56 ..< 64
///  ┌──────────────────────────────────┬──────────────────────┐  16 bits a lane
///  │ location: index into its stores  │ thread: its clock    │
///  └──────────────────────────────────┴──────────────────────┘
/// ```
///
/// `Memory+Lanes` says which location has which lane.
///
/// A release publishes both halves and an acquire joins both, so they are one vector of two cache
/// lines. The join takes two instructions with AVX-512 and four with AVX2.
struct View {
  /// The most atomic locations that the threads of a scenario store to.
  static let locations = 56
  /// The most threads in a scenario, including thread 0, which runs the set-up and the final
  /// checks.
  static let threads = 8

  private var lanes = il_view_none()

  @inline(__always) init() {}

  /// The oldest readable store of the location with this lane.
  subscript(lane index: Int) -> Int {
    @inline(__always) get { Int(il_view_get(lanes, index)) }
    @inline(__always) set { lanes = il_view_set(lanes, index, UInt16(newValue)) }
  }

  /// The last plain access of a thread that happened before.
  subscript(clock thread: Int) -> Int {
    @inline(__always) get { Int(il_view_get(lanes, Self.locations + thread)) }
    @inline(__always) set { lanes = il_view_set(lanes, Self.locations + thread, UInt16(newValue)) }
  }

  @inline(__always) mutating func join(_ other: View) { lanes = il_view_join(lanes, other.lanes) }

  /// The view with only the half about locations; all clocks are 0.
  var locationsOnly: View {
    var view = self
    view.lanes = il_view_below(lanes, Self.locations)
    return view
  }

  /// A thread whose clock is greater here than in `other`.
  @inline(__always) func threadAhead(of other: View) -> Int? {
    let lane = il_view_excess(lanes, other.lanes, Self.locations)
    return lane < 0 ? nil : lane - Self.locations
  }

  /// The view with locations counted from `base`. All that is older becomes 0.
  @inline(__always) func relative(to base: View) -> View {
    var view = self
    view.lanes = il_view_relative(lanes, base.lanes)
    return view
  }

  /// The same for a view in which 0 means "none".
  @inline(__always) func relativeAwaited(to base: View) -> View {
    var view = self
    view.lanes = il_view_relative_or_none(lanes, base.lanes)
    return view
  }

  @inline(__always) var hash: UInt64 { il_view_hash(lanes) }
}

@inline(__always) func mix(_ a: UInt64, _ b: UInt64) -> UInt64 { il_mix(a, b) }
