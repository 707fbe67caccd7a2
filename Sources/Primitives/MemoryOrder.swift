/// The memory orders of C11 that this project uses. `Synchronization` wants its orderings as
/// literals, so a seam switches on this enum; every call folds to one instruction.
@frozen public enum MemoryOrder: Sendable {
  case relaxed, acquire, release, acquireRelease, sequential
}
