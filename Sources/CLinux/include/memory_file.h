// Files that hold memory, and the process that keeps one: mounts that nobody else sees, seals, and a
// child that outlives its parent.
#ifndef HUGEMEMORY_MEMORY_FILE_H
#define HUGEMEMORY_MEMORY_FILE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Why no file was made: the step, and an errno, or the signal that ended the child that tried.
struct hm_refusal { const char *step; int error; int signal; };
/// Makes a file without a name on a tmpfs of its own, which is not mounted anywhere, has no limit of size,
/// and gives huge pages to mappings with MADV_HUGEPAGE. That needs CAP_SYS_ADMIN, or a user namespace. A
/// child does it, since only a process with one thread may enter a namespace, and since a filter of system
/// calls may end the process that tries. Returns the descriptor, or -1 with the refusal.
int hm_tmpfs_file(struct hm_refusal *refusal);
/// Makes a memfd that can grow but never shrink, so that no process can make another trap in its
/// mapping. Returns the descriptor, or minus the errno.
int hm_memfd(const char *name);
/// Opens what a descriptor refers to once more, to read and write: an open file description of one's
/// own, which a lock of flock(2) belongs to. Returns the descriptor, or minus the errno.
int hm_reopen(int descriptor);
/// Whether a file can never shrink (F_SEAL_SHRINK).
bool hm_never_shrinks(int descriptor);
/// Whether the system would back a mapping of this file with pages of 2 MiB: 1, 0, or -1 if it does not
/// say. Touches no memory.
int hm_is_huge(int descriptor);
/// What a file system is, by its magic number.
enum hm_file_system { HM_OTHER, HM_TMPFS, HM_HUGETLBFS };
/// Where a file is, and the bytes that its file system has free, in all, and in a page. Without a limit of
/// size, the first two are 0 on a tmpfs and on hugetlbfs. Returns 0 or the errno.
struct hm_place { enum hm_file_system kind; unsigned long magic; uint64_t free, total, page; };
int hm_place_of(int descriptor, struct hm_place *place);
/// Finds the next bytes of a file, from an offset on, that have memory or disk behind them. Returns 0, or
/// the errno: ENXIO if there are none, EOPNOTSUPP if the file system does not say.
int hm_next_data(int descriptor, int64_t from, int64_t *start, int64_t *end);
/// Touches every page of a range for writing. Where a file system is full, this returns EFAULT, and a
/// write to the range would end the process with SIGBUS. Returns 0 or the errno.
int hm_populate(void *address, size_t length);
/// The major and the minor number of a device, as in /proc/locks.
void hm_device_numbers(uint64_t device, unsigned *major, unsigned *minor);
/// Starts a program in a session of its own, in the directory /, with no environment but the path of libraries,
/// no signals blocked or ignored, and no descriptors but /dev/null for 0 to 2 and the given ones from 3 on. Stores its process
/// number. Returns 0 or the errno.
int hm_spawn_apart(const char *program, char *const arguments[], const int *descriptors, int count, int *process);
#endif
