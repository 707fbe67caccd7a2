// Runs a program of memory operations on the kernel, with real processes, and reports what every
// process sees after each step.
//
// The processes are not forked from the caller, which has many threads, much memory and sockets
// that its peers wait on: a server is executed once (see server.c) and forks them.
#ifndef HUGEMEMORY_KERNEL_ORACLE_H
#define HUGEMEMORY_KERNEL_ORACLE_H
#include <stdint.h>

enum {
  KO_SLOT_PAGES = 512,
  KO_SLOTS = 4,
  KO_PAGES = KO_SLOTS * KO_SLOT_PAGES,
  /// Processes that live at the same time; a step names one by its index.
  KO_PROCESSES = 4,
  KO_STEPS = 4096,
  /// Words of a page that a step may read or write; the first is the page's first.
  KO_WORDS = 8,
  /// From one such word to the next, in bytes: each is in a cache line of its own.
  KO_WORD_STRIDE = 520,
};

enum ko_kind {
  KO_MAP,
  KO_UNMAP,
  KO_READ,
  KO_WRITE,
  KO_PROTECT,
  KO_ADVISE,
  KO_MOVE,
  KO_FORK,
  KO_EXIT,
};

enum ko_protection { KO_NONE, KO_READ_ONLY, KO_READ_WRITE };

enum ko_advice {
  KO_HUGE,
  KO_NO_HUGE,
  KO_DISCARD,
  KO_COLLAPSE,
  KO_POPULATE_READ,
  KO_POPULATE_WRITE,
};

/// One step. Places are counted in pages of 4 KiB from the start of the first slot.
struct ko_step {
  uint8_t kind;
  /// The index of the process that performs it.
  uint8_t process;
  /// A protection, an advice, or the index of the process that a fork makes.
  uint8_t argument;
  /// Of a read or a write: which word of the page.
  uint8_t word;
  uint16_t first;
  uint16_t count;
  /// Of a move.
  uint16_t target;
  uint16_t unused;
  /// What a write stores.
  uint64_t stamp;
};

/// A page's state: bits. None is an absent page.
enum { KO_PRESENT = 1, KO_ZERO = 2, KO_IS_HUGE = 4 };
/// The digest of a data page that may not be read.
#define KO_UNREADABLE UINT64_MAX

/// Neighbouring pages with the same state and contents. Absent pages are not listed.
struct ko_run {
  uint16_t first;
  uint16_t count;
  uint32_t state;
  /// Of a data page's contents; 0 for zeros.
  uint64_t digest;
};

/// Outcomes that are not an errno.
enum { KO_OK = 0, KO_NOT_MAPPED = 10001, KO_DENIED, KO_NO_PROCESS };

struct ko_record {
  /// KO_OK, one of the outcomes above, or the errno of the call.
  int32_t outcome;
  /// Bit i: process i is alive after the step.
  uint32_t live;
  /// What a read found.
  uint64_t value;
  /// The runs of each live process: a range of the runs.
  uint32_t runs_start[KO_PROCESSES];
  uint32_t runs_count[KO_PROCESSES];
};

/// How a whole program went.
enum ko_status {
  KO_DONE,
  /// The server could not be started, or died.
  KO_NO_SERVER,
  /// A process died, or nothing moved for the time allowed.
  KO_HUNG,
  /// There were more runs than fit.
  KO_TOO_LARGE,
  /// There is no PAGEMAP_SCAN, or /proc is not there.
  KO_NO_SCAN,
};

/// Counters of the whole system; in a result, how much they grew from the first step to the last.
struct ko_counters {
  uint64_t thp_zero_page_alloc;
  uint64_t thp_fault_alloc;
  uint64_t thp_fault_fallback;
  uint64_t thp_split_pmd;
  uint64_t thp_split_page;
  uint64_t thp_collapse_alloc;
  uint64_t thp_deferred_split_page;
  /// By khugepaged alone, not by MADV_COLLAPSE.
  uint64_t khugepaged_pages_collapsed;
  /// Pages seen that were neither present nor absent: swapped, or just being migrated.
  uint64_t pages_elsewhere;
};

struct ko_oracle;

/// Starts a server. NULL on failure, errno set.
struct ko_oracle *ko_open(void);
void ko_close(struct ko_oracle *oracle);
/// Runs a program from an empty range; no process of it is left when this returns. Returns an
/// `enum ko_status`. After KO_HUNG and KO_NO_SERVER the next call starts a new server.
int ko_execute(struct ko_oracle *oracle, const struct ko_step *steps, uint32_t count,
               uint32_t timeout_milliseconds);
/// Results of the last program, valid until the next.
const struct ko_record *ko_records(const struct ko_oracle *oracle);
const struct ko_run *ko_runs(const struct ko_oracle *oracle);
const struct ko_counters *ko_growth(const struct ko_oracle *oracle);

/// The digest of a page's contents, for the other subject. Of the words that steps write; with
/// `thorough`, any other byte that is not zero changes it too.
uint64_t ko_digest(const void *page, int thorough);
/// Whether this kernel has the ioctl PAGEMAP_SCAN.
int ko_has_scan(void);
#endif
