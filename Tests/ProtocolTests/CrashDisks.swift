import Interleave

@testable import ProtocolsModel

/// Two disks of the engine in a memory file: the second one is a fork of the first. Production source,
/// but for the directory, which is one word here: a bit for each disk that has a name.
///
/// A disk gets its name when its root is in the file, and loses it before anything of it is dropped, as
/// in `DiskTable+Directory`. After a crash, recovery marks from the roots of the disks with a name.
@safe final class CrashDisks: @unchecked Sendable {
  // Sendable, because fibres run one at a time.

  enum Pages { case none, small, huge }

  /// With 10, there is memory for two operations that copy tables and pages. With 8 they reclaim.
  static let frames = SpaceTests.number("CRASH_FRAMES") ?? 8
  static let own: UInt8 = 5
  let machine: ProtocolsModel.Machine
  var spaces: [AddressSpace?] = [nil, nil]
  private let roots: [DurableRoot]
  private let names: ModelWord
  let requests: ModelWord
  let planted: Planted?
  private(set) var before = DiskContents(disks: [[0, 0, 0, 0], nil])
  var effects: [Requests.Effect] = []

  /// Slot 0 of the first disk begins with a page of ones.
  ///
  /// `hasOwn` is whether the second disk has written a page of its own.
  init(
    _ pages: Pages, isForked: Bool, hasOwn: Bool, hasZeros: Bool, hasZeroPage: Bool,
    _ planted: Planted? = nil
  ) {
    self.planted = planted
    machine = makeFileEngine(
      frames: Self.frames, keepsMetadata: planted == .trustedCounts)
    roots = [DurableRoot(name: "root 0"), DurableRoot(name: "root 1")]
    names = surviving { ModelWord(1, name: "names") }
    requests = surviving { ModelWord(0, name: "requests") }
    SpaceTests.leaveOutShrinkers(of: machine, but: [])
    let space = makeSpace(on: machine), fork = makeSpace(on: machine)
    spaces = [space, fork]
    space.keepRoot(in: roots[0])
    if pages == .small { machine.tune { $0.enabled = .never } }
    if pages != .none {
      space.put(1, at: 0)
      if hasZeros { space.put(0, at: pageSize) }
      before.disks[0]![0] = 1
    }
    // A revocation holds each space meanwhile.
    if hasOwn && hasZeroPage { spaceReferences = SpaceReferences() }
    if hasZeroPage { _ = space.byte(at: slotSize) }
    if isForked {
      name()
      before.disks[1] = before.disks[0]
      if hasOwn {
        fork.put(Self.own, at: 0)
        before.disks[1]![0] = Self.own
      }
      machine.settle()
    }
  }

  // MARK: Operations of two steps

  /// The second disk becomes a fork of the first, and gets its name.
  func name() {
    if planted == .nameBeforeRoot { names.add(2, .release) }
    try! spaces[1]!.reset(to: spaces[0]!)
    if spaces[1]!.keptRoot == nil { spaces[1]!.keepRoot(in: roots[1]) }
    if planted != .nameBeforeRoot { names.add(2, .release) }
  }

  /// `drops` is whether nobody else has the space.
  func remove(drops: Bool) {
    if planted == .freedBeforeName, drops { drop() }
    names.subtract(2, .release)
    if drops { drop() }
  }

  private func drop() {
    spaceReferences?.word.subtract(1, .acquireRelease)
    spaces[1] = nil
  }

  // MARK: The next process

  final class Recovered {
    let machine: ProtocolsModel.Machine
    var spaces: [AddressSpace?] = [nil, nil]
    let threadsNamed: Int
    init(_ machine: ProtocolsModel.Machine, threadsNamed: Int) {
      self.machine = machine
      self.threadsNamed = threadsNamed
    }
  }

  func recover() -> Recovered {
    let threadsNamed = ProtocolsModel.threadsNamed
    let names = names.load(.acquire)
    let kept = [0, 1].filter { names >> UInt64($0) & 1 != 0 }
    let next = makeNextEngine(frames: Self.frames)
    let (spaces, report) = next.takeOver(
      kept.map { KeptSpace(root: roots[$0], size: 2 * slotSize) })
    check(report.damaged == 0, "recovery finds damage")
    let recovered = Recovered(next, threadsNamed: threadsNamed)
    for (disk, space) in zip(kept, spaces) {
      check(space != nil, "a root is damaged")
      recovered.spaces[disk] = space
    }
    switch planted {
    case .trustedCounts: trustCounts(of: next)
    case .uncountedW: makeWritable(recovered)
    default: break
    }
    return recovered
  }

  /// The disks hold what they may, they do not share what they write, and nothing is left in the end.
  func verify(_ recovered: Recovered) {
    var contents = Self.contents(recovered.spaces)
    let told = Requests(before: before, effects: effects, word: requests.load(.acquire))
    check(told.allowed.contains(contents), "\(contents), but allowed are \(told.allowed)")
    for disk in [1, 0] {
      guard let space = recovered.spaces[disk] else { continue }
      if space.putIfAllowed(UInt8(200 + disk), at: 0) {
        contents.disks[disk]![0] = UInt8(200 + disk)
      }
      let now = Self.contents(recovered.spaces)
      check(now == contents, "after a write to disk \(disk): \(now) instead of \(contents)")
    }
    recovered.spaces = []
    expectBaseline(recovered.machine)
    ProtocolsModel.threadsNamed = recovered.threadsNamed
  }

  /// The end of an execution without a crash.
  func finish() {
    let isNamed = names.load(.relaxed) & 2 != 0
    let contents = Self.contents([spaces[0], isNamed ? spaces[1] : nil])
    let told = Requests(before: before, effects: effects, word: requests.load(.relaxed))
    check(told.allowed.contains(contents), "\(contents), but allowed are \(told.allowed)")
    spaces = []
    expectBaseline(machine)
  }

  static func contents(_ spaces: [AddressSpace?]) -> DiskContents {
    DiskContents(
      disks: spaces.map { space in
        space.map { space in
          (0..<4).map { page in
            let entry = space.entry(UInt64(page) * pageSize)
            switch entry.kind {
            case .none, .zero, .table: return 0
            case .small: return unsafe SpaceTests.word(space.arena.address(entry.frame))
            case .huge:
              return unsafe SpaceTests.word(
                space.arena.address(entry.frame + FrameNumber(page & 1)))
            }
          }
        }
      })
  }
}
