import CLinux
import Glibc
import Primitives
import Synchronization
import Testing

@testable import MemoryFiles

extension Apart {
  /// A service manager that keeps descriptors, as systemd does.
  @Suite struct DescriptorStoreTests {
    let scratch = Scratch()

    private func obtain(stored: [Int32] = []) throws(MemoryFileError) -> KeptMemory {
      try KeptMemory.obtain(
        in: scratch.path, path: nil, room: 1 << 30, stored: stored, program: "/no/program", log: log
      )
    }

    @Test func theManagerGetsTheFileBeforeTheServerGoesOn() throws {
      let manager = try Manager(at: scratch.path("notify"))
      defer { manager.end() }
      do {
        let memory = try obtain()
        #expect(memory.isNew && memory.keeper == "the service manager")
        // It was there when `obtain` returned.
        #expect(
          manager.messages == ["FDSTORE=1\nFDNAME=hugemem-memory\nFDPOLL=0", "BARRIER=1"])
        try memory.file.grow(to: 1 << 20)
        memory.file.put("kept", at: 4096)
      }
      // The next start gets it back, and keeps nothing twice.
      let stored = try #require(manager.stored)
      let memory = try obtain(stored: [stored, dup(0)])
      #expect(!memory.isNew && memory.file.get(4, at: 4096) == "kept")
      #expect(memory.keeper == "the service manager")
      #expect(manager.messages.count == 2)
      memory.close()
    }

    @Test func aFileThatIsStillUsedIsRefused() throws {
      let manager = try Manager(at: scratch.path("notify"))
      defer { manager.end() }
      let memory = try obtain()
      let stored = try #require(manager.stored)
      #expect(
        failure { () throws(MemoryFileError) in _ = try obtain(stored: [stored]) }
          .contains("process number \(getpid()) uses it"))
      memory.close()
    }

    @Test func aManagerThatIsNotThereIsToldOf() throws {
      unsafe setenv("NOTIFY_SOCKET", scratch.path("nobody"), 1)
      unsafe setenv("FDSTORE", "1", 1)
      defer { for name in ["NOTIFY_SOCKET", "FDSTORE"] { unsafe unsetenv(name) } }
      #expect(
        failure { () throws(MemoryFileError) in _ = try obtain() }
          .contains("did not take the memory file"))
    }

    @Test func whatElseTheManagerGivesIsRefused() throws {
      let wrong = unsafe open("/dev/null", O_RDWR)
      #expect(
        failure { () throws(MemoryFileError) in _ = try obtain(stored: [wrong]) }
          .contains("no memory file"))
    }
  }
}

/// Takes messages at a socket of its own, which the environment names while it lives.
private final class Manager: Sendable {
  private let socket: Int32
  private let state = Mutex<(messages: [String], stored: Int32?)>(([], nil))

  init(at path: String) throws {
    socket = Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
    let failed = unsafe withUnsafePointer(to: &address) {
      unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe bind(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    #expect(failed == 0)
    unsafe setenv("NOTIFY_SOCKET", path, 1)
    unsafe setenv("FDSTORE", "1", 1)
    let thread = WorkerThread(stackSize: 1 << 20) { [self] in
      while case .packet(let text, let descriptor) = KeeperSocket.receive(from: socket) {
        // Noted before the barrier falls: its descriptor is closed last.
        state.withLock {
          $0.messages.append(text)
          if text.hasPrefix("FDSTORE=1\n") { $0.stored = descriptor }
        }
        if text == "end" { return }
        if text == "BARRIER=1", let descriptor { close(descriptor) }
      }
    }
    try #require(thread).detach()
  }

  var messages: [String] { state.withLock { $0.messages } }
  var stored: Int32? { state.withLock { $0.stored } }

  func end() {
    NotifySocket.send("end")
    for name in ["NOTIFY_SOCKET", "FDSTORE"] { unsafe unsetenv(name) }
  }
}
