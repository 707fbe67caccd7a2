import HugeZeroPage
import Primitives
import Synchronization
import Testing

/// Hands out frame numbers and remembers which are in use.
private final class Source: ZeroFrameSource, @unchecked Sendable {
  // Guarded by a lock that ThreadSanitizer understands.
  private var next: UInt32 = 1
  private var frames: Set<UInt32> = []
  private var isEmpty = false
  private let lock = Lock()

  func allocateZeroFrame() -> UInt32? {
    lock.withLock {
      if isEmpty { return nil }
      frames.insert(next)
      defer { next += 1 }
      return next
    }
  }
  func freeZeroFrame(_ frame: UInt32) { lock.withLock { _ = frames.remove(frame)! } }
  var out: Set<UInt32> { lock.withLock { frames } }
  func exhaust() { lock.withLock { isEmpty = true } }
}

@Suite struct HugeZeroPageTests {
  @Test func firstGetPublishesWithTheShrinkersReference() {
    let page = HugeZeroPage(), source = Source()
    #expect(page.get(from: source) == .published(1))
    #expect(page.snapshot() == (1, 2))
    #expect(page.get(count: 3, from: source) == .shared(1))
    #expect(page.snapshot() == (1, 5))
  }

  @Test func shrinkerFreesOnlyWhenItsReferenceIsTheLast() {
    let page = HugeZeroPage(), source = Source()
    #expect(page.shrinkerCount() == 0 && page.shrinkerScan(to: source) == 0)
    _ = page.get(from: source)
    #expect(page.shrinkerScan(to: source) == 0)
    page.put()
    #expect(page.shrinkerCount() == 1)
    #expect(source.out == [1])
    #expect(page.shrinkerScan(to: source) == 1)
    #expect(source.out.isEmpty && page.snapshot() == (0, 0))
  }

  @Test func unavailableHoldsNothing() {
    let page = HugeZeroPage(), source = Source()
    source.exhaust()
    #expect(page.get(from: source) == .unavailable)
    #expect(page.snapshot() == (0, 0))
  }

  @Test func history15_putWithoutAGetTraps() async {
    await #expect(processExitsWith: .failure) {
      let page = HugeZeroPage()
      _ = page.get(from: Source())
      page.put()
      page.put()
    }
  }

  @Test func history4_frameZeroIsRefused() async {
    struct Zero: ZeroFrameSource {
      func allocateZeroFrame() -> UInt32? { 0 }
      func freeZeroFrame(_ frame: UInt32) {}
    }
    await #expect(processExitsWith: .failure) {
      let page = HugeZeroPage()
      _ = page.get(from: Zero())
    }
  }

  /// A source that lets another getter publish between the allocation and the publication.
  @Test func history22_losingAllocationIsFreedAndNotCounted() {
    final class Racing: ZeroFrameSource, Sendable {
      let page: SharedPage, inner: Source
      let raced = Atomic(false)
      init(_ page: SharedPage, _ inner: Source) { (self.page, self.inner) = (page, inner) }
      func allocateZeroFrame() -> UInt32? {
        if !raced.exchange(true, ordering: .relaxed) { _ = page.page.get(from: inner) }
        return inner.allocateZeroFrame()
      }
      func freeZeroFrame(_ frame: UInt32) { inner.freeZeroFrame(frame) }
    }
    let shared = SharedPage(), source = Source()
    #expect(shared.page.get(from: Racing(shared, source)) == .shared(1))
    #expect(source.out == [1])
    #expect(shared.page.snapshot() == (1, 3))
  }

  @Test func manyThreadsEndAtTheBaseline() async {
    let shared = SharedPage(), source = Source()
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<4 {
        group.addTask {
          for _ in 0..<10_000 {
            if case .unavailable = shared.page.get(from: source) { Issue.record("unavailable") }
            shared.page.put()
            _ = shared.page.shrinkerScan(to: source)
          }
        }
      }
    }
    _ = shared.page.shrinkerScan(to: source)
    #expect(shared.page.snapshot() == (0, 0) && source.out.isEmpty)
  }
}

private final class SharedPage: Sendable { let page = HugeZeroPage() }
