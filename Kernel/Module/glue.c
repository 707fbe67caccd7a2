// SPDX-License-Identifier: GPL-2.0-only
/*
 * What only C can express: sections of the object file (module information, parameters, per-CPU
 * variables), tables of function pointers that are constant at link time, and calls with a variable
 * number of arguments. All decisions are made in Swift.
 */
#include <linux/module.h>
#include <generated/utsversion.h>
#include "kernel.h"

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("The reference-counted huge zero page in Swift, as a live patch");
MODULE_INFO(livepatch, "Y");

static char *kernel = UTS_VERSION;
module_param(kernel, charp, 0444);
MODULE_PARM_DESC(kernel, "the build of the kernel that this module was made for (uname -v)");

static char *lock_symbol = "huge_zero_lock";
module_param(lock_symbol, charp, 0444);
MODULE_PARM_DESC(lock_symbol, "the lock that keeps the kernel's zero page variables in step");

const char *hugezero_expected_kernel(void) { return kernel; }
const char *hugezero_lock_symbol(void) { return lock_symbol; }

void hugezero_say_missing(const char *symbol)
{
	pr_err("hugezero: this kernel has no symbol %s; nothing was changed\n", symbol);
}

void hugezero_say_other_kernel(const char *running)
{
	pr_err("hugezero: made for the kernel \"%s\", not \"%s\"; nothing was changed\n",
	       kernel, running);
}

DEFINE_PER_CPU(struct hugezero_statistics, hugezero_statistics);

struct hugezero_statistics hugezero_sum_statistics(void)
{
	struct hugezero_statistics sum = {};
	int cpu;

	for_each_possible_cpu(cpu) {
		struct hugezero_statistics *one = per_cpu_ptr(&hugezero_statistics, cpu);

		sum.gets += READ_ONCE(one->gets);
		sum.puts += READ_ONCE(one->puts);
		sum.allocations += READ_ONCE(one->allocations);
		sum.failures += READ_ONCE(one->failures);
		sum.lost_races += READ_ONCE(one->lost_races);
		sum.frees += READ_ONCE(one->frees);
	}
	return sum;
}

/* The Swift functions of Patch.swift. */
struct page *hugezero_get(struct mm_struct *mm);
void hugezero_put(struct mm_struct *mm);
unsigned long hugezero_shrinker_count(struct shrinker *shrinker, struct shrink_control *control);
unsigned long hugezero_shrinker_scan(struct shrinker *shrinker, struct shrink_control *control);

static struct klp_func functions[] = {
	{ .old_name = "mm_get_huge_zero_page", .new_func = hugezero_get },
	{ .old_name = "mm_put_huge_zero_page", .new_func = hugezero_put },
	{ .old_name = "shrink_huge_zero_page_count", .new_func = hugezero_shrinker_count },
	{ .old_name = "shrink_huge_zero_page_scan", .new_func = hugezero_shrinker_scan },
	{ }
};
static struct klp_object objects[] = { { .funcs = functions }, { } };
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

int hugezero_enable_patch(void) { return klp_enable_patch(&patch); }
