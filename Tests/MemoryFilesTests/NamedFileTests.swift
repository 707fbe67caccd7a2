import CLinux
import Glibc
import Testing

@testable import MemoryFiles

extension Apart {
  /// Files that the user names. /dev/shm is a tmpfs with a limit of size on every Linux.
  @Suite struct NamedFileTests {
    let scratch = Scratch(in: "/dev/shm")

    private func refusal(_ path: String, room: UInt64 = 4096) -> String {
      failure { () throws(MemoryFileError) in _ = try MemoryFile.open(path: path, room: room) }
    }

    @Test func aFileIsMadeForItsUserAlone() throws {
      let before = umask(0)
      defer { umask(before) }
      let path = scratch.path("memory")
      let (file, isNew) = try MemoryFile.open(path: path, room: 4096)
      #expect(isNew && file.kind == .named(path))
      var status = stat()
      #expect(unsafe stat(path, &status) == 0 && status.st_mode & 0o7777 == 0o600)
      withExtendedLifetime(file) {
        #expect(
          refusal(path).contains("\(path): the server with process number \(getpid()) uses it"))
      }
    }

    @Test func aFileHasWhatAnEarlierServerWrote() throws {
      let path = scratch.path("memory")
      do {
        let (file, _) = try MemoryFile.open(path: path, room: 4096)
        try file.grow(to: 1 << 40)
        file.put("here", at: 1 << 30)
      }
      let (file, isNew) = try MemoryFile.open(path: path, room: 4096)
      #expect(!isNew && file.get(4, at: 1 << 30) == "here")
    }

    @Test func whatIsNotAPrivateFileIsRefused() throws {
      let target = scratch.path("target")
      shell("touch '\(target)'; chmod 600 '\(target)'")
      shell("cd '\(scratch.path)'; ln -s target link; mkfifo -m 600 pipe; mkdir dir")
      #expect(refusal(scratch.path("link")).contains("is a link"))
      #expect(refusal(scratch.path("pipe")).contains("no regular file"))
      #expect(refusal(scratch.path("dir")).contains("a directory"))
      #expect(refusal("/dev/zero").contains("no regular file"))
      #expect(refusal(scratch.path("no/such")).contains("open directory"))
      shell("chmod 640 '\(target)'")
      #expect(refusal(target).contains("open to others"))
      shell("chmod 600 '\(target)'; ln '\(target)' '\(target)2'")
      #expect(refusal(target).contains("2 names"))
    }

    @Test(.enabled(if: isRoot, "only root can give a file to another user"))
    func aFileOfAnotherUserIsRefused() {
      let path = scratch.path("theirs")
      shell("touch '\(path)'; chmod 600 '\(path)'; chown 12345 '\(path)'")
      #expect(refusal(path).contains("belongs to the user 12345"))
    }

    @Test func aFileOnADiskIsRefusedAndNotMade() {
      let disk = Scratch(in: "/var/tmp")
      var place = hm_place()
      let directory = unsafe open(disk.path, O_RDONLY)
      defer { close(directory) }
      guard unsafe hm_place_of(directory, &place) == 0, place.kind == HM_OTHER else {
        print("skip: /var/tmp is a tmpfs here")
        return
      }
      #expect(refusal(disk.path("memory")).contains("is not on a tmpfs"))
      #expect(unsafe access(disk.path("memory"), F_OK) != 0)
    }

    @Test func aTmpfsWithLessRoomThanTheLimitIsRefused() throws {
      var place = hm_place()
      let directory = unsafe open(scratch.path, O_RDONLY)
      defer { close(directory) }
      #expect(unsafe hm_place_of(directory, &place) == 0)
      guard place.total != 0 else {
        print("skip: /dev/shm has no limit of size here")
        return
      }
      #expect(refusal(scratch.path("memory"), room: place.total + 4096).contains("lower --memory"))
      #expect(try MemoryFile.open(path: scratch.path("memory"), room: 4096).file.canRunOut)
    }

    @Test(.enabled(if: isRoot, "only root can mount"))
    func aFullTmpfsFailsToPopulateAndDoesNotTrap() throws {
      let path = scratch.path("full")
      try #require(shell("mkdir '\(path)' && mount -t tmpfs -o size=64k none '\(path)'"))
      defer { shell("umount -l '\(path)'") }
      let (file, _) = try MemoryFile.open(path: path + "/memory", room: 4096)
      try file.grow(to: 1 << 20)
      let address = unsafe mmap(
        nil, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, file.descriptor, 0)
      defer { unsafe munmap(address, 1 << 20) }
      #expect(unsafe hm_populate(address, 32 << 10) == 0)
      #expect(unsafe hm_populate(address, 1 << 20) == EFAULT)
    }

    @Test(.enabled(if: isRoot, "only root can mount"))
    func aFileOnHugetlbfsHasHugePagesThatCanRunOut() throws {
      let path = scratch.path("huge")
      guard shell("mkdir '\(path)' && mount -t hugetlbfs none '\(path)' 2>/dev/null") else {
        print("skip: no hugetlbfs here")
        return
      }
      defer { shell("umount -l '\(path)'") }
      // More than any machine has reserved.
      #expect(refusal(path + "/memory", room: 1 << 50).contains("vm.nr_hugepages"))
      #expect(unsafe access(path + "/memory", F_OK) != 0)
      let (file, isNew) = try MemoryFile.open(path: path + "/memory", room: 0)
      #expect(isNew && file.canRunOut && file.hugePageSize == 2 << 20)
      #expect(file.explanation.contains("hugetlbfs"))
      try file.grow(to: 4 << 20)
      #expect(file.get(4, at: 1 << 20) == "\0\0\0\0" && file.bytesInUse == 0)
      var (start, end): (Int64, Int64) = (0, 0)
      #expect(unsafe hm_next_data(file.descriptor, 0, &start, &end) == EOPNOTSUPP)
    }

    @Test(.enabled(if: isRoot, "only root can mount"))
    func aFileWithDisksIsOpenedThoughOthersTookTheRoom() throws {
      let path = scratch.path("small")
      try #require(shell("mkdir '\(path)' && mount -t tmpfs -o size=1m none '\(path)'"))
      defer { shell("umount -l '\(path)'") }
      do {
        let (file, _) = try MemoryFile.open(path: path + "/memory", room: 1 << 20)
        try file.grow(to: 1 << 20)
      }
      shell("head -c 900000 /dev/zero > '\(path)/filler'")
      let (file, isNew) = try MemoryFile.open(path: path + "/memory", room: 1 << 20)
      #expect(!isNew && file.canRunOut)
    }
  }
}
