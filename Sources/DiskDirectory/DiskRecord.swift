/// What a directory knows about a disk.
public struct DiskRecord: Equatable, Sendable {
  /// Stays the same for the disk's whole life, and no other disk has it.
  public var id: UInt64
  public var name: String
  public var description: String
  /// In bytes.
  public var size: UInt64
  /// The size that a reset restores, in bytes.
  public var originalSize: UInt64
  /// The size of the space, in bytes. It says how many levels of tables the root has.
  public var spaceSize: UInt64
  /// In bytes; nil if there is none.
  public var quota: UInt64?
  public var reserve: UInt64?
  public var isReadOnly: Bool
  /// Whether a client made the disk by connecting.
  public var isMadeByConnecting: Bool
  /// Whether the disk counts for the quota of its origin, or of its owner.
  public var countsElsewhere: Bool
  /// Whether the disk is becoming what it was forked as, in contents and size. Who finds this completes it.
  public var isResetting = false
  /// The root of the contents.
  public var root: Int
  /// The root of the contents that a reset restores; nil if the disk is no fork.
  public var snapshot: Int?
  /// What it was forked from, which may be gone: its id, or 0, and its name.
  public var origin: (id: UInt64, name: String)?
  /// Who made it by connecting.
  public var owner: String?

  public init(
    id: UInt64, name: String, description: String, size: UInt64, originalSize: UInt64,
    spaceSize: UInt64, quota: UInt64?, reserve: UInt64?, isReadOnly: Bool,
    isMadeByConnecting: Bool, countsElsewhere: Bool, root: Int, snapshot: Int?,
    origin: (id: UInt64, name: String)?, owner: String?
  ) {
    (self.id, self.name, self.description, self.size) = (id, name, description, size)
    (self.originalSize, self.spaceSize) = (originalSize, spaceSize)
    (self.quota, self.reserve, self.isReadOnly) = (quota, reserve, isReadOnly)
    (self.isMadeByConnecting, self.countsElsewhere) = (isMadeByConnecting, countsElsewhere)
    (self.root, self.snapshot, self.origin, self.owner) = (root, snapshot, origin, owner)
  }

  public static func == (one: DiskRecord, other: DiskRecord) -> Bool {
    one.encoded == other.encoded
  }

  /// Eleven numbers, and then four strings, each as its length in one byte and its UTF-8.
  var encoded: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(512)
    func add(_ number: UInt64) {
      for shift in stride(from: 0, to: 64, by: 8) {
        bytes.append(UInt8(truncatingIfNeeded: number >> UInt64(shift)))
      }
    }
    add(id)
    add(size)
    add(originalSize)
    add(spaceSize)
    add(quota ?? .max)
    add(reserve ?? .max)
    add(
      (isReadOnly ? 1 : 0) | (isMadeByConnecting ? 2 : 0) | (countsElsewhere ? 4 : 0)
        | (isResetting ? 8 : 0))
    add(UInt64(root))
    add(snapshot.map { UInt64($0) } ?? .max)
    add(origin == nil ? 0 : 1)
    add(origin?.id ?? 0)
    for text in [name, description, origin?.name ?? "", owner ?? ""] {
      let text = text.utf8.prefix(Self.longestText)
      bytes.append(UInt8(text.count))
      bytes.append(contentsOf: text)
    }
    return bytes
  }

  /// In bytes of UTF-8. No name and no description is longer.
  static let longestText = 255

  /// Reads what `encoded` wrote; nil if it is something else.
  init?(_ bytes: [UInt8]) {
    var rest = bytes[...]
    var numbers: [UInt64] = []
    for _ in 0..<11 {
      guard rest.count >= 8 else { return nil }
      numbers.append(rest.prefix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) })
      rest = rest.dropFirst(8)
    }
    var texts: [String] = []
    for _ in 0..<4 {
      guard let length = rest.first, rest.count > Int(length) else { return nil }
      guard let text = String(validating: rest.dropFirst().prefix(Int(length)), as: UTF8.self)
      else { return nil }
      texts.append(text)
      rest = rest.dropFirst(1 + Int(length))
    }
    let most = UInt64(Layout.rootCount)
    guard rest.isEmpty, numbers[7] < most, numbers[8] == .max || numbers[8] < most,
      numbers[0] > 0, numbers[0] < .max, numbers[1] > 0, numbers[1] <= numbers[3],
      numbers[2] > 0, numbers[2] <= numbers[3], numbers[3] <= 1 << 48
    else { return nil }
    func optional(_ number: UInt64) -> UInt64? { number == .max ? nil : number }
    self.init(
      id: numbers[0], name: texts[0], description: texts[1], size: numbers[1],
      originalSize: numbers[2], spaceSize: numbers[3], quota: optional(numbers[4]),
      reserve: optional(numbers[5]), isReadOnly: numbers[6] & 1 != 0,
      isMadeByConnecting: numbers[6] & 2 != 0, countsElsewhere: numbers[6] & 4 != 0,
      root: Int(numbers[7]), snapshot: optional(numbers[8]).map { Int($0) },
      origin: numbers[9] & 1 != 0 ? (numbers[10], texts[2]) : nil,
      owner: texts[3].isEmpty ? nil : texts[3])
    isResetting = numbers[6] & 8 != 0
  }
}
