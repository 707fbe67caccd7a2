// SPDX-License-Identifier: GPL-2.0-only
//
// The kernel exports none of the variables of its zero page, nor, since 5.7, the function that
// finds them; a kprobe on that function tells where it is.
import Linux

@safe struct SymbolLookup {
  private typealias Function = @convention(c) (UnsafePointer<CChar>?) -> UInt
  private let function: Function

  /// Nil if the kernel has no kprobes or no such function.
  init?() {
    var probe = unsafe kprobe()
    unsafe probe.symbol_name = name("kallsyms_lookup_name")
    guard unsafe register_kprobe(&probe) == 0 else { return nil }
    let address = unsafe probe.addr
    unsafe unregister_kprobe(&probe)
    guard let address = unsafe address else { return nil }
    // SAFETY: the signature since 2.6.
    unsafe function = unsafe unsafeBitCast(address, to: Function.self)
  }

  /// Nil, and a message, if the kernel has no such symbol.
  func address(_ symbol: UnsafePointer<CChar>?) -> UnsafeMutableRawPointer? {
    guard let address = unsafe UnsafeMutableRawPointer(bitPattern: function(symbol)) else {
      unsafe hugezero_say_missing(symbol)
      return nil
    }
    return unsafe address
  }
}

/// A constant as a C string, where it lies: in read-only data.
func name(_ constant: StaticString) -> UnsafePointer<CChar> {
  unsafe UnsafeRawPointer(constant.utf8Start).assumingMemoryBound(to: CChar.self)
}
