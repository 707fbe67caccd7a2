// What the caller's side, the server and the processes share.
#ifndef HUGEMEMORY_KERNEL_ORACLE_INTERNAL_H
#define HUGEMEMORY_KERNEL_ORACLE_INTERNAL_H
#include "kernel_oracle.h"
#include <stddef.h>
#include <sys/types.h>

#define KO_PAGE_SIZE 4096ul
#define KO_RUNS (1u << 20)
// Set in the server's environment; see server.c.
#define KO_SERVER_VARIABLE "HUGEMEMORY_KERNEL_ORACLE_SERVER"
// The server's file descriptors.
enum { KO_MEMORY_DESCRIPTOR = 3, KO_SOCKET_DESCRIPTOR = 4 };

// Commands to a process. The process of a step performs it and then looks; the others only look.
enum { KO_IDLE, KO_PERFORM, KO_LOOK, KO_LEAVE };

// The mailbox of a process. The server writes the command and then `posted`, and wakes the process. The
// process answers with `answered`. Only one of the two owns the other fields at a time.
struct ko_mailbox {
  uint32_t posted, answered;
  uint32_t command, step;
  pid_t pid;
};

// Memory that the caller, the server and the processes share.
struct ko_shared {
  uint32_t step_count, status;
  // The number of runs in use. Taken by atomic additions, because processes look at the same time.
  uint32_t runs_used, too_large;
  uint64_t pages_elsewhere;
  struct ko_counters growth;
  struct ko_mailbox mailboxes[KO_PROCESSES];
  struct ko_step steps[KO_STEPS];
  struct ko_record records[KO_STEPS];
  struct ko_run runs[KO_RUNS];
};

// Futexes on shared words. A wait returns when the word is no longer `value`, or false on timeout.
void ko_wake(uint32_t *word);
int ko_wait(uint32_t *word, uint32_t value, uint32_t milliseconds);

void ko_read_counters(struct ko_counters *counters);

// Runs process `index` until it exits.
_Noreturn void ko_process(struct ko_shared *shared, char *base, uint32_t index);

// What a process knows about its own memory. A fork copies it like everything else.
struct ko_sight {
  char *base;
  int pagemap;
  uint32_t runs_start, runs_count;
  // The digest of every page, as of the last time that a step could have changed it.
  uint64_t digests[KO_PAGES];
};
// Opens the pagemap of the calling process. Returns false on failure.
int ko_open_pagemap(struct ko_sight *sight);
// Looks at the states of all pages, and at the contents of the slots in `slots`, one bit for each.
void ko_look(struct ko_sight *sight, struct ko_shared *shared, uint32_t slots, int thorough);
// Reads a data page, with a handler for SIGSEGV in case the page may not be read.
uint64_t ko_guarded_digest(const char *page, int thorough);
#endif
