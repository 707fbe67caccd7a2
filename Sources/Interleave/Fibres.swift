import CFiber

/// The fibres of one explorer. Number 0 is the caller. Each of the others has a stack, which the
/// next execution reuses.
@safe struct Fibres: ~Copyable {
  private static let stackSize = 256 << 10

  /// The saved context of each fibre. Allocated on the heap, because a switch keeps the address.
  private let contexts: UnsafeMutablePointer<il_context?>
  private let stacks: UnsafeMutablePointer<UnsafeMutableRawPointer?>
  private(set) var running = 0

  init() {
    unsafe contexts = .allocate(capacity: View.threads)
    unsafe contexts.initialize(repeating: nil, count: View.threads)
    unsafe stacks = .allocate(capacity: View.threads)
    unsafe stacks.initialize(repeating: nil, count: View.threads)
  }

  /// Prepares a fibre that starts with `entry` at the first switch to it.
  mutating func prepare(_ fibre: Int, _ entry: @convention(c) () -> Void) {
    if unsafe stacks[fibre] == nil { unsafe stacks[fibre] = il_stack_create(Self.stackSize) }
    guard let stack = unsafe stacks[fibre] else {
      fatalError("Interleave: no memory for a stack of \(Self.stackSize >> 10) KiB")
    }
    unsafe contexts[fibre] = il_context_make(stack, Self.stackSize, entry)
  }

  /// Prepares a switch to `fibre`: where to save the running one, and what to resume. The caller
  /// switches outside of any access to this value, because the switch returns much later.
  mutating func beginSwitch(to fibre: Int) -> Switch {
    defer { running = fibre }
    return unsafe Switch(save: contexts + running, load: contexts[fibre])
  }

  @safe struct Switch {
    fileprivate let save: UnsafeMutablePointer<il_context?>
    fileprivate let load: il_context?

    /// SAFETY: `load` was made by `prepare` or saved by a switch, and only the fibre itself runs on
    /// its stack.
    func callAsFunction() { unsafe il_switch(save, load) }
  }

  /// Abandons the stack of a fibre that will never finish. The memory is not freed: its frames own
  /// objects, and perhaps exclusive accesses that the runtime still tracks.
  mutating func abandon(_ fibre: Int) {
    if let stack = unsafe stacks[fibre] { unsafe il_stack_abandon(stack) }
    unsafe stacks[fibre] = nil
  }

  /// Frees the stacks of fibres that have finished. For the end of a search: what a failed execution
  /// leaves may keep its explorer alive for ever, and a process may have only some ten thousand stacks.
  func freeStacks() {
    for fibre in 0..<View.threads {
      if let stack = unsafe stacks[fibre] { unsafe il_stack_destroy(stack, Self.stackSize) }
      unsafe stacks[fibre] = nil
    }
  }

  deinit {
    freeStacks()
    unsafe stacks.deallocate()
    unsafe contexts.deallocate()
  }
}
