/* Tests the fibres by themselves, on every processor that they are written for: `scripts/fibres` runs
   this on the machine and, under emulation, on the other processor. The tests show that a switch keeps
   all callee-saved registers, that the stack of a new fibre is aligned, that the page below a stack is
   not accessible, and that a fibre may be left for good, even from the handler of a trap. */
#define _GNU_SOURCE
#include "fiber.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { fibres = 5, rounds = 20000, size = 64 << 10 };

#define require(condition, ...)                                \
  do {                                                         \
    if (!(condition)) {                                        \
      fprintf(stderr, "fibres: " __VA_ARGS__);                 \
      fprintf(stderr, " (%s, line %d)\n", #condition, __LINE__); \
      _exit(1);                                                \
    }                                                          \
  } while (0)

static il_context contexts[fibres + 1]; /* 0 is main */
static void *stacks[fibres + 1];
static int running;
static long checked;

/* Fills every callee-saved register with its own value of `values`, switches, and stores to `found` what
   the registers hold after the switch. In assembly, because a compiler may use the registers as it
   likes. */
void switch_with_registers(il_context *save, il_context load, const uint64_t *values,
                           uint64_t *found);

#if defined(__x86_64__)
enum { kept = 6 };
__asm__(
    ".text\n"
    "switch_with_registers:\n"
    " pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
    " pushq %rcx\n"
    " movq (%rdx),%rbx\n movq 8(%rdx),%rbp\n movq 16(%rdx),%r12\n"
    " movq 24(%rdx),%r13\n movq 32(%rdx),%r14\n movq 40(%rdx),%r15\n"
    " callq il_switch\n"
    " popq %rcx\n"
    " movq %rbx,(%rcx)\n movq %rbp,8(%rcx)\n movq %r12,16(%rcx)\n"
    " movq %r13,24(%rcx)\n movq %r14,32(%rcx)\n movq %r15,40(%rcx)\n"
    " popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n"
    " ret\n");
#elif defined(__aarch64__)
enum { kept = 19 }; /* x19-x29 without the link register, d8-d15 */
__asm__(
    ".text\n"
    "switch_with_registers:\n"
    " sub sp,sp,#176\n"
    " stp x19,x20,[sp]\n stp x21,x22,[sp,#16]\n stp x23,x24,[sp,#32]\n"
    " stp x25,x26,[sp,#48]\n stp x27,x28,[sp,#64]\n stp x29,x30,[sp,#80]\n"
    " stp d8,d9,[sp,#96]\n stp d10,d11,[sp,#112]\n"
    " stp d12,d13,[sp,#128]\n stp d14,d15,[sp,#144]\n str x3,[sp,#160]\n"
    " ldp x19,x20,[x2]\n ldp x21,x22,[x2,#16]\n ldp x23,x24,[x2,#32]\n"
    " ldp x25,x26,[x2,#48]\n ldp x27,x28,[x2,#64]\n ldr x29,[x2,#80]\n"
    " ldp d8,d9,[x2,#88]\n ldp d10,d11,[x2,#104]\n"
    " ldp d12,d13,[x2,#120]\n ldp d14,d15,[x2,#136]\n"
    " bl il_switch\n"
    " ldr x3,[sp,#160]\n"
    " stp x19,x20,[x3]\n stp x21,x22,[x3,#16]\n stp x23,x24,[x3,#32]\n"
    " stp x25,x26,[x3,#48]\n stp x27,x28,[x3,#64]\n str x29,[x3,#80]\n"
    " stp d8,d9,[x3,#88]\n stp d10,d11,[x3,#104]\n"
    " stp d12,d13,[x3,#120]\n stp d14,d15,[x3,#136]\n"
    " ldp x19,x20,[sp]\n ldp x21,x22,[sp,#16]\n ldp x23,x24,[sp,#32]\n"
    " ldp x25,x26,[sp,#48]\n ldp x27,x28,[sp,#64]\n ldp x29,x30,[sp,#80]\n"
    " ldp d8,d9,[sp,#96]\n ldp d10,d11,[sp,#112]\n"
    " ldp d12,d13,[sp,#128]\n ldp d14,d15,[sp,#144]\n"
    " add sp,sp,#176\n ret\n");
#endif

static void go(int next) {
  int self = running;
  uint64_t values[kept], found[kept];
  for (int i = 0; i < kept; i++) values[i] = 0x9E3779B97F4A7C15u * (uint64_t)(++checked);
  running = next;
  switch_with_registers(&contexts[self], contexts[next], values, found);
  require(running == self, "fibre %d came back as %d", self, running);
  for (int i = 0; i < kept; i++)
    require(values[i] == found[i], "fibre %d lost kept register %d", self, i);
}

/* Compiled code relies on the alignment of its stack. This checks the frame's address, because the
   compiler would assume that the address of a variable is aligned and drop the check. */
static inline __attribute__((always_inline)) void require_stack(void) {
  char *frame = __builtin_frame_address(0), *stack = stacks[running];
  require(((uintptr_t)frame & 15) == 0, "the stack of fibre %d is not aligned", running);
  require(frame > stack && frame < stack + size, "fibre %d runs on another stack", running);
}

static void body(void) {
  int self = running;
  require_stack();
  uint64_t sum = (uint64_t)self; /* a local across switches */
  for (int round = 0; round < rounds; round++) {
    sum += (uint64_t)round;
    int next = (self + round) % (fibres + 1);
    go(next == self ? 0 : next);
    require(self == running, "fibre %d became %d", self, running);
  }
  require(sum == (uint64_t)self + (uint64_t)rounds * (rounds - 1) / 2, "a local was lost");
  for (;;) go(0);
}

static void make(int fibre, void (*entry)(void)) {
  if (!stacks[fibre]) stacks[fibre] = il_stack_create(size);
  require(stacks[fibre], "no memory for a stack");
  contexts[fibre] = il_context_make(stacks[fibre], size, entry);
}

static void test_switches(void) {
  for (int fibre = 1; fibre <= fibres; fibre++) make(fibre, body);
  for (int round = 0; round < rounds; round++) go(1 + round % fibres);
}

/* A fibre that runs out of stack must crash and not write to the memory below. */
static volatile char *below;
static int overflow(int depth) {
  volatile char frame[512];
  frame[depth & 511] = (char)depth;
  return depth < 1 << 20 ? overflow(depth + 1) + frame[depth & 511] : 0;
}
static void overflowing(void) { _exit(overflow(0)); }
static void touching(void) {
  below[0] = 1;
  _exit(0);
}
/* Forks a child that can die quietly, without a core file or messages of an emulator. */
static pid_t fork_to_die(void) {
  pid_t child = fork();
  if (child == 0) {
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    close(STDERR_FILENO);
  }
  return child;
}
static void require_fault(void (*entry)(void), const char *what) {
  pid_t child = fork_to_die();
  if (child == 0) {
    make(1, entry);
    below = (char *)stacks[1] - 1;
    go(1);
    _exit(0);
  }
  int status;
  waitpid(child, &status, 0);
  require(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "%s did not fault: status %d", what,
          status);
}

/* A fibre is left in the middle of a function. Its stack can be unmapped, or used for a new fibre. */
static void half(void) {
  volatile char frame[4096];
  frame[0] = frame[4095] = 1;
  go(0);
  require(0, "an abandoned fibre was resumed");
}
static void test_abandoned(void) {
  for (int round = 0; round < 2000; round++) {
    make(1, half);
    go(1);
    if (round % 2) {
      il_stack_destroy(stacks[1], size);
      require(msync(stacks[1], 1, MS_ASYNC) != 0, "a stack stayed mapped");
      stacks[1] = 0;
    }
  }
}

/* The handler leaves a fibre that trapped by a switch. The next trap must still arrive. */
static int traps;
static void on_trap(void) {
  traps++;
  go(0);
}
static void trapping(void) { __builtin_trap(); }
static void test_traps(void) {
  il_set_current(&traps);
  il_catch_traps(on_trap);
  for (int round = 1; round <= 100; round++) {
    make(1, trapping);
    go(1);
    require(traps == round, "%d traps arrived of %d", traps, round);
  }
  il_set_current(0);
}
static void require_death_by_trap(void) {
  pid_t child = fork_to_die();
  if (child == 0) {
    il_set_current(0);
    __builtin_trap();
  }
  int status;
  waitpid(child, &status, 0);
  require(WIFSIGNALED(status) && (WTERMSIG(status) == SIGILL || WTERMSIG(status) == SIGTRAP),
          "a trap outside an exploration had status %d", status);
}

int main(void) {
  test_switches();
  require_fault(touching, "a write below the stack");
  require_fault(overflowing, "a stack overflow");
  test_abandoned();
  test_traps();
  require_death_by_trap();
  printf("%ld registers checked across switches, %d traps\n", checked, traps);
  return 0;
}
