// SPDX-License-Identifier: GPL-2.0-only
//
// Finds variables that the kernel does not export, such as those of its zero page. Since 5.7 the
// kernel does not export the function that finds them either, but a kprobe on it gives its address.
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
    // SAFETY: the function has had this signature since Linux 2.6.
    unsafe function = unsafe unsafeBitCast(address, to: Function.self)
  }

  /// The address of a symbol. If the kernel has no such symbol, logs a message and returns nil.
  func address(_ symbol: UnsafePointer<CChar>?) -> UnsafeMutableRawPointer? {
    guard let address = unsafe UnsafeMutableRawPointer(bitPattern: function(symbol)) else {
      unsafe hugezero_say_missing(symbol)
      return nil
    }
    return unsafe address
  }
}

/// A constant as a C string, without a copy: it lies in read-only data.
func name(_ constant: StaticString) -> UnsafePointer<CChar> {
  unsafe UnsafeRawPointer(constant.utf8Start).assumingMemoryBound(to: CChar.self)
}
