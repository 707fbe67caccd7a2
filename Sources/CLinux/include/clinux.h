// System calls that Glibc's module lacks: membarrier, and those that are variadic or newer.
#ifndef HUGEMEMORY_CLINUX_H
#define HUGEMEMORY_CLINUX_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Registers this process for private expedited membarrier. Returns 0 or the errno.
int hm_membarrier_register(void);
/// Runs a full barrier on every running thread of this process. Returns 0 or the errno.
int hm_membarrier(void);
/// The core that this thread runs on now. It is a hint: the thread may move at any time.
int hm_current_core(void);
/// Reserves `length` bytes, aligned to 2 MiB, read-write and uncommitted. With `huge`,
/// advises huge pages; otherwise forbids them, for memory that is used and given back in small parts.
/// Returns NULL and sets errno on failure.
void *hm_reserve(size_t length, int huge);
/// Maps `length` bytes of a memory file from `offset` on, which is a multiple of 2 MiB, at an address
/// aligned to 2 MiB, read-write and shared. `huge` is as in `hm_reserve`. Returns NULL and sets errno on
/// failure.
void *hm_map_file(int file, int64_t offset, size_t length, int huge);
/// Gives the memory of a range of a mapped memory file back to the system: makes a hole in the file.
/// Returns 0 or the errno.
int hm_punch(void *address, size_t length);
/// Gives the memory of a range back to the system. The range reads as zeros afterwards.
/// Returns 0 or the errno.
int hm_give_back(void *address, size_t length);
/// As `hm_give_back`, for many ranges. Returns 0, or the errno of the first range that failed. That
/// range and those after it may be unchanged.
struct hm_range { void *start; size_t length; };
int hm_give_back_all(const struct hm_range *ranges, int count);
/// As `hm_give_back_all`, for ranges of a mapped memory file.
int hm_punch_all(const struct hm_range *ranges, int count);
/// Makes the kernel split the huge pages that back a range. After you gave back parts of the range,
/// the control group gets the memory of those parts only once the pages are split. The rest of the
/// range is the first to be swapped from then on. Returns 0 or the errno.
int hm_split_backing(void *address, size_t length);
/// Allows or forbids the kernel to back a range with huge pages from now on. Without it khugepaged
/// joins split pages again within a minute and fills the holes with new memory. Returns 0 or the
/// errno.
int hm_allow_huge_backing(void *address, size_t length, int allowed);
/// Unmaps a range. Returns 0 or the errno.
int hm_release(void *address, size_t length);
/// Makes a range read-only, or read-write again if `writable`. Returns 0 or the errno.
int hm_protect(void *address, size_t length, int writable);
/// For tests: lets `after` more calls of this kind succeed on this thread and makes the next one fail
/// with `error`, and with `forever` all later ones too. `error` 0 switches this off. `call` is
/// 0 for reserve and map, 1 for give back and punch, 2 for protect, 3 for split backing.
void hm_fail(int call, int after, int error, int forever);
/// Makes an event counter that does not block and is closed on exec. Returns its descriptor, or
/// minus the errno.
int hm_event_counter(void);
/// Sends bytes over a Unix socket, together with `descriptor` unless it is -1. Returns as `send` does.
long hm_send(int socket, const void *bytes, size_t count, int descriptor);
/// Receives bytes, and with them at most `*descriptor_count` descriptors, which are close-on-exec.
/// Stores the number of descriptors received to `*descriptor_count`. Returns as `recv` does.
long hm_receive(int socket, void *bytes, size_t count, int *descriptors, int *descriptor_count);
/// Makes a range of a block device read as zeros without writing zeros. Returns 0 or the errno.
int hm_zero_range(int file, int64_t offset, int64_t length);
/// The cores that this thread may run on: fewer than the machine has, in a cpuset or under taskset.
int hm_usable_cores(void);
/// Names this thread for top, ps and perf. At most 15 bytes.
void hm_name_thread(const char *name);
/// How often another thread got the core while this one could run, also after `sched_yield`.
long hm_preemptions(void);
/// Whether the processor has instructions for AES and for GCM.
bool hm_has_aes(void);
/// This thread's reader slot, or -1 before it has one.
extern __thread int hm_reader_slot;
static inline int hm_get_reader_slot(void) { return hm_reader_slot; }
/// Sets this thread's reader slot. `on_exit` is called with the slot when the thread ends.
void hm_set_reader_slot(int slot, void (*on_exit)(int));
/// The CRC-32C (Castagnoli) of bytes, going on from `sum`, which is 0 at the beginning.
uint32_t hm_crc32c(uint32_t sum, const void *bytes, size_t count);
/// Prefetches two cache lines. The address need not be mapped.
static inline void hm_prefetch(const void *address) {
  __builtin_prefetch(address);
  __builtin_prefetch((const char *)address + 64);
}
/// Tells the core that the caller spins.
static inline void hm_relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}
/// Stops the compiler, but not the processor, from moving memory accesses across this point.
static inline void hm_compiler_barrier(void) { __asm__ volatile("" ::: "memory"); }
#endif
