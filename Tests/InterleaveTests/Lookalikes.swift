import Interleave
import Testing

/// Programs in which two different states differ only in one part of what a hash must cover. If the
/// hash left that part out, one state would be taken for the other. Other programs have two orders
/// of steps that must not be taken for one.
///
/// The result that only the second state has never comes from the newest values alone. A search
/// that leaves a known state reads the newest values, and would find such a result by chance. Which
/// of the two states is reached first depends on the order of the threads, so the test tries
/// several orders.
struct Lookalike: Sendable, CustomTestStringConvertible {
  let name: String
  let program: Program
  init(_ name: String, _ threads: [Program.Step]...) {
    self.name = name
    program = Program(threads: threads)
  }
  var testDescription: String { name }
}

let lookalikes = [
  // The reader saw either the 1 that publishes y or the 1 that does not. Its own store hides which.
  // At the store after that, the states are compared.
  Lookalike(
    "messages that wait for an acquire fence",
    [.store(.y, 1, .relaxed), .store(.x, 1, .release), .store(.z, 1, .relaxed)],
    [.store(.x, 1, .relaxed)],
    [
      .load(.z, .relaxed), .load(.x, .relaxed), .store(.x, 2, .relaxed), .store(.z, 2, .relaxed),
      .fence(.acquire), .load(.y, .relaxed),
    ]),
  // The second thread has a message about y from x, but only for a later fence. Then it saw either
  // the 0 that publishes y or the 0 of the set-up. Its own store hides which. The third thread
  // makes sure that the old store may still be read, because a store that nobody can read is not
  // part of a state.
  Lookalike(
    "a thread's view, and what waits for a fence",
    [.store(.y, 1, .relaxed), .store(.z, 0, .release), .store(.x, 1, .release)],
    [
      .load(.x, .relaxed), .load(.z, .acquire), .store(.z, 2, .relaxed), .load(.y, .relaxed),
      .store(.x, 2, .relaxed),
    ],
    [.load(.x, .relaxed)]),
  // The second thread's fence came either after the first thread's fence, and showed it y, or
  // before. The thread has seen y since then, but its store of x passes on only what it had seen at
  // its fence.
  Lookalike(
    "the view at a release fence, and the message of a store",
    [.store(.y, 1, .relaxed), .fence(.sequential), .store(.z, 1, .relaxed)],
    [.fence(.sequential), .load(.z, .relaxed), .load(.y, .relaxed), .store(.x, 1, .relaxed)],
    [.load(.x, .acquire), .load(.y, .relaxed)]),
  // The second thread's load returned either the first 1 or the second, and the thread has ended.
  Lookalike(
    "the order of sequential steps",
    [
      .store(.x, 1, .relaxed), .store(.x, 2, .relaxed), .store(.x, 1, .relaxed),
      .store(.y, 1, .relaxed),
    ],
    [.load(.x, .sequential), .store(.z, 1, .relaxed)],
    [.load(.z, .relaxed), .load(.y, .relaxed), .load(.x, .sequential)]),
  // In its last turn the first thread read either the 0 of the set-up or the 0 stored since. Only
  // in one of the two cases is there news of x. In both cases it knows from y that it may not read
  // the old 0 again.
  Lookalike(
    "what a turn of a loop waits for",
    [.watch(.acquire), .load(.z, .relaxed)],
    [.store(.x, 0, .relaxed), .store(.y, 1, .release)],
    [.await(.y, .relaxed), .store(.z, 1, .relaxed), .store(.x, 2, .relaxed)]),
  // Steps whose order matters although they touch no location, or different locations.
  Lookalike(
    "the order of two fences",
    [.load(.z, .relaxed), .store(.x, 1, .relaxed), .fence(.sequential), .load(.y, .relaxed)],
    [.store(.y, 1, .relaxed), .store(.z, 1, .relaxed), .fence(.sequential), .load(.x, .relaxed)]),
  Lookalike(
    "a turn that begins before or after a store",
    [.awaitEither(.sequential)], [.store(.x, 1, .relaxed)],
    [.load(.x, .relaxed), .store(.y, 1, .sequential)]),
]
