/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the build system puts before every C file; then the headers. Swift gets them by an import:
 * on the command line they would come before Swift's own headers too, and break them.
 */
#include <linux/compiler-version.h>
#include <linux/kconfig.h>
#include <linux/compiler_types.h>
#include "kernel.h"
