// The buffer of an editor, with undo as a list of buffers. A version shares all pages that the next
// edit does not touch. Edits overwrite here, as in a hex editor or an image; the pages that differ
// between two versions are what a view has to draw again.
import HugeArrays

struct Document {
  private(set) var bytes: HugeArray<UInt8>
  private var past: [HugeArray<UInt8>] = []
  private var future: [HugeArray<UInt8>] = []

  init(size: Int) { bytes = HugeArray(count: size) }

  mutating func edit(at position: Int, _ text: String) throws {
    past.append(bytes)
    future = []
    try bytes.update(from: Array(text.utf8).span, at: position)
  }

  mutating func undo() {
    guard let last = past.popLast() else { return }
    future.append(bytes)
    bytes = last
  }

  mutating func redo() {
    guard let next = future.popLast() else { return }
    past.append(bytes)
    bytes = next
  }

  func text(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }
}

var document = Document(size: 1 << 30)
try document.edit(at: 500_000_000, "the quick brown fox")
let before = document.bytes
try document.edit(at: 500_000_004, "wooly")
precondition(document.text(500_000_000..<500_000_019) == "the wooly brown fox")
print("to draw again:", document.bytes.changes(since: before))

document.undo()
precondition(document.text(500_000_000..<500_000_019) == "the quick brown fox")
document.redo()
precondition(document.text(500_000_004..<500_000_009) == "wooly")

for edit in 0..<1000 { try document.edit(at: edit * 1_000_003, "\(edit)") }
for _ in 0..<1000 { document.undo() }
precondition(document.text(500_000_000..<500_000_009) == "the wooly")
precondition(document.bytes[999 * 1_000_003] == 0)

let used = document.bytes.machine.memoryUsed
print("a document of 1 GiB and 1,002 versions of it: \(used >> 10) KiB of memory")
