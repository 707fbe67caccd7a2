import Foundation
import HugeMemory
import Testing

@testable import HugeArrays

@Suite struct FileTests {
  /// A new directory for a test, which removes it.
  private func inDirectory(_ body: (String) throws -> Void) throws {
    let path = NSTemporaryDirectory() + "/HugeArray.\(UInt64.random(in: 0 ... .max))"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: path) }
    try body(path)
  }

  /// Bytes of the file that are no holes.
  private func allocated(_ path: String) -> Int {
    var status = stat()
    unsafe stat(path, &status)
    return Int(status.st_blocks) * 512
  }

  @Test func aSparseArrayIsASparseFile() throws {
    try inDirectory { directory in
      var array = HugeArray<Int>(count: 1 << 30)
      for index in [0, 5000, 1 << 29, 1 << 30 - 1] { array[index] = index + 1 }
      try array.save(to: directory + "/array")
      #expect(allocated(directory + "/array") <= 1 << 20)
      let machine = try quietMachine()
      let loaded = try HugeArray<Int>(contentsOf: directory + "/array", machine: machine)
      #expect(loaded.count == array.count && loaded.nonZeroRanges == array.nonZeroRanges)
      #expect(loaded == array && machine.memoryUsed < 1 << 20)
      #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["array"])
    }
  }

  @Test func theFileHasTheElementsOneBehindTheOther() throws {
    try inDirectory { directory in
      let array = HugeArray((0..<1000).map(Triple.init(number:)))
      try array.save(to: directory + "/triples")
      let data = try Data(contentsOf: URL(fileURLWithPath: directory + "/triples"))
      #expect(data.count == 24_000)
      unsafe data.withUnsafeBytes { bytes in
        for index in 0..<1000 {
          #expect(unsafe bytes.loadUnaligned(fromByteOffset: index * 24, as: Int.self) == index)
        }
      }
      #expect(try HugeArray<Triple>(contentsOf: directory + "/triples") == array)
      // Zeros that are written take no memory.
      try Data(count: 1 << 20).write(to: URL(fileURLWithPath: directory + "/zeros"))
      #expect(try HugeArray<Int>(contentsOf: directory + "/zeros").nonZeroRanges.isEmpty)
      #expect(try HugeArray<Int>(contentsOf: directory + "/zeros").count == 1 << 17)
    }
  }

  @Test func whatIsSavedReplacesWhatWasThere() throws {
    try inDirectory { directory in
      let path = directory + "/array"
      try HugeArray(0..<5000).save(to: path)
      unsafe chmod(path, 0o600)
      unsafe symlink(path, directory + "/link")
      try HugeArray(0..<10).save(to: directory + "/link")
      #expect(try HugeArray<Int>(contentsOf: path).elements == Array(0..<10))
      var status = stat()
      unsafe lstat(directory + "/link", &status)
      #expect(status.st_mode & S_IFMT == S_IFLNK)
      unsafe stat(path, &status)
      #expect(status.st_mode & 0o777 == 0o600)
      try HugeArray<Int>().save(to: path)
      #expect(try HugeArray<Int>(contentsOf: path).isEmpty)
    }
  }

  @Test func whatCannotBeSavedOrLoadedIsSaid() throws {
    try inDirectory { directory in
      let array = HugeArray(0..<5000)
      unsafe mkfifo(directory + "/pipe", 0o600)
      unsafe symlink(directory + "/nothing", directory + "/dangling")
      for path in [directory, directory + "/pipe", "/dev/null", directory + "/no/such"] {
        let error = #expect(throws: HugeArrayFileError.self) { try array.save(to: path) }
        #expect(error?.path == path)
        #expect(throws: HugeArrayFileError.self) { try HugeArray<Int>(contentsOf: path) }
      }
      #expect(throws: HugeArrayFileError.self) {
        try HugeArray<Int>(contentsOf: directory + "/dangling")
      }
      #expect(throws: HugeArrayFileError.self) { try array.save(to: directory + "/dangling") }
      let long = directory + "/" + String(repeating: "a", count: 255)
      try array.save(to: long)
      #expect(try HugeArray<Int>(contentsOf: long) == array)
      try Data(count: 15).write(to: URL(fileURLWithPath: directory + "/odd"))
      let error = #expect(throws: HugeArrayFileError.self) {
        try HugeArray<Int>(contentsOf: directory + "/odd")
      }
      #expect("\(error!)".contains("15 bytes are no whole number of elements of 8 bytes"))
      try HugeArray(0..<1 << 19).save(to: directory + "/array")
      #expect(throws: HugeArrayFileError.self) {
        try HugeArray<Int>(contentsOf: directory + "/array", machine: try Machine(limit: 1 << 21))
      }
    }
  }

  /// A limit of the process's file size stands for a full disk.
  @Test func aFullDiskKeepsTheOldFile() async throws {
    await #expect(processExitsWith: .success) {
      let directory = NSTemporaryDirectory() + "/HugeArray.\(UInt64.random(in: 0 ... .max))"
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
      defer { try? FileManager.default.removeItem(atPath: directory) }
      try HugeArray(0..<10).save(to: directory + "/array")
      signal(SIGXFSZ, SIG_IGN)
      var limit = rlimit(rlim_cur: 1 << 20, rlim_max: 1 << 20)
      unsafe setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
      do {
        try HugeArray(0..<1 << 20).save(to: directory + "/array")
        exit(1)
      } catch {}
      guard try HugeArray<Int>(contentsOf: directory + "/array").elements == Array(0..<10),
        try FileManager.default.contentsOfDirectory(atPath: directory) == ["array"]
      else { exit(2) }
    }
  }
}
