// SPDX-License-Identifier: GPL-2.0-only
//
// Loading makes all checks before it changes anything, and then enables the patch. The livepatch
// core allows unloading only when the patch is disabled and no task runs in it any more.
import Linux
import Primitives

@c(init_module) public func initialize() -> Int32 {
  // The patch replaces functions of one particular build of the kernel.
  guard unsafe strcmp(hugezero_expected_kernel(), hugezero_running_kernel()) == 0 else {
    unsafe hugezero_say_other_kernel(hugezero_running_kernel())
    return -ENODEV
  }
  guard let lookup = SymbolLookup() else {
    unsafe hugezero_say_missing(name("kallsyms_lookup_name"))
    return -ENOENT
  }
  guard
    let count = unsafe lookup.address(name("huge_zero_refcount")),
    let page = unsafe lookup.address(name("huge_zero_page")),
    let frame = unsafe lookup.address(name("huge_zero_pfn")),
    let lock = unsafe lookup.address(hugezero_lock_symbol())
  else { return -ENOENT }
  unsafe kernelVariables = KernelVariables(count: count, page: page, frame: frame, lock: lock)

  guard makeStatisticsFile() else { return -ENOMEM }
  let failed = hugezero_enable_patch()
  if failed != 0 { removeStatisticsFile() }
  return failed
}

@c(cleanup_module) public func cleanup() { removeStatisticsFile() }
