import Interleave

// Shapes about the order of stores. Registers 14 and 15 hold the final values of x and y.

/// One location: all threads agree on the order of its stores.
let coherence: [Shape] = [
  Shape("CoRR", .forbidden, { $0[0] == 1 && $0[1] == 0 }) { w, r in
    [
      { w.x.store(1, .relaxed) },
      {
        r[0] = w.x.load(.relaxed)
        r[1] = w.x.load(.relaxed)
      },
    ]
  },
  Shape("CoRR2", .forbidden, { Array($0[0..<4]) == [1, 2, 2, 1] }) { w, r in
    [
      { w.x.store(1, .relaxed) },
      { w.x.store(2, .relaxed) },
      {
        r[0] = w.x.load(.relaxed)
        r[1] = w.x.load(.relaxed)
      },
      {
        r[2] = w.x.load(.relaxed)
        r[3] = w.x.load(.relaxed)
      },
    ]
  },
  Shape("CoWW", .forbidden, { $0[14] == 1 }) { w, _ in
    [
      {
        w.x.store(1, .relaxed)
        w.x.store(2, .relaxed)
      }
    ]
  },
  Shape("CoWR", .forbidden, { $0[0] == 2 && $0[14] == 1 }) { w, r in
    [
      {
        w.x.store(1, .relaxed)
        r[0] = w.x.load(.relaxed)
      },
      { w.x.store(2, .relaxed) },
    ]
  },
  Shape("CoRW", .forbidden, { $0[0] == 2 && $0[14] == 2 }) { w, r in
    [
      {
        r[0] = w.x.load(.relaxed)
        w.x.store(1, .relaxed)
      },
      { w.x.store(2, .relaxed) },
    ]
  },
]

/// R, S, 2+2W: two locations whose stores race. C11 allows a modification order other than the
/// order in which the stores are executed. The checker misses that.
let orders: [Shape] = [
  Shape("R relaxed", .allowed, { $0[0] == 0 && $0[15] == 2 }) { w, r in
    [
      {
        w.x.store(1, .relaxed)
        w.y.store(1, .relaxed)
      },
      {
        w.y.store(2, .relaxed)
        r[0] = w.x.load(.relaxed)
      },
    ]
  },
  Shape("R sequential", .forbidden, { $0[0] == 0 && $0[15] == 2 }) { w, r in
    [
      {
        w.x.store(1, .sequential)
        w.y.store(1, .sequential)
      },
      {
        w.y.store(2, .sequential)
        r[0] = w.x.load(.sequential)
      },
    ]
  },
  storeOrder("S relaxed: modification order is execution order", .missed, .relaxed, .relaxed),
  storeOrder("S release, acquire", .forbidden, .release, .acquire),
  twoByTwo("2+2W relaxed: modification order is execution order", .missed, .relaxed),
  twoByTwo("2+2W release: modification order is execution order", .missed, .release),
  twoByTwo("2+2W sequential", .forbidden, .sequential),
  // Lahav et al. 2017, figure 1: sequential and other accesses to one location. C11 forbade it,
  // C++20 allows it, and Power does it.
  Shape("Z6.U: S is execution order", .missed, { $0[0] == 1 && $0[1] == 3 && $0[2] == 0 }) { w, r in
    [
      {
        w.x.store(1, .sequential)
        w.y.store(1, .release)
      },
      {
        r[0] = w.y.add(1, .sequential)
        r[1] = w.y.load(.relaxed)
      },
      {
        w.y.store(3, .sequential)
        r[2] = w.x.load(.sequential)
      },
    ]
  },
]

private func storeOrder(
  _ name: String, _ expectation: Shape.Expectation, _ store: MemoryOrder, _ load: MemoryOrder
) -> Shape {
  Shape(name, expectation, { $0[0] == 1 && $0[14] == 2 }) { w, r in
    [
      {
        w.x.store(2, .relaxed)
        w.y.store(1, store)
      },
      {
        r[0] = w.y.load(load)
        w.x.store(1, .relaxed)
      },
    ]
  }
}

private func twoByTwo(
  _ name: String, _ expectation: Shape.Expectation, _ store: MemoryOrder
) -> Shape {
  Shape(name, expectation, { $0[14] == 1 && $0[15] == 1 }) { w, _ in
    [
      {
        w.x.store(1, store)
        w.y.store(2, store)
      },
      {
        w.y.store(1, store)
        w.x.store(2, store)
      },
    ]
  }
}

/// Read-modify-writes read the newest store, whatever their memory order. A compare-and-swap that
/// fails may read an older one.
let readModifyWrites: [Shape] = [
  Shape("increments", .forbidden, { $0[0] == $0[1] || $0[14] != 2 }) { w, r in
    [
      { r[0] = w.x.add(1, .relaxed) },
      { r[1] = w.x.add(1, .relaxed) },
    ]
  },
  Shape("one compare-and-swap of two", .forbidden, { $0[0] == $0[1] }) { w, r in
    [
      { r[0] = w.x.compareExchange(0, 1, .relaxed) },
      { r[1] = w.x.compareExchange(0, 1, .relaxed) },
    ]
  },
  Shape("a failed compare-and-swap saw an old value", .allowed, { $0[0] == 1 && $0[1] == 0 }) {
    w, r in
    [
      {
        w.x.store(2, .relaxed)
        w.y.store(1, .relaxed)
      },
      {
        r[0] = w.y.load(.relaxed)
        r[1] = w.x.compareExchange(5, 6, .relaxed)
      },
    ]
  },
  Shape("a failed compare-and-swap does not release", .allowed, { $0[0] == 7 && $0[1] == 0 }) {
    w, r in
    [
      {
        w.x.store(1, .relaxed)
        _ = w.y.compareExchange(5, 6, .acquireRelease)
        w.y.store(7, .relaxed)
      },
      {
        r[0] = w.y.load(.acquire)
        r[1] = w.x.load(.relaxed)
      },
    ]
  },
]
