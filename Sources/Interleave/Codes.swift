/// Words for values that do not fit into a word, or that differ from run to run. Two values have
/// the same word if and only if they are equal, so a compare-and-swap of words is exact.
///
/// - *Wide values* have 128 bits. Each gets the next number when it first occurs. The numbers stay
///   the same for the whole exploration, since hashes of states contain them.
/// - *Addresses* differ from execution to execution, but the search compares executions. So an
///   address becomes the number of the thread that first passed it to an atomic, and how many
///   addresses that thread had passed before. This does not depend on the schedule, unless several
///   threads pass the same address first. Therefore the number is also part of the history of each
///   thread that passes the address (`Explorer.code(ofAddress:)`): two states with equal histories
///   use the same numbers for the same addresses.
struct Codes {
  private var numbers: [UInt128: UInt64] = [:]
  private var wideValues: [UInt128] = []

  private var codes: [UInt: UInt64] = [:]
  private var addresses: [UInt64: UInt] = [:]
  private var counts = [UInt64](repeating: 0, count: View.threads)

  mutating func forgetAddresses() {
    guard counts.contains(where: { $0 != 0 }) else { return }
    codes.removeAll(keepingCapacity: true)
    addresses.removeAll(keepingCapacity: true)
    for thread in counts.indices { counts[thread] = 0 }
  }

  mutating func code(ofWide value: UInt128) -> UInt64 {
    if let known = numbers[value] { return known }
    let number = UInt64(wideValues.count)
    wideValues.append(value)
    numbers[value] = number
    return number
  }

  func wide(_ code: UInt64) -> UInt128 { wideValues[Int(code)] }

  /// Address 0 has code 0.
  mutating func code(ofAddress address: UInt, by thread: Int) -> UInt64 {
    guard address != 0 else { return 0 }
    if let known = codes[address] { return known }
    let code = freshCode(by: thread)
    codes[address] = code
    addresses[code] = address
    return code
  }

  func address(_ code: UInt64) -> UInt { code == 0 ? 0 : addresses[code]! }

  mutating func freshCode(by thread: Int) -> UInt64 {
    counts[thread] += 1
    return UInt64(thread) << 32 | counts[thread]
  }
}

extension Explorer {
  func code(ofAddress address: UInt) -> UInt64 {
    let code = codes.code(ofAddress: address, by: running)
    record(code)
    return code
  }

  /// A code as `@writer1`: the first address that `writer` passed.
  func describe(address code: UInt64) -> String {
    code == 0 ? "nil" : "@\(threads[Int(code >> 32)].name)\(code & UInt64(UInt32.max))"
  }
}
