import Paging

// Spaces that outlive their process. Their frames, page tables included, lie in a memory file, and so
// does a copy of each root. This is what must be true there after every single store:
//
// - An entry is stored when all that it names is there: a `release`, after the frame was filled.
// - A frame gets another use only when no entry below a root of the file names it.
//
// So a root is stored in the file first. Until the space itself has it, writers use the old one, and all
// that they write to what is no longer reachable was overtaken by the change. What follows from entries
// and roots is not in the file: reference counts, free lists, the zero page, charges, promises.

extension AddressSpace {
  /// Keeps the root in a memory file as well, from now on. The machine's frames lie in that file.
  package func keepRoot(in durable: DurableRoot) {
    lock.withLock {
      durable.store(Entry(raw: root.load(.relaxed)))
      durableRoot = durable
    }
  }

  /// Where the root is kept; nil if it ends with the process.
  package var keptRoot: DurableRoot? { lock.withLock { durableRoot } }

  /// Under the lock: changes the root. What the old one named may be retired after that.
  func storeRoot(_ entry: Entry) {
    durableRoot?.store(entry)
    root.store(entry.raw, .release)
  }
}
