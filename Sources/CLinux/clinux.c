#define _GNU_SOURCE
#include "clinux.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

int hm_membarrier_register(void) {
  return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) ? errno : 0;
}
int hm_membarrier(void) {
  return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) ? errno : 0;
}
int hm_current_core(void) { return sched_getcpu(); }

enum { RESERVE, GIVE_BACK, PROTECT, SPLIT_BACKING, CALLS };
static __thread struct { int left, error, forever; } failing[CALLS];

void hm_fail(int call, int after, int error, int forever) {
  failing[call].left = after + 1;
  failing[call].error = error;
  failing[call].forever = forever;
}
// Whether a test wants this call to fail; sets errno.
static int fails(int call) {
  if (!failing[call].error) return 0;
  int left = --failing[call].left;
  if (left > 0 || (left < 0 && !failing[call].forever)) return 0;
  errno = failing[call].error;
  return 1;
}

void *hm_reserve(size_t length, int huge) {
  if (fails(RESERVE)) return NULL;
  const size_t block = 2u << 20;
  char *raw = mmap(NULL, length + block, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return NULL;
  char *start = (char *)(((uintptr_t)raw + block - 1) & ~(uintptr_t)(block - 1));
  if (start > raw) munmap(raw, start - raw);
  munmap(start + length, raw + block - start);
  madvise(start, length, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  return start;
}
void *hm_map_file(int file, int64_t offset, size_t length, int huge) {
  char *start = hm_reserve(length, 0);
  if (!start) return NULL;
  if (mmap(start, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, file,
           offset) == MAP_FAILED) {
    int error = errno;
    munmap(start, length);
    errno = error;
    return NULL;
  }
  madvise(start, length, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  // The first advice for a mapping of a file does not tell khugepaged of the process, the second does.
  if (huge) madvise(start, length, MADV_HUGEPAGE);
  return start;
}
int hm_punch(void *address, size_t length) {
  if (fails(GIVE_BACK)) return errno;
  return madvise(address, length, MADV_REMOVE) ? errno : 0;
}
int hm_give_back(void *address, size_t length) {
  if (fails(GIVE_BACK)) return errno;
  return madvise(address, length, MADV_DONTNEED) ? errno : 0;
}
_Static_assert(sizeof(struct hm_range) == sizeof(struct iovec), "a range is an iovec");
static int advise_all(const struct hm_range *ranges, int count, int advice) {
  // One call for all ranges interrupts the cores only once (Linux 6.13 and later).
  static int process;
  int descriptor = __atomic_load_n(&process, __ATOMIC_RELAXED);
  if (descriptor == 0) {
    descriptor = (int)syscall(SYS_pidfd_open, getpid(), 0);
    int expected = 0;
    int mine = descriptor < 0 ? -1 : descriptor;
    if (!__atomic_compare_exchange_n(&process, &expected, mine, 0, __ATOMIC_RELAXED,
                                     __ATOMIC_RELAXED)) {
      if (descriptor >= 0) close(descriptor);
      mine = expected;
    }
    descriptor = mine;
  }
  if (fails(GIVE_BACK)) return errno;
  size_t bytes = 0;
  for (int i = 0; i < count; i++) bytes += ranges[i].length;
  if (descriptor > 0 &&
      syscall(SYS_process_madvise, descriptor, ranges, (size_t)count, advice, 0) == (long)bytes)
    return 0;
  for (int i = 0; i < count; i++)
    if (madvise(ranges[i].start, ranges[i].length, advice)) return errno;
  return 0;
}
int hm_give_back_all(const struct hm_range *ranges, int count) {
  return advise_all(ranges, count, MADV_DONTNEED);
}
int hm_punch_all(const struct hm_range *ranges, int count) {
  return advise_all(ranges, count, MADV_REMOVE);
}
int hm_split_backing(void *address, size_t length) {
  if (fails(SPLIT_BACKING)) return errno;
  return madvise(address, length, MADV_COLD) ? errno : 0;
}
int hm_allow_huge_backing(void *address, size_t length, int allowed) {
  return madvise(address, length, allowed ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) ? errno : 0;
}
int hm_protect(void *address, size_t length, int writable) {
  if (fails(PROTECT)) return errno;
  return mprotect(address, length, PROT_READ | (writable ? PROT_WRITE : 0)) ? errno : 0;
}

__thread int hm_reader_slot = -1;
static pthread_key_t slot_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void (*release_slot)(int);
static void at_thread_exit(void *value) {
  hm_reader_slot = -1;
  __atomic_load_n(&release_slot, __ATOMIC_ACQUIRE)((int)(intptr_t)value - 1);
}
static void make_key(void) { pthread_key_create(&slot_key, at_thread_exit); }

void hm_set_reader_slot(int slot, void (*on_exit)(int)) {
  // Every thread stores the same value. The store is atomic because another thread may be ending
  // at this moment and load it.
  __atomic_store_n(&release_slot, on_exit, __ATOMIC_RELEASE);
  pthread_once(&once, make_key);
  pthread_setspecific(slot_key, (void *)(intptr_t)(slot + 1));
  hm_reader_slot = slot;
}
int hm_release(void *address, size_t length) { return munmap(address, length) ? errno : 0; }
int hm_event_counter(void) {
  int counter = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  return counter < 0 ? -errno : counter;
}

long hm_send(int socket, const void *bytes, size_t count, int descriptor) {
  struct iovec piece = {.iov_base = (void *)bytes, .iov_len = count};
  struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
  union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr header; } control;
  if (descriptor >= 0) {
    memset(&control, 0, sizeof control);
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    control.header = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), &descriptor, sizeof(int));
  }
  return sendmsg(socket, &message, MSG_NOSIGNAL);
}

long hm_receive(int socket, void *bytes, size_t count, int *descriptors, int *descriptor_count) {
  struct iovec piece = {.iov_base = bytes, .iov_len = count};
  // A message can carry up to 253 descriptors. The kernel closes those that do not fit here.
  union { char bytes[CMSG_SPACE(16 * sizeof(int))]; struct cmsghdr header; } control;
  struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control,
                           .msg_controllen = sizeof control};
  int room = *descriptor_count;
  *descriptor_count = 0;
  ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  if (got < 0) return got;
  for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    int *sent = (int *)CMSG_DATA(part);
    for (size_t i = 0; i < (part->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
      if (*descriptor_count < room) descriptors[(*descriptor_count)++] = sent[i];
      else close(sent[i]);
    }
  }
  return got;
}

int hm_zero_range(int file, int64_t offset, int64_t length) {
  return fallocate(file, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length) ? errno : 0;
}

bool hm_has_aes(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#elif defined(__aarch64__)
  // HWCAP_AES and HWCAP_PMULL.
  return (getauxval(AT_HWCAP) & (1 << 3)) && (getauxval(AT_HWCAP) & (1 << 4));
#else
  return false;
#endif
}

void hm_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

long hm_preemptions(void) {
  struct rusage usage;
  return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nivcsw : 0;
}

int hm_usable_cores(void) {
  cpu_set_t set;
  // A machine with more cores than fit into the set has enough of them.
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
}
