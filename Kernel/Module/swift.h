/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The headers that the build system includes before every C file, and then the kernel's. Swift gets
 * them by an import. On the command line they would also come before Swift's own headers and break
 * those.
 */
#include <linux/compiler-version.h>
#include <linux/kconfig.h>
#include <linux/compiler_types.h>
#include "kernel.h"
