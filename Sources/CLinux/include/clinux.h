// What Glibc's module lacks: membarrier and the variadic or newer system calls.
#ifndef HUGEMEMORY_CLINUX_H
#define HUGEMEMORY_CLINUX_H
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// Registers this process for private expedited membarrier. 0, or the errno.
int hm_membarrier_register(void);
/// Runs a full barrier on every running thread of this process. 0, or the errno.
int hm_membarrier(void);
/// The core this thread runs on just now (a hint).
int hm_current_core(void);
/// Reserves `length` bytes, aligned to 2 MiB, read-write and uncommitted. NULL on failure (errno set).
void *hm_reserve(size_t length, int huge);
/// Gives the memory of a range back to the system; it reads as zeros afterwards.
int hm_give_back(void *address, size_t length);
/// As `hm_give_back`, for many ranges. 0, or the errno of the first that failed: that one and those
/// after it may be as they were.
struct hm_range { void *start; size_t length; };
int hm_give_back_all(const struct hm_range *ranges, int count);
/// Makes the system split the huge pages of its own behind a range of which parts were given back:
/// only then are those parts free to the control group. What is left becomes first to be swapped.
int hm_split_backing(void *address, size_t length);
/// Unmaps a range.
int hm_release(void *address, size_t length);
/// Makes a range read-only, or read-write again.
int hm_protect(void *address, size_t length, int writable);
/// For tests: a call of this thread fails with `error`, the one after `after` others, and all that
/// follow if `forever`. Off with `error` 0. Calls: 0 reserve, 1 give back, 2 protect, 3 split backing.
void hm_fail(int call, int after, int error, int forever);
/// An event counter that neither blocks nor survives exec: its descriptor, or minus the errno.
int hm_event_counter(void);
/// Sends bytes over a Unix socket, and with them `descriptor` unless it is -1. Returns as `send` does.
ssize_t hm_send(int socket, const void *bytes, size_t count, int descriptor);
/// Receives bytes, and at most `*descriptor_count` descriptors with them, close-on-exec; stores how many
/// came there. Returns as `recv` does.
ssize_t hm_receive(int socket, void *bytes, size_t count, int *descriptors, int *descriptor_count);
/// Makes a range of a block device read as zeros without writing them. 0, or the errno.
int hm_zero_range(int file, off_t offset, off_t length);
/// This thread's reader slot, -1 before it is assigned.
extern __thread int hm_reader_slot;
static inline int hm_get_reader_slot(void) { return hm_reader_slot; }
/// Assigns it; `on_exit` runs with the slot when the thread ends.
void hm_set_reader_slot(int slot, void (*on_exit)(int));
/// Asks for two cache lines, at any address, mapped or not.
static inline void hm_prefetch(const void *address) {
  __builtin_prefetch(address);
  __builtin_prefetch((const char *)address + 64);
}
/// Tells the core that this is a spin loop.
static inline void hm_relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}
/// Keeps the compiler, not the processor, from moving memory accesses across it.
static inline void hm_compiler_barrier(void) { __asm__ volatile("" ::: "memory"); }
#endif
