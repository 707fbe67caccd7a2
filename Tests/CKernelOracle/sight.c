// What a process sees of its own memory: the state of every page, and the contents of the pages with
// data. Absent and zero pages are never read, because reading would change them.
#define _GNU_SOURCE
#include "internal.h"
#include <fcntl.h>
#include <linux/types.h>
#include <sys/ioctl.h>
#include <unistd.h>

// Declared here because PAGEMAP_SCAN came with Linux 6.7, and <linux/fs.h> of Debian 12 is older.
struct region {
  __u64 start, end, categories;
};
struct scan {
  __u64 size, flags, start, end, walk_end, regions, region_count, max_pages;
  __u64 inverted, mask, any_of, returned;
};
#define SCAN_IOCTL _IOWR('f', 16, struct scan)
enum { IS_PRESENT = 1 << 3, IS_SWAPPED = 1 << 4, IS_ZERO = 1 << 5, IS_HUGE = 1 << 6 };

// There may be as many regions as pages, since a region can be a single page.
static struct region regions[KO_PAGES];

static long scan(int pagemap, const char *start, size_t pages) {
  struct scan argument = {
      .size = sizeof argument,
      .start = (uintptr_t)start,
      .end = (uintptr_t)start + pages * KO_PAGE_SIZE,
      .regions = (uintptr_t)regions,
      .region_count = KO_PAGES,
      .any_of = IS_PRESENT | IS_SWAPPED,
      .returned = IS_PRESENT | IS_SWAPPED | IS_ZERO | IS_HUGE,
  };
  return ioctl(pagemap, SCAN_IOCTL, &argument);
}

int ko_open_pagemap(struct ko_sight *sight) {
  sight->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  return sight->pagemap >= 0;
}

int ko_has_scan(void) {
  int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (pagemap < 0) return 0;
  static __thread char stack_page;
  const char *start = (const char *)((uintptr_t)&stack_page & ~(KO_PAGE_SIZE - 1));
  struct region region;
  struct scan argument = {.size = sizeof argument,
                          .start = (uintptr_t)start,
                          .end = (uintptr_t)start + KO_PAGE_SIZE,
                          .regions = (uintptr_t)&region,
                          .region_count = 1,
                          .any_of = IS_PRESENT,
                          .returned = IS_PRESENT};
  long found = ioctl(pagemap, SCAN_IOCTL, &argument);
  close(pagemap);
  return found >= 0;
}

static uint64_t mix(uint64_t digest, uint64_t word) {
  digest = (digest ^ word) * 0x9e3779b97f4a7c15u;
  return digest ^ digest >> 32;
}

uint64_t ko_digest(const void *page, int thorough) {
  const uint64_t *words = page;
  uint64_t any = 0;
  for (int i = 0; i < KO_WORDS; i++) any |= words[i * KO_WORD_STRIDE / 8];
  uint64_t digest = 0;
  if (any)
    for (int i = 0; i < KO_WORDS; i++) digest = mix(digest + 1, words[i * KO_WORD_STRIDE / 8]);
  if (thorough) {
    for (int i = 0; i < (int)KO_PAGE_SIZE / 8; i++) {
      int written = i % (KO_WORD_STRIDE / 8) == 0 && i / (KO_WORD_STRIDE / 8) < KO_WORDS;
      if (words[i] && !written) digest = mix(digest + (uint64_t)i, words[i]);
    }
  }
  // 1 is neither the digest of zeros nor that of a page that may not be read.
  return digest == KO_UNREADABLE ? 1 : digest;
}

// Appends a page as a new run, or adds it to the last run.
static void append(struct ko_run *runs, uint32_t *count, uint32_t page, uint32_t state,
                   uint64_t digest) {
  struct ko_run *last = &runs[*count - 1];
  if (*count && last->first + last->count == (int)page && last->state == state &&
      last->digest == digest) {
    last->count++;
  } else {
    runs[(*count)++] =
        (struct ko_run){.first = (uint16_t)page, .count = 1, .state = state, .digest = digest};
  }
}

void ko_look(struct ko_sight *sight, struct ko_shared *shared, uint32_t slots, int thorough) {
  static struct ko_run runs[KO_PAGES];
  uint32_t count = 0;
  long found = scan(sight->pagemap, sight->base, KO_PAGES);
  for (long r = 0; r < found; r++) {
    uint64_t categories = regions[r].categories;
    uint32_t page = (uint32_t)((regions[r].start - (uintptr_t)sight->base) / KO_PAGE_SIZE);
    uint32_t end = (uint32_t)((regions[r].end - (uintptr_t)sight->base) / KO_PAGE_SIZE);
    if (!(categories & IS_PRESENT)) {
      __atomic_add_fetch(&shared->pages_elsewhere, end - page, __ATOMIC_RELAXED);
      continue;
    }
    int zero = (categories & IS_ZERO) != 0;
    uint32_t state =
        KO_PRESENT | (zero ? KO_ZERO : 0) | (categories & IS_HUGE ? KO_IS_HUGE : 0);
    for (; page < end; page++) {
      uint64_t *digest = &sight->digests[page];
      if (!zero && (slots >> page / KO_SLOT_PAGES & 1))
        *digest = ko_guarded_digest(sight->base + page * KO_PAGE_SIZE, thorough);
      append(runs, &count, page, state, zero ? 0 : *digest);
    }
  }
  // If nothing changed since the last look, use the same runs again.
  const struct ko_run *before = shared->runs + sight->runs_start;
  uint32_t same = 0;
  while (count == sight->runs_count && same < count && before[same].first == runs[same].first &&
         before[same].count == runs[same].count && before[same].state == runs[same].state &&
         before[same].digest == runs[same].digest)
    same++;
  if (count == sight->runs_count && same == count) return;
  uint32_t start = __atomic_fetch_add(&shared->runs_used, count, __ATOMIC_RELAXED);
  if (start + count > KO_RUNS) {
    __atomic_store_n(&shared->too_large, 1, __ATOMIC_RELAXED);
    return;
  }
  for (uint32_t i = 0; i < count; i++) shared->runs[start + i] = runs[i];
  sight->runs_start = start;
  sight->runs_count = count;
}
