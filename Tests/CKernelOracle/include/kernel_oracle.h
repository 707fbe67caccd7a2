// Runs a program of memory operations on the kernel, with real processes, and reports what every
// process sees after each step.
//
// The processes are not forked from the caller, because it has many threads, much memory, and sockets
// that its peers wait on. Instead, a server is executed once (see server.c) and forks them.
#ifndef HUGEMEMORY_KERNEL_ORACLE_H
#define HUGEMEMORY_KERNEL_ORACLE_H
#include <stdint.h>

enum {
  KO_SLOT_PAGES = 512,
  KO_SLOTS = 4,
  KO_PAGES = KO_SLOTS * KO_SLOT_PAGES,
  /// The most processes at the same time. A step names one by its index.
  KO_PROCESSES = 4,
  KO_STEPS = 4096,
  /// The number of words of a page that a step may read or write. The first is the page's first.
  KO_WORDS = 8,
  /// The distance between two such words in bytes. Each is in a cache line of its own.
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
  /// The word of the page, for a read or a write.
  uint8_t word;
  uint16_t first;
  uint16_t count;
  /// The target of a move.
  uint16_t target;
  uint16_t unused;
  /// The value that a write stores.
  uint64_t stamp;
};

/// The bits of a page's state. An absent page has none.
enum { KO_PRESENT = 1, KO_ZERO = 2, KO_IS_HUGE = 4 };
/// The digest of a data page that may not be read.
#define KO_UNREADABLE UINT64_MAX

/// Neighbouring pages with the same state and contents. Absent pages are not listed.
struct ko_run {
  uint16_t first;
  uint16_t count;
  uint32_t state;
  /// The digest of a data page's contents; 0 for zeros.
  uint64_t digest;
};

/// Outcomes that are not an errno.
enum { KO_OK = 0, KO_NOT_MAPPED = 10001, KO_DENIED, KO_NO_PROCESS };

struct ko_record {
  /// KO_OK, one of the outcomes above, or the errno of the call.
  int32_t outcome;
  /// Bit i: process i is alive after the step.
  uint32_t live;
  /// The value that a read found.
  uint64_t value;
  /// For each live process, its range of the runs.
  uint32_t runs_start[KO_PROCESSES];
  uint32_t runs_count[KO_PROCESSES];
};

/// The result of a whole program.
enum ko_status {
  KO_DONE,
  /// The server could not be started, or died.
  KO_NO_SERVER,
  /// A process died, or did not answer within the time allowed.
  KO_HUNG,
  /// There were more runs than fit into the shared memory.
  KO_TOO_LARGE,
  /// The kernel has no PAGEMAP_SCAN, or /proc is not mounted.
  KO_NO_SCAN,
};

/// Counters of the whole system. In a result, they say how much each grew from the first step to the
/// last.
struct ko_counters {
  uint64_t thp_zero_page_alloc;
  uint64_t thp_fault_alloc;
  uint64_t thp_fault_fallback;
  uint64_t thp_split_pmd;
  uint64_t thp_split_page;
  uint64_t thp_collapse_alloc;
  uint64_t thp_deferred_split_page;
  /// Counts only collapses by khugepaged, not by MADV_COLLAPSE.
  uint64_t khugepaged_pages_collapsed;
  /// Pages that were neither present nor absent: swapped out or being migrated.
  uint64_t pages_elsewhere;
};

struct ko_oracle;

/// Starts a server. Returns NULL and sets errno on failure.
struct ko_oracle *ko_open(void);
void ko_close(struct ko_oracle *oracle);
/// Runs a program, starting with an empty range. None of its processes is left when this returns.
/// Returns an `enum ko_status`. After KO_HUNG and KO_NO_SERVER, the next call starts a new server.
int ko_execute(struct ko_oracle *oracle, const struct ko_step *steps, uint32_t count,
               uint32_t timeout_milliseconds);
/// The results of the last program. They are valid until the next program runs.
const struct ko_record *ko_records(const struct ko_oracle *oracle);
const struct ko_run *ko_runs(const struct ko_oracle *oracle);
const struct ko_counters *ko_growth(const struct ko_oracle *oracle);

/// The digest of a page's contents, also used for the engine. It covers the words that steps write. With
/// `thorough`, any other byte that is not zero changes it too.
uint64_t ko_digest(const void *page, int thorough);
/// Whether this kernel has the ioctl PAGEMAP_SCAN.
int ko_has_scan(void);
#endif
