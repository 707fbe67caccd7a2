/// The memory orders of C11 that this project uses. `Synchronization` accepts its orderings only
/// as literals, so the seam switches on this enum. Every call folds to one instruction.
@frozen public enum MemoryOrder: Sendable {
  case relaxed, acquire, release, acquireRelease, sequential
}
