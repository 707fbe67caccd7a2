import Interleave

// Shapes about what a load may return. `w` are the words, `r` the registers.

/// SB: can both threads miss the other's store?
let storeBuffering: [Shape] = [
  storeBuffer("SB relaxed", .allowed, .relaxed, .relaxed),
  storeBuffer("SB release, acquire", .allowed, .release, .acquire),
  storeBuffer("SB sequential stores", .allowed, .sequential, .acquire),
  storeBuffer("SB sequential loads", .allowed, .release, .sequential),
  storeBuffer("SB sequential", .forbidden, .sequential, .sequential),
  storeBuffer("SB fences", .forbidden, .relaxed, .relaxed, fence: .sequential),
  storeBuffer("SB weak fences", .allowed, .relaxed, .relaxed, fence: .acquireRelease),
  Shape("SB one fence", .allowed, { $0[0] == 0 && $0[1] == 0 }) { w, r in
    [
      {
        w.x.store(1, .relaxed)
        w.fence()
        r[0] = w.y.load(.relaxed)
      },
      {
        w.y.store(1, .relaxed)
        r[1] = w.x.load(.relaxed)
      },
    ]
  },
  // A fence on one side, sequential accesses on the other: [atomics.order] 4.2 and 4.3.
  Shape("SB fence and accesses", .forbidden, { $0[0] == 0 && $0[1] == 0 }) { w, r in
    [
      {
        w.x.store(1, .relaxed)
        w.fence()
        r[0] = w.y.load(.relaxed)
      },
      {
        w.y.store(1, .sequential)
        r[1] = w.x.load(.sequential)
      },
    ]
  },
  Shape("SB exchanges", .allowed, { $0[0] == 0 && $0[1] == 0 }) { w, r in
    [
      {
        w.x.add(1, .acquireRelease)
        r[0] = w.y.load(.acquire)
      },
      {
        w.y.add(1, .acquireRelease)
        r[1] = w.x.load(.acquire)
      },
    ]
  },
]

private func storeBuffer(
  _ name: String, _ expectation: Shape.Expectation, _ store: MemoryOrder, _ load: MemoryOrder,
  fence: MemoryOrder? = nil
) -> Shape {
  Shape(name, expectation, { $0[0] == 0 && $0[1] == 0 }) { w, r in
    [
      {
        w.x.store(1, store)
        if let fence { w.fence(fence) }
        r[0] = w.y.load(load)
      },
      {
        w.y.store(1, store)
        if let fence { w.fence(fence) }
        r[1] = w.x.load(load)
      },
    ]
  }
}

/// MP: can a thread see the flag y and miss the data x?
let messagePassing: [Shape] = [
  message("MP relaxed", .allowed, .relaxed, .relaxed),
  message("MP release", .allowed, .release, .relaxed),
  message("MP acquire", .allowed, .relaxed, .acquire),
  message("MP release, acquire", .forbidden, .release, .acquire),
  message("MP sequential", .forbidden, .sequential, .sequential),
  message("MP fences", .forbidden, .relaxed, .relaxed, .release, .acquire),
  message("MP sequential fences", .forbidden, .relaxed, .relaxed, .sequential, .sequential),
  message("MP release fence, acquire", .forbidden, .relaxed, .acquire, .release, nil),
  message("MP release, acquire fence", .forbidden, .release, .relaxed, nil, .acquire),
  message("MP release fence alone", .allowed, .relaxed, .relaxed, .release, nil),
  message("MP acquire fence alone", .allowed, .relaxed, .relaxed, nil, .acquire),
  message("MP fences the wrong way round", .allowed, .relaxed, .relaxed, .acquire, .release),
]

private func message(
  _ name: String, _ expectation: Shape.Expectation, _ store: MemoryOrder, _ load: MemoryOrder,
  _ writerFence: MemoryOrder? = nil, _ readerFence: MemoryOrder? = nil
) -> Shape {
  Shape(name, expectation, { $0[0] == 1 && $0[1] == 0 }) { w, r in
    [
      {
        w.x.store(1, .relaxed)
        if let writerFence { w.fence(writerFence) }
        w.y.store(1, store)
      },
      {
        r[0] = w.y.load(load)
        if let readerFence { w.fence(readerFence) }
        r[1] = w.x.load(.relaxed)
      },
    ]
  }
}

