import Glibc
import HugeMemory
import NBD
import TLS

/// The replies of a connection that wait to be sent: a list of memory pieces for one vectored send.
/// Heads and small data are copied into a buffer. Large data is pinned, and sent from its frames.
///
/// Pinned frames stay until they are sent, so a slow reader holds frames but no grace period.
@safe struct Output: ~Copyable {
  /// Bytes of heads and copied data in one batch.
  static let capacity = Int(Overhead.buffer)
  /// The capacity until a batch is larger and the server has memory for that. It is enough for the
  /// largest READ that is copied.
  static let small = 20 << 10
  /// The most pieces in one batch. Linux's UIO_MAXIOV is 1024.
  static let pieceLimit = 1000
  static let smallPieceLimit = 300
  /// The most frames that one batch may hold. So that they suffice, one call pins at most
  /// `pinLimit` bytes.
  static let frameLimit = 1024
  static let pinLimit: UInt64 = 512 << 10
  /// The most huge frames that one batch may hold. A piece keeps all of its frame from being
  /// reused. So a client that does not read holds at most 16 MiB in huge frames and 4 MiB in
  /// others.
  static let hugeLimit = 8
  /// The bytes that are copied at a time if the allowance is used and nothing may be pinned.
  static let copyPart: UInt64 = 64 << 10

  let socket: Int32
  let tls: TLSSession?
  private let overhead: Overhead
  private var isLarge = false
  private let buffer: UnsafeMutableRawPointer
  private var filled = 0
  private let pieces: UnsafeMutablePointer<iovec>
  private var count = 0
  private var pins: Pins
  private let allowance: PinAllowance
  /// What this batch has taken from the allowance, in bytes.
  private var taken: UInt64 = 0
  /// Whether a send ended because the client took nothing for longer than it may.
  private(set) var hasTimedOut = false

  init(
    socket: Int32, tls: TLSSession?, machine: Machine, allowance: PinAllowance, overhead: Overhead
  ) {
    self.socket = socket
    self.tls = tls
    self.overhead = overhead
    self.allowance = allowance
    unsafe buffer = .allocate(byteCount: Self.capacity, alignment: 4096)
    unsafe pieces = .allocate(capacity: Self.pieceLimit)
    pins = Pins(machine: machine, capacity: Self.frameLimit)
  }

  deinit {
    allowance.give(taken)
    if isLarge { overhead.give(Overhead.buffer) }
    unsafe buffer.deallocate()
    unsafe pieces.deallocate()
  }

  var isEmpty: Bool { count == 0 }

  /// The most bytes that `reserve` can give now.
  var largest: Int { isLarge ? Self.capacity : Self.small }
  private var mostPieces: Int { isLarge ? Self.pieceLimit : Self.smallPieceLimit }

  /// Uses the whole buffer from now on, if the server has memory for it.
  mutating func grow() {
    if !isLarge && overhead.take(Overhead.buffer) { isLarge = true }
  }

  /// Returns room for `bytes` in the buffer, at most `largest`. Sends the batch first if there is
  /// too little room. Returns nil if the client is gone. Store the data there, then call `commit`
  /// with its length.
  mutating func reserve(_ bytes: Int) -> UnsafeMutableRawPointer? {
    if filled + bytes > largest || count + 2 > mostPieces { grow() }
    if filled + bytes > largest || count + 2 > mostPieces {
      guard flush() else { return nil }
    }
    return unsafe buffer + filled
  }

  mutating func commit(_ bytes: Int) {
    let start = unsafe buffer + filled
    filled += bytes
    if count > 0 {
      let last = unsafe pieces[count - 1]
      if let base = unsafe last.iov_base, unsafe base + last.iov_len == start {
        return unsafe pieces[count - 1].iov_len += bytes
      }
    }
    unsafe pieces[count] = iovec(iov_base: start, iov_len: bytes)
    count += 1
  }

