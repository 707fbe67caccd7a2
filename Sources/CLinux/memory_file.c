#define _GNU_SOURCE
#include "memory_file.h"
#include "clinux.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

// Not in the headers of every C library.
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef SYS_fsopen
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
enum { OPEN_CLOEXEC = 1, SET_STRING = 1, CREATE = 6, MOUNT_CLOEXEC = 1 };

static const char *const steps[] = {"fsopen", "user namespace", "fsconfig", "fsmount", "O_TMPFILE"};
enum { FSOPEN, NAMESPACE, FSCONFIG, FSMOUNT, TMPFILE };
struct outcome { int step, error; };

static int write_text(const char *path, const char *text) {
  int file = open(path, O_WRONLY | O_CLOEXEC);
  if (file < 0) return -1;
  ssize_t written = write(file, text, strlen(text));
  int error = errno;
  close(file);
  errno = error;
  return written < 0 ? -1 : 0;
}
// In the child of a process with threads, so it calls nothing that takes a lock. Returns the file, or -1
// with errno and the step.
static int make_file(int *step, const char *users, const char *groups) {
  *step = FSOPEN;
  int tree = (int)syscall(SYS_fsopen, "tmpfs", OPEN_CLOEXEC);
  if (tree < 0 && errno == EPERM) {
    *step = NAMESPACE;
    // A mapping of oneself to oneself, so that the file belongs to this user outside too.
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) || write_text("/proc/self/setgroups", "deny") ||
        write_text("/proc/self/uid_map", users) || write_text("/proc/self/gid_map", groups))
      return -1;
    *step = FSOPEN;
    tree = (int)syscall(SYS_fsopen, "tmpfs", OPEN_CLOEXEC);
  }
  if (tree < 0) return -1;
  *step = FSCONFIG;
  // Without size=0, the limit is half of the machine's memory, and a write beyond it is a SIGBUS.
  if (syscall(SYS_fsconfig, tree, SET_STRING, "size", "0", 0) ||
      syscall(SYS_fsconfig, tree, SET_STRING, "mode", "0700", 0) ||
      syscall(SYS_fsconfig, tree, SET_STRING, "huge", "advise", 0) ||
      syscall(SYS_fsconfig, tree, CREATE, NULL, NULL, 0))
    return -1;
  *step = FSMOUNT;
  int mount = (int)syscall(SYS_fsmount, tree, MOUNT_CLOEXEC, 0);
  if (mount < 0) return -1;
  *step = TMPFILE;
  return openat(mount, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

int hm_tmpfs_file(struct hm_refusal *refusal) {
  *refusal = (struct hm_refusal){.step = "fork"};
  char users[64], groups[64];
  snprintf(users, sizeof users, "%u %u 1", geteuid(), geteuid());
  snprintf(groups, sizeof groups, "%u %u 1", getegid(), getegid());
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
    refusal->error = errno;
    return -1;
  }
  pid_t child = fork();
  if (child == 0) {
    // With a copy of a locked descriptor, the child would have the lock too.
    if (pair[1] > 0) syscall(SYS_close_range, 0, pair[1] - 1, 0);
    syscall(SYS_close_range, pair[1] + 1, ~0u, 0);
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    struct outcome outcome = {0};
    int file = make_file(&outcome.step, users, groups);
    outcome.error = file < 0 ? errno : 0;
    hm_send(pair[1], &outcome, sizeof outcome, file);
    _exit(0);
  }
  int error = errno;
  close(pair[1]);
  int file = -1, count = 1, status = 0;
  if (child < 0) {
    refusal->error = error;
  } else {
    struct outcome outcome = {0};
    long got;
    do got = hm_receive(pair[0], &outcome, sizeof outcome, &file, &count);
    while (got < 0 && errno == EINTR);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    if (got == sizeof outcome) {
      refusal->step = steps[outcome.step];
      // Without a descriptor to spare, the file is not received.
      refusal->error = outcome.error ? outcome.error : EMFILE;
    } else {
      refusal->step = "mount";
      refusal->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
      refusal->error = EPERM;
    }
    if (count != 1) file = -1;
  }
  close(pair[0]);
  return file;
}

int hm_memfd(const char *name) {
  unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  int file = memfd_create(name, flags | MFD_NOEXEC_SEAL);
  // Linux before 6.3.
  if (file < 0 && errno == EINVAL) file = memfd_create(name, flags);
  if (file < 0) return -errno;
  if (fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK)) {
    int error = errno;
    close(file);
    return -error;
  }
  return file;
}

static int open_again(int descriptor, int flags) {
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
  return open(path, flags | O_CLOEXEC);
}
int hm_reopen(int descriptor) {
  int file = open_again(descriptor, O_RDWR);
  return file < 0 ? -errno : file;
}
bool hm_never_shrinks(int descriptor) {
  int seals = fcntl(descriptor, F_GET_SEALS);
  return seals >= 0 && (seals & F_SEAL_SHRINK);
}

