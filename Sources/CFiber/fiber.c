#define _GNU_SOURCE
#include "fiber.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

void il_start(void);

#if defined(__x86_64__)
/* Callee-saved registers: rbx, rbp, r12-r15. A new fibre finds its entry in rbx. */
__asm__(
    ".text\n"
    ".globl il_switch\n.type il_switch,@function\n"
    "il_switch:\n"
    " pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
    " movq %rsp,(%rdi)\n movq %rsi,%rsp\n"
    " popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n"
    " ret\n"
    ".size il_switch,.-il_switch\n"
    ".type il_start,@function\n"
    "il_start:\n"
    " xorl %ebp,%ebp\n callq *%rbx\n ud2\n"
    ".size il_start,.-il_start\n");

il_context il_context_make(void *stack, size_t size, void (*entry)(void)) {
  void **top = (void **)(((uintptr_t)stack + size) & ~(uintptr_t)15);
  *--top = 0; /* il_start begins with the stack aligned, as after a ret */
  *--top = 0;
  *--top = (void *)il_start; /* ret */
  *--top = 0;                /* rbp */
  *--top = (void *)entry;    /* rbx */
  for (int i = 0; i < 4; i++) *--top = 0;
  return top;
}
#elif defined(__aarch64__)
/* Callee-saved registers: x19-x30, d8-d15. A new fibre finds its entry in x19. */
__asm__(
    ".text\n"
    ".globl il_switch\n.type il_switch,%function\n"
    "il_switch:\n"
    " sub sp,sp,#160\n"
    " stp x19,x20,[sp]\n stp x21,x22,[sp,#16]\n stp x23,x24,[sp,#32]\n"
    " stp x25,x26,[sp,#48]\n stp x27,x28,[sp,#64]\n stp x29,x30,[sp,#80]\n"
    " stp d8,d9,[sp,#96]\n stp d10,d11,[sp,#112]\n"
    " stp d12,d13,[sp,#128]\n stp d14,d15,[sp,#144]\n"
    " mov x9,sp\n str x9,[x0]\n mov sp,x1\n"
    " ldp x19,x20,[sp]\n ldp x21,x22,[sp,#16]\n ldp x23,x24,[sp,#32]\n"
    " ldp x25,x26,[sp,#48]\n ldp x27,x28,[sp,#64]\n ldp x29,x30,[sp,#80]\n"
    " ldp d8,d9,[sp,#96]\n ldp d10,d11,[sp,#112]\n"
    " ldp d12,d13,[sp,#128]\n ldp d14,d15,[sp,#144]\n"
    " add sp,sp,#160\n ret\n"
    ".size il_switch,.-il_switch\n"
    ".globl il_start\n.type il_start,%function\n"
    "il_start:\n"
    " blr x19\n brk #1\n"
    ".size il_start,.-il_start\n");

il_context il_context_make(void *stack, size_t size, void (*entry)(void)) {
  uint64_t *frame = (uint64_t *)((((uintptr_t)stack + size) & ~(uintptr_t)15) - 160);
  for (int i = 0; i < 20; i++) frame[i] = 0;
  frame[0] = (uint64_t)entry;     /* x19 */
  frame[11] = (uint64_t)il_start; /* x30 */
  return frame;
}
#else
#error "fibres: x86-64 and aarch64 only"
#endif

void *il_stack_create(size_t size) {
  size_t guard = (size_t)sysconf(_SC_PAGESIZE);
  char *base = mmap(0, size + guard, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (base == MAP_FAILED) return 0;
  if (mprotect(base, guard, PROT_NONE) != 0) {
    munmap(base, size + guard);
    return 0;
  }
  return base + guard;
}

void il_stack_destroy(void *stack, size_t size) {
  size_t guard = (size_t)sysconf(_SC_PAGESIZE);
  munmap((char *)stack - guard, size + guard);
}

void il_stack_abandon(void *stack) {
  size_t guard = (size_t)sysconf(_SC_PAGESIZE);
  mprotect((char *)stack - guard, guard, PROT_READ | PROT_WRITE);
}

static __thread void *current;
void *il_current(void) { return current; }
void il_set_current(void *explorer) { current = explorer; }

static void (*trap_handler)(void);
static struct sigaction former_ill, former_trap;

static void on_trap(int signal) {
  if (current) trap_handler();
  /* Not ours: restore the former action. The instruction runs again and traps into it. */
  sigaction(signal, signal == SIGILL ? &former_ill : &former_trap, 0);
}

static void install(void) {
  /* NODEFER: the handler may leave by a switch of fibres, and the next trap must still arrive. */
  struct sigaction action = {.sa_handler = on_trap, .sa_flags = SA_NODEFER};
  sigaction(SIGILL, &action, &former_ill);
  sigaction(SIGTRAP, &action, &former_trap);
}

void il_catch_traps(void (*handler)(void)) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  trap_handler = handler;
  pthread_once(&once, install);
}