  /// Adds a range of a space, to be sent from its frames. Sends full batches. Returns false if the
  /// client is gone.
  mutating func pin(
    _ space: AddressSpace, at offset: UInt64, length: UInt64
  ) throws(MemoryError) -> Bool {
    var done: UInt64 = 0
    while done < length {
      let at = offset + done
      var part = min(length - done, Self.pinLimit)
      let wanted = Int(part / 4096) + 2
      // A part lies in at most two huge frames.
      if count + wanted > mostPieces { grow() }
      if pins.room < wanted || count + wanted > mostPieces
        || pins.hugeHeld + 2 > Self.hugeLimit
      {
        guard flush() else { return false }
      }
      if allowance.isLimited && !take(at, part) {
        // This batch itself may hold the allowance. Send it and try again.
        if taken > 0 { guard flush() else { return false } }
        if !take(at, part) {
          part = min(part, Self.copyPart, UInt64(largest))
          guard try copy(space, at, Int(part)) else { return false }
          done += part
          continue
        }
      }
      let before = pins.count
      try space.pin(at: at, length: part, into: &pins)
      for index in before..<pins.count {
        let piece = unsafe pins[index]
        // The kernel only reads through this pointer.
        unsafe pieces[count] = iovec(
          iov_base: UnsafeMutableRawPointer(mutating: piece.baseAddress), iov_len: piece.count)
        count += 1
      }
      done += part
    }
    return true
  }

  /// Takes from the allowance what a pin of this range may hold: all of each huge frame that the
  /// range lies in.
  private mutating func take(_ offset: UInt64, _ length: UInt64) -> Bool {
    let huge: UInt64 = 2 << 20
    let most = ((offset + length - 1) / huge - offset / huge + 1) * huge
    guard allowance.take(most) else { return false }
    taken += most
    return true
  }

  /// Adds a copy of a range of a space. Returns false if the client is gone.
  mutating func copy(
    _ space: AddressSpace, _ offset: UInt64, _ length: Int
  ) throws(MemoryError) -> Bool {
    guard let target = unsafe reserve(length) else { return false }
    unsafe try space.read(
      at: offset, into: UnsafeMutableRawBufferPointer(start: target, count: length))
    commit(length)
    return true
  }

  /// Sends the batch. Returns false if the client is gone.
  mutating func flush() -> Bool {
    let sent = tls == nil ? sendAll() : sendAllEncrypted()
    pins.release()
    allowance.give(taken)
    taken = 0
    filled = 0
    count = 0
    return sent
  }

  private mutating func sendAll() -> Bool {
    var next = 0
    while next < count {
      var message = unsafe msghdr()
      unsafe message.msg_iov = pieces + next
      unsafe message.msg_iovlen = count - next
      var sent = unsafe sendmsg(socket, &message, Int32(MSG_NOSIGNAL))
      if sent < 0 {
        if errno == EINTR { continue }
        // The socket's send timeout has passed: the client took nothing at all.
        hasTimedOut = errno == EAGAIN || errno == EWOULDBLOCK
        return false
      }
      while next < count, unsafe sent >= pieces[next].iov_len {
        unsafe sent -= pieces[next].iov_len
        next += 1
      }
      if sent > 0 {
        unsafe pieces[next].iov_base = pieces[next].iov_base + sent
        unsafe pieces[next].iov_len -= sent
      }
    }
    return true
  }

  /// The heads and small data of several replies share a record. Large pieces are encrypted from
  /// where they are.
  private mutating func sendAllEncrypted() -> Bool {
    guard let tls else { return false }
    var sent = true
    for index in 0..<count where sent {
      let piece = unsafe pieces[index]
      unsafe sent = tls.send(piece.iov_base, piece.iov_len)
    }
    sent = sent && tls.flush()
    hasTimedOut = !sent && tls.hasTimedOut
    return sent
  }

  /// Gives the memory of the buffer back. The buffer must be empty.
  mutating func rest() {
    unsafe madvise(buffer, Self.capacity, MADV_DONTNEED)
    if isLarge { overhead.give(Overhead.buffer) }
    isLarge = false
  }
}