int hm_is_huge(int descriptor) {
  const size_t block = 2u << 20;
  char *raw = mmap(NULL, 2 * block, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return -1;
  char *start = (char *)(((uintptr_t)raw + block - 1) & ~(uintptr_t)(block - 1));
  int answer = -1;
  FILE *maps = NULL;
  // The file may be empty: nothing is touched.
  if (mmap(start, block, PROT_READ, MAP_SHARED | MAP_FIXED, descriptor, 0) == MAP_FAILED ||
      (madvise(start, block, MADV_HUGEPAGE) && errno == EINVAL))
    // The kernel has no transparent huge pages at all.
    answer = 0;
  else
    maps = fopen("/proc/self/smaps", "re");
  if (maps) {
    char line[512];
    bool mine = false;
    while (answer < 0 && fgets(line, sizeof line, maps)) {
      unsigned long from, to;
      int eligible;
      if (sscanf(line, "%lx-%lx ", &from, &to) == 2) mine = from == (unsigned long)start;
      else if (mine && sscanf(line, "THPeligible: %d", &eligible) == 1) answer = eligible;
    }
    fclose(maps);
  }
  munmap(raw, 2 * block);
  return answer;
}

int hm_place_of(int descriptor, struct hm_place *place) {
  struct statfs status;
  if (fstatfs(descriptor, &status)) return errno;
  place->magic = (unsigned long)status.f_type;
  place->kind = place->magic == TMPFS_MAGIC ? HM_TMPFS : place->magic == HUGETLBFS_MAGIC ? HM_HUGETLBFS : HM_OTHER;
  place->free = (uint64_t)status.f_bavail * (uint64_t)status.f_bsize;
  place->total = (uint64_t)status.f_blocks * (uint64_t)status.f_bsize;
  place->page = (uint64_t)status.f_bsize;
  return 0;
}
int hm_next_data(int descriptor, int64_t from, int64_t *start, int64_t *end) {
  struct statfs status;
  if (fstatfs(descriptor, &status)) return errno;
  // It calls all of a file data.
  if (status.f_type == HUGETLBFS_MAGIC) return EOPNOTSUPP;
  *start = lseek(descriptor, from, SEEK_DATA);
  if (*start < 0) return errno;
  *end = lseek(descriptor, *start, SEEK_HOLE);
  return *end < 0 ? errno : 0;
}
int hm_populate(void *address, size_t length) {
  return madvise(address, length, MADV_POPULATE_WRITE) ? errno : 0;
}
void hm_device_numbers(uint64_t device, unsigned *major_number, unsigned *minor_number) {
  *major_number = major(device);
  *minor_number = minor(device);
}

int hm_spawn_apart(const char *program, char *const arguments[], const int *descriptors, int count, int *process) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  int error = posix_spawn_file_actions_init(&actions);
  if (error) return error;
  if ((error = posix_spawnattr_init(&attributes))) {
    posix_spawn_file_actions_destroy(&actions);
    return error;
  }
  // Copies above all targets first: a target may be the source of another.
  int copies[8];
  int made = 0;
  if (count > 8) error = E2BIG;
  for (; !error && made < count; made++)
    if ((copies[made] = fcntl(descriptors[made], F_DUPFD_CLOEXEC, 3 + count)) < 0) {
      error = errno;
      break;
    }
  for (int i = 0; !error && i < 3; i++)
    error = posix_spawn_file_actions_addopen(&actions, i, "/dev/null", O_RDWR, 0);
  for (int i = 0; !error && i < count; i++)
    error = posix_spawn_file_actions_adddup2(&actions, copies[i], 3 + i);
  if (!error) error = posix_spawn_file_actions_addclosefrom_np(&actions, 3 + count);
  if (!error) error = posix_spawn_file_actions_addchdir_np(&actions, "/");
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  if (!error) error = posix_spawnattr_setsigmask(&attributes, &none);
  if (!error) error = posix_spawnattr_setsigdefault(&attributes, &all);
  if (!error)
    error = posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  // Nothing of the environment, which may have secrets, but what the loader needs.
  char *environment[] = {"SWIFT_BACKTRACE=enable=no", NULL, NULL};
  char libraries[4096];
  const char *given = getenv("LD_LIBRARY_PATH");
  if (given && (size_t)snprintf(libraries, sizeof libraries, "LD_LIBRARY_PATH=%s", given) < sizeof libraries)
    environment[1] = libraries;
  pid_t child = 0;
  if (!error) error = posix_spawn(&child, program, &actions, &attributes, arguments, environment);
  *process = child;
  for (int i = 0; i < made; i++) close(copies[i]);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}
