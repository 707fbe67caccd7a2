@preconcurrency import Glibc
import HugeMemory

do {
  let machine = try Machine(limit: 1 << 30)  // at most 1 GiB of memory
  let golden = try machine.makeSpace(size: 1 << 40)  // 1 TiB that costs nothing
  try golden.store(UInt64(42), at: 1 << 39)
  let fork = try golden.fork()  // O(1), whatever the size
  try fork.store(UInt64(7), at: 1 << 39)  // copies 4 KiB
  print(try golden.load(at: 1 << 39, as: UInt64.self), try fork.load(at: 1 << 39, as: UInt64.self))
  for extent in try fork.extents(in: fork.bounds) { print(extent.kind, extent.range.count) }
  print(machine.memoryUsed, "bytes of memory for", golden.size + fork.size)
} catch {
  fputs("Sparse: \(error)\n", stderr)  // what is wrong, where, and what to do
  exit(1)
}
