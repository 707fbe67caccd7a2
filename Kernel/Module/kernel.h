/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * The kernel's headers, and inline functions for what Swift cannot import: macros that cast or take
 * arguments, members of anonymous structures (Swift would compile their offsets to a trap), and
 * per-CPU variables.
 */
#include <linux/kprobes.h>
#include <linux/livepatch.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/sched/coredump.h>
#include <linux/seq_file.h>
#include <linux/shrinker.h>
#include <linux/spinlock.h>
#include <linux/utsname.h>
#include <linux/vmstat.h>

/* Defined in glue.c. README.md explains each field. */
struct hugezero_statistics {
	unsigned long gets, puts, allocations, failures, lost_races, frees;
};
DECLARE_PER_CPU(struct hugezero_statistics, hugezero_statistics);

#define HUGEZERO_COUNTER(name) \
static inline void hugezero_count_##name(void) { this_cpu_inc(hugezero_statistics.name); }
HUGEZERO_COUNTER(gets)
HUGEZERO_COUNTER(puts)
HUGEZERO_COUNTER(allocations)
HUGEZERO_COUNTER(failures)
HUGEZERO_COUNTER(lost_races)
HUGEZERO_COUNTER(frees)
struct hugezero_statistics hugezero_sum_statistics(void);

/* Returns 0 or a negative error. */
int hugezero_enable_patch(void);

/* Messages: printk takes a variable number of arguments. */
void hugezero_say_missing(const char *symbol);
void hugezero_say_other_kernel(const char *running);

/* Module parameters. */
const char *hugezero_expected_kernel(void);
const char *hugezero_lock_symbol(void);

static inline gfp_t hugezero_gfp(void)
{
	return (GFP_TRANSHUGE | __GFP_ZERO) & ~__GFP_MOVABLE;
}
static inline unsigned int hugezero_order(void) { return HPAGE_PMD_ORDER; }
static inline unsigned long hugezero_pages(void) { return HPAGE_PMD_NR; }
static inline unsigned long hugezero_page_to_pfn(struct page *page) { return page_to_pfn(page); }
static inline struct page *hugezero_pfn_to_page(unsigned long pfn) { return pfn_to_page(pfn); }

static inline bool hugezero_test_flag(struct mm_struct *mm)
{
	return test_bit(MMF_HUGE_ZERO_PAGE, &mm->flags);
}
static inline bool hugezero_test_and_set_flag(struct mm_struct *mm)
{
	return test_and_set_bit(MMF_HUGE_ZERO_PAGE, &mm->flags);
}
static inline const char *hugezero_running_kernel(void) { return init_utsname()->version; }
