#pragma once
#include <stddef.h>

/* Fibres: several stacks on one OS thread. A switch takes a dozen instructions (8 ns, against
   2-20 us for semaphores between threads). x86-64 and aarch64.

   A switch saves the registers that the ABI calls callee-saved. It does not touch signal masks or
   floating point control words. */

/* A suspended fibre: its stack pointer, which points to its saved registers. */
typedef void *il_context;

/* Makes a stack with an inaccessible page below it. Returns NULL if there is no memory. */
void *il_stack_create(size_t size);
void il_stack_destroy(void *stack, size_t size);
/* Gives up the page below a stack that nobody runs on any more, but whose contents stay. So the system can
   join it with others like it: a process may have only some ten thousand mappings. */
void il_stack_abandon(void *stack);

/* Makes a fibre that will call `entry` on `stack`. `entry` must never return. */
il_context il_context_make(void *stack, size_t size, void (*entry)(void));

/* Suspends the caller into `*save` and resumes `load`. */
void il_switch(il_context *save, il_context load);

/* The explorer that runs on this OS thread: one pointer per thread. */
void *il_current(void);
void il_set_current(void *explorer);

/* Calls `handler` for a trap (SIGILL, SIGTRAP) on an OS thread that has a current explorer. If the
   handler returns, or if the thread has no explorer, the trap goes to the former action. A second
   call is harmless. */
void il_catch_traps(void (*handler)(void));
