/// A variable of which each thread of a scenario has its own copy. It is `initial` at the start of
/// an execution. It is not part of the state, since its value follows from what the thread has
/// done.
public final class ModelThreadLocal: Sendable {
  private let initial: Int
  /// Makes a variable that is `initial` in every thread.
  public init(_ initial: Int) { self.initial = initial }

  /// The copy of the thread that runs. Reading or setting it is no step.
  public var value: Int {
    get {
      let explorer = Explorer.current
      return explorer.threadLocals[ObjectIdentifier(self)]?[explorer.running] ?? initial
    }
    set {
      let explorer = Explorer.current
      let all = Array(repeating: initial, count: View.threads)
      explorer.threadLocals[ObjectIdentifier(self), default: all][explorer.running] = newValue
    }
  }
}