/// MP in which the flag changes to 2 after its release.
let releaseSequences: [Shape] = [
  Shape("release sequence by another's exchange", .forbidden, { $0[0] == 2 && $0[1] == 0 }) {
    w, r in
    [
      {
        w.x.store(1, .relaxed)
        w.y.store(1, .release)
      },
      { _ = w.y.compareExchange(1, 2, .relaxed) },
      {
        r[0] = w.y.load(.acquire)
        r[1] = w.x.load(.relaxed)
      },
    ]
  },
  // C11 and rc11.cat forbid it. C++20 removed the thread's own plain stores from the sequence.
  Shape("release sequence, own plain store", .allowed, { $0[0] == 2 && $0[1] == 0 }) { w, r in
    [
      {
        w.x.store(1, .relaxed)
        w.y.store(1, .release)
        w.y.store(2, .relaxed)
      },
      {
        r[0] = w.y.load(.acquire)
        r[1] = w.x.load(.relaxed)
      },
    ]
  },
  Shape("release sequence, another's plain store", .allowed, { $0[0] == 2 && $0[1] == 0 }) {
    w, r in
    [
      {
        w.x.store(1, .relaxed)
        w.y.store(1, .release)
      },
      { w.y.store(2, .relaxed) },
      {
        r[0] = w.y.load(.acquire)
        r[1] = w.x.load(.relaxed)
      },
    ]
  },
  Shape("two releases in one sequence", .forbidden, { $0[0] == 2 && ($0[1] == 0 || $0[2] == 0) }) {
    w, r in
    [
      {
        w.x.store(1, .relaxed)
        w.y.add(1, .release)
      },
      {
        w.z.store(1, .relaxed)
        w.y.add(1, .release)
      },
      {
        r[0] = w.y.load(.acquire)
        r[1] = w.x.load(.relaxed)
        r[2] = w.z.load(.relaxed)
      },
    ]
  },
]

/// WRC, ISA2, IRIW, LB: more threads, more locations.
let causality: [Shape] = [
  writeToRead("WRC relaxed", .allowed, .relaxed, .relaxed),
  writeToRead("WRC release, acquire", .forbidden, .release, .acquire),
  Shape("ISA2", .forbidden, { $0[0] == 1 && $0[1] == 1 && $0[2] == 0 }) { w, r in
    [
      {
        w.x.store(1, .relaxed)
        w.y.store(1, .release)
      },
      {
        r[0] = w.y.load(.acquire)
        w.z.store(r[0], .release)
      },
      {
        r[1] = w.z.load(.acquire)
        r[2] = w.x.load(.relaxed)
      },
    ]
  },
  independentReads("IRIW relaxed", .allowed, .relaxed, .relaxed),
  independentReads("IRIW release, acquire", .allowed, .release, .acquire),
  independentReads("IRIW sequential", .forbidden, .sequential, .sequential),
  independentReads("IRIW fences", .forbidden, .relaxed, .relaxed, fence: .sequential),
  independentReads("IRIW weak fences", .allowed, .relaxed, .relaxed, fence: .acquireRelease),
  // rc11.cat allows it. "Coherence-ordered before" of C++20 is transitive and forbids it.
  independentReads("IRIW sequential loads", .forbidden, .relaxed, .sequential),
  loadBuffer("LB relaxed: no load buffering", .missed, .relaxed, .relaxed),
  loadBuffer("LB release, acquire", .forbidden, .acquire, .release),
]

private func writeToRead(
  _ name: String, _ expectation: Shape.Expectation, _ store: MemoryOrder, _ load: MemoryOrder
) -> Shape {
  Shape(name, expectation, { $0[0] == 1 && $0[1] == 1 && $0[2] == 0 }) { w, r in
    [
      { w.x.store(1, store) },
      {
        r[0] = w.x.load(load)
        w.y.store(1, store)
      },
      {
        r[1] = w.y.load(load)
        r[2] = w.x.load(load)
      },
    ]
  }
}

private func independentReads(
  _ name: String, _ expectation: Shape.Expectation, _ store: MemoryOrder, _ load: MemoryOrder,
  fence: MemoryOrder? = nil
) -> Shape {
  Shape(name, expectation, { $0[0] == 1 && $0[1] == 0 && $0[2] == 1 && $0[3] == 0 }) { w, r in
    [
      { w.x.store(1, store) },
      { w.y.store(1, store) },
      {
        r[0] = w.x.load(load)
        if let fence { w.fence(fence) }
        r[1] = w.y.load(load)
      },
      {
        r[2] = w.y.load(load)
        if let fence { w.fence(fence) }
        r[3] = w.x.load(load)
      },
    ]
  }
}

private func loadBuffer(
  _ name: String, _ expectation: Shape.Expectation, _ load: MemoryOrder, _ store: MemoryOrder
) -> Shape {
  Shape(name, expectation, { $0[0] == 1 && $0[1] == 1 }) { w, r in
    [
      {
        r[0] = w.x.load(load)
        w.y.store(1, store)
      },
      {
        r[1] = w.y.load(load)
        w.x.store(1, store)
      },
    ]
  }
}
