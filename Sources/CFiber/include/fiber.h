#pragma once
#include <stddef.h>

/* Fibres: several stacks on one OS thread, switched by a dozen instructions (8 ns against
   2-20 us for semaphores between threads). x86-64 and aarch64.

   A switch saves what the ABI says a callee keeps. It does not touch signal masks or floating
   point control words. */

/* A suspended fibre: its stack pointer, under which its registers lie. */
typedef void *il_context;

/* A stack with an inaccessible page below it; NULL if there is no memory. */
void *il_stack_create(size_t size);
void il_stack_destroy(void *stack, size_t size);

/* A fibre that will call `entry` on `stack`. `entry` must never return. */
il_context il_context_make(void *stack, size_t size, void (*entry)(void));

/* Suspends the caller into `*save` and resumes `load`. */
void il_switch(il_context *save, il_context load);

/* One pointer per OS thread: the explorer that runs on it. */
void *il_current(void);
void il_set_current(void *explorer);

/* Calls `handler` for a trap (SIGILL, SIGTRAP) on an OS thread that has a current explorer. If
   it returns, or elsewhere, the trap goes where it would have gone. Idempotent. */
void il_catch_traps(void (*handler)(void));
