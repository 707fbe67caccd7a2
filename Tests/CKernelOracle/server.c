// The server. It is the parent of all processes of a program, and tells one after the other what to do.
//
// It is the same executable as the tests, run again. A constructor takes over before any of the tests
// starts, so there is one thread, little memory to fork, and no open file of the tests. A separate
// program would have to be found; this one is /proc/self/exe.
#define _GNU_SOURCE
#include "internal.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

// In milliseconds. A step takes a fraction of one.
enum { STEP_LIMIT = 10000 };

static struct ko_shared *shared;

static void post(uint32_t process, uint32_t command, uint32_t step) {
  struct ko_mailbox *box = &shared->mailboxes[process];
  box->command = command;
  box->step = step;
  __atomic_add_fetch(&box->posted, 1, __ATOMIC_RELEASE);
  ko_wake(&box->posted);
}

// Waits until a process has done what was posted. Returns false if it has died or does not answer.
static int answered(uint32_t process) {
  struct ko_mailbox *box = &shared->mailboxes[process];
  for (int waited = 0; waited < STEP_LIMIT; waited += 1000) {
    for (;;) {
      uint32_t answer = __atomic_load_n(&box->answered, __ATOMIC_ACQUIRE);
      if (answer == box->posted) return 1;
      if (!ko_wait(&box->answered, answer, 1000)) break;
    }
    // WNOWAIT: a process that has died stays a zombie until `end` waits for it.
    siginfo_t information = {0};
    waitid(P_PID, (id_t)box->pid, &information, WEXITED | WNOHANG | WNOWAIT);
    if (information.si_pid) return 0;
  }
  return 0;
}

// Waits for a process that was told to leave, or kills it first. Its memory is free afterwards.
static void end(uint32_t process, int by_force) {
  pid_t pid = shared->mailboxes[process].pid;
  if (by_force) kill(pid, SIGKILL);
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
}

static int look(uint32_t live, uint32_t step, int first) {
  for (uint32_t p = 0; p < KO_PROCESSES; p++)
    if ((live >> p & 1) && (int)p != first) post(p, KO_LOOK, step);
  for (uint32_t p = 0; p < KO_PROCESSES; p++)
    if ((live >> p & 1) && (int)p != first && !answered(p)) return 0;
  return 1;
}

// Runs the steps. Returns a status and, in `live`, the processes that are left.
static enum ko_status perform(uint32_t *live) {
  for (uint32_t i = 0; i < shared->step_count; i++) {
    const struct ko_step *step = &shared->steps[i];
    struct ko_record *record = &shared->records[i];
    *record = (struct ko_record){.outcome = KO_NO_PROCESS, .live = *live};
    int occupied = step->kind == KO_FORK && (*live >> step->argument & 1);
    if (!(*live >> step->process & 1) || occupied) {
      // Shrinking removed the fork that made this process, or the exit that made room for a new one.
      if (!look(*live, i, -1)) return KO_HUNG;
      continue;
    }
    if (step->kind == KO_EXIT) {
      post(step->process, KO_LEAVE, i);
      end(step->process, 0);
      *live &= ~(1u << step->process);
      record->outcome = KO_OK;
      record->live = *live;
      if (!look(*live, i, -1)) return KO_HUNG;
      continue;
    }
    if (step->kind == KO_FORK) shared->mailboxes[step->argument] = (struct ko_mailbox){0};
    post(step->process, KO_PERFORM, i);
    if (!answered(step->process)) return KO_HUNG;
    if (step->kind == KO_FORK && record->outcome == KO_OK) *live |= 1u << step->argument;
    record->live = *live;
    if (!look(*live, i, step->process)) return KO_HUNG;
    if (shared->too_large) return KO_TOO_LARGE;
  }
  return KO_DONE;
}

static enum ko_status run(char *base) {
  if (!ko_has_scan()) return KO_NO_SCAN;
  shared->runs_used = shared->too_large = 0;
  shared->pages_elsewhere = 0;
  shared->growth = (struct ko_counters){0};
  memset(shared->mailboxes, 0, sizeof shared->mailboxes);
  pid_t pid = fork();
  if (pid < 0) return KO_NO_SERVER;
  if (!pid) ko_process(shared, base, 0);
  shared->mailboxes[0].pid = pid;
  uint32_t live = 1;
  struct ko_counters before, after;
  ko_read_counters(&before);
  enum ko_status status = perform(&live);
  ko_read_counters(&after);
  for (uint32_t p = 0; p < KO_PROCESSES; p++)
    if (live >> p & 1) end(p, 1);
  // A fork step that did not end may have left another process.
  while (waitpid(-1, NULL, WNOHANG) > 0) {}
  uint64_t *growth = (uint64_t *)&shared->growth;
  for (size_t i = 0; i < sizeof before / sizeof *growth; i++)
    growth[i] = ((uint64_t *)&after)[i] - ((uint64_t *)&before)[i];
  shared->growth.pages_elsewhere = shared->pages_elsewhere;
  return status;
}

// Finds a free range with a free slot on either side. Nothing else is mapped there later, since neither
// the server nor a process maps anything else.
static char *find_range(void) {
  const size_t slot = KO_SLOT_PAGES * KO_PAGE_SIZE;
  const size_t length = (KO_SLOTS + 3) * slot;
  char *raw = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return NULL;
  munmap(raw, length);
  return (char *)(((uintptr_t)raw + 2 * slot - 1) & ~(uintptr_t)(slot - 1));
}

static void serve(void) {
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, KO_MEMORY_DESCRIPTOR, 0);
  char *base = find_range();
  if (shared == MAP_FAILED || !base) return;
  char byte;
  // End of file means that the tests have ended, in whatever way.
  while (read(KO_SOCKET_DESCRIPTOR, &byte, 1) == 1) {
    shared->status = run(base);
    if (write(KO_SOCKET_DESCRIPTOR, &byte, 1) != 1) return;
  }
}

__attribute__((constructor)) static void take_over(void) {
  if (!getenv(KO_SERVER_VARIABLE)) return;
  serve();
  _exit(0);
}
