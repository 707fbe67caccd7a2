import Glibc
import Synchronization

/// A file descriptor that is closed once: with its owner, or before, while others still have references to
/// that.
///
/// - Thread safety: you may use it on any thread. The caller knows that nobody uses the file any more when it
///   is closed.
package struct OwnedDescriptor: ~Copyable, Sendable {
  private let open: Atomic<Int32>

  /// Takes the descriptor over; -1 is none.
  package init(_ descriptor: Int32) { open = Atomic(descriptor) }

  /// -1 once it is closed.
  package var number: Int32 { open.load(ordering: .relaxed) }

  package func close() {
    let descriptor = open.exchange(-1, ordering: .relaxed)
    if descriptor >= 0 { Glibc.close(descriptor) }
  }

  deinit { close() }
}
