import Glibc
import HugeMemory

/// Scatters 25,600 pages, 100 MiB, over 10 GiB. Memory should grow by what was written, page by
/// page. After a discard, all of it should go back to the system.
func memory() throws(MemoryError) -> Report {
  var report = Report(.memory)
  var policy = Policy.linux
  policy.enabled = .never
  let size: UInt64 = 10 << 30
  let before = residentBytes()
  let machine = try Machine(limit: 512 << 20, policy: policy, background: .none)
  let space = try machine.makeSpace(size: size)
  let written = try scatter(25_600, over: space)

  let usage = space.usage()
  report.add("bytes written, each page once", Double(written), .bytes)
  report.add("frames for them", Double(machine.memoryUsed - usage.tables), .bytes)
  report.add("frames for tables", Double(usage.tables), .bytes)
  report.add("resident", Double(residentBytes() - before), .bytes)
  report.add(
    "frames over bytes written and tables",
    Double(machine.memoryUsed) / Double(written + usage.tables), .ratio, goal: 1.05)
  report.add(
    "resident over bytes written and tables",
    Double(residentBytes() - before) / Double(written + usage.tables), .ratio, goal: 1.05)

  try space.discard(at: 0, length: size)
  report.add("frames after the discard", Double(machine.memoryUsed), .bytes, goal: 2_097_152)
  report.add(
    "resident after the discard", Double(residentBytes()) - Double(before), .bytes, goal: 2_097_152)
  return report
}

/// Writes pages at random places. Returns the number of bytes in the distinct pages among them.
private func scatter(_ pages: Int, over space: AddressSpace) throws(MemoryError) -> UInt64 {
  var random = Random(seed: 2012)
  let page = Bytes(4096, of: 0xa5)
  // One bit for each page, so that the test's own memory hardly shows in what is resident.
  var seen = [UInt64](repeating: 0, count: Int(space.size / 4096 / 64))
  var distinct: UInt64 = 0
  for _ in 0..<pages {
    let number = random.next() % (space.size / 4096)
    if seen[Int(number / 64)] & 1 << (number % 64) == 0 { distinct += 1 }
    seen[Int(number / 64)] |= 1 << (number % 64)
    try unsafe space.write(at: number * 4096, from: page.source)
  }
  return distinct * 4096
}
