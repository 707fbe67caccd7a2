import Interleave
import Testing

/// Programs in which two different states agree in all but one part of what a hash of them must
/// cover, so that one would be taken for the other; or two orders of steps that must not be taken
/// for one. A result that only the second of them has is another than the newest values give, for
/// those are what a search finds by chance on its way out of a known state. Which of the two is met first depends on the
/// order of the threads, hence the test takes them in several.
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
  // The reader saw the 1 that publishes y, or the one that does not; its own store hides which,
  // and the store after that is a step at which the states meet.
  Lookalike(
    "messages that wait for an acquire fence",
    [.store(.y, 1, .relaxed), .store(.x, 1, .release), .store(.z, 1, .relaxed)],
    [.store(.x, 1, .relaxed)],
    [
      .load(.z, .relaxed), .load(.x, .relaxed), .store(.x, 2, .relaxed), .store(.z, 2, .relaxed),
      .fence(.acquire), .load(.y, .relaxed),
    ]),
  // The second thread knows y from x, but only for a later fence. Then it saw the 0 that publishes
  // y, or that of the set-up; its own store hides which. The third thread sees to it that y may
  // still be read, for what nobody can read is no part of a state.
  Lookalike(
    "a thread's view, and what waits for a fence",
    [.store(.y, 1, .relaxed), .store(.z, 0, .release), .store(.x, 1, .release)],
    [
      .load(.x, .relaxed), .load(.z, .acquire), .store(.z, 2, .relaxed), .load(.y, .relaxed),
      .store(.x, 2, .relaxed),
    ],
    [.load(.x, .relaxed)]),
  // The second thread's fence came after the first one's and showed it y, or before; it has seen
  // y since, but its store of x passes on what it had seen at its fence.
  Lookalike(
    "the view at a release fence, and the message of a store",
    [.store(.y, 1, .relaxed), .fence(.sequential), .store(.z, 1, .relaxed)],
    [.fence(.sequential), .load(.z, .relaxed), .load(.y, .relaxed), .store(.x, 1, .relaxed)],
    [.load(.x, .acquire), .load(.y, .relaxed)]),
  // The second thread's load returned the first 1 or the second, and the thread has ended.
  Lookalike(
    "the order of sequential steps",
    [
      .store(.x, 1, .relaxed), .store(.x, 2, .relaxed), .store(.x, 1, .relaxed),
      .store(.y, 1, .relaxed),
    ],
    [.load(.x, .sequential), .store(.z, 1, .relaxed)],
    [.load(.z, .relaxed), .load(.y, .relaxed), .load(.x, .sequential)]),
  // In its last turn the first thread read the 0 of the set-up or the one that was stored since:
  // only in one of the two cases has x news for it. That it may not read the old one again, it
  // knows from y in both.
  Lookalike(
    "what a turn of a loop waits for",
    [.watch(.acquire), .load(.z, .relaxed)],
    [.store(.x, 0, .relaxed), .store(.y, 1, .release)],
    [.await(.y, .relaxed), .store(.z, 1, .relaxed), .store(.x, 2, .relaxed)]),
  // Steps whose order matters though they touch no location, or different ones.
  Lookalike(
    "the order of two fences",
    [.load(.z, .relaxed), .store(.x, 1, .relaxed), .fence(.sequential), .load(.y, .relaxed)],
    [.store(.y, 1, .relaxed), .store(.z, 1, .relaxed), .fence(.sequential), .load(.x, .relaxed)]),
  Lookalike(
    "a turn that begins before or after a store",
    [.awaitEither(.sequential)], [.store(.x, 1, .relaxed)],
    [.load(.x, .relaxed), .store(.y, 1, .sequential)]),
]
