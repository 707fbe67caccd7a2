#define _GNU_SOURCE
#include "clinux.h"
#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int hm_membarrier_register(void) {
  return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) ? errno : 0;
}
int hm_membarrier(void) {
  return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) ? errno : 0;
}
int hm_current_core(void) { return sched_getcpu(); }

void *hm_reserve(size_t length, int huge) {
  const size_t block = 2u << 20;
  char *raw = mmap(NULL, length + block, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return NULL;
  char *start = (char *)(((uintptr_t)raw + block - 1) & ~(uintptr_t)(block - 1));
  if (start > raw) munmap(raw, start - raw);
  munmap(start + length, raw + block - start);
  if (huge) madvise(start, length, MADV_HUGEPAGE);
  return start;
}
int hm_give_back(void *address, size_t length) {
  return madvise(address, length, MADV_DONTNEED) ? errno : 0;
}
int hm_protect(void *address, size_t length, int writable) {
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
  // Every thread stores the same; atomic all the same, since another may be ending just now.
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
