// SPDX-License-Identifier: GPL-2.0-only
//
// /proc/hugezero: one line for each figure, as in /proc/vmstat.
import HugeZeroPage
import Linux

/// (L) Written only by module loading and unloading, which the kernel serialises.
nonisolated(unsafe) private var file: OpaquePointer?

func makeStatisticsFile() -> Bool {
  unsafe file = proc_create_single_data(name("hugezero"), 0o444, nil, showStatistics, nil)
  return unsafe file != nil
}

func removeStatisticsFile() { unsafe proc_remove(file) }

private func showStatistics(
  _ out: UnsafeMutablePointer<seq_file>?, _: UnsafeMutableRawPointer?
) -> Int32 {
  let statistics = hugezero_sum_statistics()
  let page = HugeZeroPage().snapshot()
  func line(_ title: StaticString, _ value: UInt) {
    unsafe seq_put_decimal_ull(out, name(title), UInt64(value))
    unsafe seq_putc(out, 10)
  }
  line("gets ", statistics.gets)
  line("puts ", statistics.puts)
  line("allocations ", statistics.allocations)
  line("failures ", statistics.failures)
  line("lost_races ", statistics.lost_races)
  line("frees ", statistics.frees)
  line("count ", UInt(page.count))
  line("frame ", UInt(page.frame))
  return 0
}
