// What the target Transmissions expects of a server: the contents of a disk, and each reply.
import Glibc
import HugeMemory
import NBD

/// As many bytes as a disk has at most, and a pattern that has no zeros at first.
let zeros = [UInt8](repeating: 0, count: 16 << 20)
let pattern = (0..<zeros.count).map { UInt8(truncatingIfNeeded: $0 / 512 + 1) }

/// In one call, which the fuzzer does not count as a comparison of each byte.
func isSame(_ a: ArraySlice<UInt8>, _ b: ArraySlice<UInt8>) -> Bool {
  a.count == b.count
    && a.withUnsafeBytes { a in
      b.withUnsafeBytes { b in a.count == 0 || memcmp(a.baseAddress!, b.baseAddress!, a.count) == 0
      }
    }
}

/// What a request does to the disk, and what its reply must say.
struct Model {
  var bytes: [UInt8]
  let origin: [UInt8]
  let readOnly: Bool
  let session: Session
  var replies: ArraySlice<UInt8> = []
  /// The largest size before the disk became smaller.
  var formerSize = 0
  /// Bytes of long reads that were not there then. Such a read is sent from the disk's own memory, so it may
  /// have what a request wrote that came before the reply.
  var late: [(index: Int, byte: UInt8)] = []

  /// Carries out a request and takes its reply. Returns false after the last one.
  mutating func take(_ request: Request, data: ArraySlice<UInt8>) -> Bool {
    let command: Command
    do {
      command = try request.command(
        size: UInt64(bytes.count), formerSize: UInt64(formerSize), readOnly: readOnly,
        session: session)
    } catch {
      expect(request, error.error)
      return true
    }
    let range = Int(request.offset)..<Int(request.offset &+ request.length)
    switch command {
    case .disconnect: return false
    case .read:
      let found = content(request)
      precondition(found.count == range.count, "the length of a read")
      if !isSame(found, bytes[range]) {
        precondition(range.count > Int(Transmission.copyLimit), "a read")
        for (index, byte) in zip(range, found) where byte != bytes[index] {
          late.append((index, byte))
        }
      }
      return true
    case .write: bytes.replaceSubrange(range, with: data)
    case .writeZeroes where request.flags.isSuperset(of: [.noHole, .fastZero]):
      expect(request, .notSupported)
      return true
    #if PLANTED_BUG
      // The model forgets one kind of request.
      case .trim where request.flags.contains(.forceUnitAccess): break
    #endif
    case .trim, .writeZeroes:
      bytes.replaceSubrange(range, with: zeros.prefix(range.count))
    case .resize:
      let size = Int(request.offset)
      if size < bytes.count {
        formerSize = max(formerSize, bytes.count)
        bytes.removeLast(bytes.count - size)
      }
      bytes += zeros.prefix(size - bytes.count)
    case .blockStatus:
      extents(request)
      return true
    case .flush, .cache: break
    }
    expect(request, nil)
    late.removeAll { $0.byte == ($0.index < bytes.count ? bytes[$0.index] : 0) }
    return true
  }

  private mutating func number<Number: FixedWidthInteger>(_: Number.Type = Number.self) -> Number {
    guard let number: Number = replies.takeNumber() else {
      preconditionFailure("a reply ends early")
    }
    return number
  }

  /// Takes a chunk: its type and its payload.
  private mutating func chunk(_ request: Request) -> (
    type: UInt16, payload: ArraySlice<UInt8>, last: Bool
  ) {
    precondition(
      number() == (session.extended ? 0x6e8a_278c : 0x668e_33ef) as UInt32, "a magic number")
    let flags: UInt16 = number()
    let type: UInt16 = number()
    precondition(number() == request.cookie, "a cookie")
    if session.extended { precondition(number() == request.offset, "an offset") }
    let length = session.extended ? Int(number(UInt64.self)) : Int(number(UInt32.self))
    precondition(length <= replies.count, "the length of a chunk")
    defer { replies = replies.dropFirst(length) }
    return (type, replies.prefix(length), flags & 1 != 0)
  }

  private mutating func expect(_ request: Request, _ error: ReplyError?) {
    if session.extended || session.structured && error != nil
      || session.structured && replies.starts(with: [0x66])
    {
      let (type, payload, last) = chunk(request)
      precondition(last)
      guard let error else {
        return precondition(type == 0 && payload.isEmpty, "no error was expected")
      }
      var rest = payload
      precondition(type == 0x8001 && rest.takeNumber() == error.rawValue, "\(error) was expected")
    } else {
      precondition(number() == 0x6744_6698 as UInt32)
      precondition(number() == error?.rawValue ?? 0, "\(String(describing: error)) was expected")
      precondition(number() == request.cookie)
    }
  }

  /// The bytes that the reply to a READ has.
  private mutating func content(_ request: Request) -> ArraySlice<UInt8> {
    guard session.structured else {
      expect(request, nil)
      defer { replies = replies.dropFirst(Int(request.length)) }
      return replies.prefix(Int(request.length))
    }
    var found: [UInt8] = []
    while true {
      var (type, payload, last) = chunk(request)
      if type != 0 {
        precondition(
          payload.takeNumber() == request.offset + UInt64(found.count), "chunks in order")
        if type == 1 {
          found += payload
        } else {
          precondition(type == 2 && !request.flags.contains(.dontFragment))
          found += zeros.prefix(Int(payload.takeNumber()! as UInt32))
        }
      }
      if last { return found[...] }
    }
  }

  /// Takes the reply to BLOCK_STATUS and compares what it says with the bytes.
  private mutating func extents(_ request: Request) {
    var seen: MetaContexts = []
    while true {
      var (type, payload, last) = chunk(request)
      if type == 0x8001 || type == 0 {
        // Only a range in a payload is checked later, or has no context.
        return precondition(request.flags.contains(.payloadLength) && last)
      }
      let identifier: UInt32 = payload.takeNumber()!
      let context = MetaContexts(identifier: identifier)!
      precondition(session.contexts.contains(context) && !seen.contains(context))
      seen.insert(context)
      if session.extended { precondition(payload.takeNumber()! as UInt32 == payload.count / 16) }
      var at = Int(request.offset)
      while !payload.isEmpty {
        let length =
          session.extended
          ? Int(payload.takeNumber()! as UInt64) : Int(payload.takeNumber()! as UInt32)
        let flags =
          session.extended
          ? payload.takeNumber()! as UInt64 : UInt64(payload.takeNumber()! as UInt32)
        precondition(length > 0 && length <= bytes.count - at, "an extent beyond the end")
        let range = at..<at + length
        let same = context == .origin && !origin.isEmpty && flags & 1 != 0
        if same {
          precondition(
            range.upperBound <= origin.count && isSame(bytes[range], origin[range]),
            "not as in the origin")
        }
        let isHole = context == .frames ? flags < 2 : flags & 2 != 0
        if isHole && !same {
          precondition(isSame(bytes[range], zeros[..<length]), "a hole with data")
        }
        at += length
      }
      if last {
        return precondition(request.flags.contains(.payloadLength) || seen == session.contexts)
      }
    }
  }
}

extension ArraySlice<UInt8> {
  mutating func takeNumber<Number: FixedWidthInteger>(_: Number.Type = Number.self) -> Number? {
    guard count >= Number.bitWidth / 8 else { return nil }
    defer { removeFirst(Number.bitWidth / 8) }
    return prefix(Number.bitWidth / 8).reduce(0) { $0 << 8 | Number($1) }
  }
}
