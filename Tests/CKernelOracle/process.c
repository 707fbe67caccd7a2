// One process of a program. It performs its own steps and looks at its memory when it is told to.
// Nothing here allocates or maps memory except for a step.
#define _GNU_SOURCE
#include "internal.h"
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

void ko_wake(uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE, 1 << 20, NULL, NULL, 0); }

int ko_wait(uint32_t *word, uint32_t value, uint32_t milliseconds) {
  struct timespec limit = {milliseconds / 1000, milliseconds % 1000 * 1000000l};
  if (!syscall(SYS_futex, word, FUTEX_WAIT, value, &limit, NULL, 0)) return 1;
  return errno != ETIMEDOUT;
}

static sigjmp_buf escape;
static volatile sig_atomic_t fault_code;

static void on_fault(int signal, siginfo_t *information, void *context) {
  (void)signal, (void)context;
  fault_code = information->si_code;
  siglongjmp(escape, 1);
}

// SA_NODEFER leaves the signal mask alone, so that a jump out of the handler costs no system call.
static void catch_faults(void) {
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGBUS, &action, NULL);
}

uint64_t ko_guarded_digest(const char *page, int thorough) {
  if (sigsetjmp(escape, 0)) return KO_UNREADABLE;
  return ko_digest(page, thorough);
}

static int32_t access_word(const struct ko_step *step, char *base, uint64_t *value) {
  volatile uint64_t *word = (volatile uint64_t *)(base + step->first * KO_PAGE_SIZE +
                                                  (size_t)step->word * KO_WORD_STRIDE);
  if (sigsetjmp(escape, 0)) return fault_code == SEGV_ACCERR ? KO_DENIED : KO_NOT_MAPPED;
  if (step->kind == KO_WRITE)
    *word = step->stamp;
  else
    *value = *word;
  return KO_OK;
}

static const int protections[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE};
static const int advices[] = {MADV_HUGEPAGE, MADV_NOHUGEPAGE,    MADV_DONTNEED,
                              MADV_COLLAPSE, MADV_POPULATE_READ, MADV_POPULATE_WRITE};

static int32_t call(const struct ko_step *step, char *base) {
  char *start = base + step->first * KO_PAGE_SIZE;
  size_t length = step->count * KO_PAGE_SIZE;
  void *result = NULL;
  switch (step->kind) {
  case KO_MAP:
    result = mmap(start, length, protections[step->argument],
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    break;
  case KO_MOVE:
    result = mremap(start, length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
                    base + step->target * KO_PAGE_SIZE);
    break;
  case KO_UNMAP: return munmap(start, length) ? errno : KO_OK;
  case KO_PROTECT: return mprotect(start, length, protections[step->argument]) ? errno : KO_OK;
  case KO_ADVISE: return madvise(start, length, advices[step->argument]) ? errno : KO_OK;
  default: return EINVAL;
  }
  return result == MAP_FAILED ? errno : KO_OK;
}

static struct ko_sight sight;

static void begin(uint32_t index, struct ko_shared *shared) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // In case the server died before that call.
  if (getppid() == 1) _exit(1);
  shared->mailboxes[index].pid = getpid();
  if (!ko_open_pagemap(&sight)) _exit(1);
}

static uint32_t slots(uint32_t first, uint32_t count) {
  uint32_t bits = 0;
  for (uint32_t slot = first / KO_SLOT_PAGES; slot * KO_SLOT_PAGES < first + count; slot++)
    bits |= 1u << slot;
  return bits;
}

static uint32_t touched(const struct ko_step *step) {
  if (step->kind == KO_FORK || step->kind == KO_EXIT) return 0;
  return slots(step->first, step->count) |
         (step->kind == KO_MOVE ? slots(step->target, step->count) : 0);
}

// Performs the posted command. A fork also returns in the child, which goes on in the same loop as
// another process.
static void answer(struct ko_shared *shared, uint32_t *index) {
  struct ko_mailbox *box = &shared->mailboxes[*index];
  uint32_t i = box->step;
  const struct ko_step *step = &shared->steps[i];
  struct ko_record *record = &shared->records[i];
  if (box->command == KO_LEAVE) _exit(0);
  if (box->command == KO_PERFORM) {
    if (step->kind == KO_READ || step->kind == KO_WRITE) {
      record->outcome = access_word(step, sight.base, &record->value);
    } else if (step->kind == KO_FORK) {
      // CLONE_PARENT: all processes are children of the server, so it can wait for each of them.
      long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
      if (pid == 0) {
        *index = step->argument;
        close(sight.pagemap);
        begin(*index, shared);
        return;
      }
      if (pid > 0) shared->mailboxes[step->argument].pid = (pid_t)pid;
      record->outcome = pid < 0 ? errno : KO_OK;
    } else {
      record->outcome = call(step, sight.base);
    }
  }
  int last = i + 1 == shared->step_count;
  ko_look(&sight, shared, last ? (1u << KO_SLOTS) - 1 : touched(step), last);
  record->runs_start[*index] = sight.runs_start;
  record->runs_count[*index] = sight.runs_count;
  __atomic_store_n(&box->answered, box->posted, __ATOMIC_RELEASE);
  ko_wake(&box->answered);
}

_Noreturn void ko_process(struct ko_shared *shared, char *base, uint32_t index) {
  sight.base = base;
  catch_faults();
  begin(index, shared);
  for (;;) {
    struct ko_mailbox *box = &shared->mailboxes[index];
    uint32_t posted = __atomic_load_n(&box->posted, __ATOMIC_ACQUIRE);
    if (posted == box->answered)
      ko_wait(&box->posted, posted, 1000);
    else
      answer(shared, &index);
  }
}
