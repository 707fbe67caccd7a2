// SPDX-License-Identifier: GPL-2.0-only
/*
 * The programs that the tests run in the virtual machine. Each checks its own memory through
 * /proc/self/pagemap and /proc/kpageflags. If something is wrong, it says what, and exits with 1.
 *
 *   zeropage scenario             reads 200 MiB of untouched advised memory
 *   zeropage operations           writes, forks, discards, protects and moves, one after the other
 *   zeropage threads ROUNDS       frees the page, then 8 threads of a new process fault at once
 *   zeropage hold                 holds the page until standard input ends
 *   zeropage stress N SECONDS     N processes read, write, fork, discard and exit; 0: one round
 *   zeropage faults N SECONDS     prints the read faults per second of N processes
 *   zeropage processes N SECONDS  prints how many processes per second read one page and exit, N at a
 *                                 time
 *   zeropage instructions-fault ROUNDS, instructions-process ROUNDS
 *                                 print the instructions of one such fault or process
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HUGE (2UL << 20)
#define SMALL 4096UL
#define TOUCH(address) ((void)*(volatile char *)(address))

static void fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	fflush(stdout);
	_exit(1);
}
#define expect(condition, ...) do { if (!(condition)) fail(__VA_ARGS__); } while (0)

/* Reads a figure of /proc/vmstat, /proc/hugezero or a similar file; -1 if the file or name is missing. */
static long figure(const char *path, const char *name)
{
	char line[256];
	size_t length = strlen(name);
	long value = -1;
	FILE *file = fopen(path, "r");

	if (!file)
		return -1;
	while (fgets(line, sizeof line, file))
		if (!strncmp(line, name, length) && (line[length] == ' ' || line[length] == ':'))
			value = atol(line + length + 1);
	fclose(file);
	return value;
}
static long vmstat(const char *name) { return figure("/proc/vmstat", name); }

static uint64_t read64(const char *path, uint64_t index)
{
	uint64_t value = 0;
	int file = open(path, O_RDONLY);

	expect(file >= 0 && pread(file, &value, 8, index * 8) == 8, "%s: %s", path, strerror(errno));
	close(file);
	return value;
}

/* The frame that is mapped at an address, or 0 if none is. */
static uint64_t frame(const void *address)
{
	uint64_t entry = read64("/proc/self/pagemap", (uintptr_t)address / SMALL);

	return entry >> 63 ? entry & ((1UL << 55) - 1) : 0;
}
static int is_huge_zero(const void *address)
{
	uint64_t at = frame(address), flags = at ? read64("/proc/kpageflags", at) : 0;

	return (flags >> 24 & 1) && (flags >> 22 & 1);
}
static int is_zero(const char *memory, size_t size)
{
	return !memory[0] && !memcmp(memory, memory + 1, size - 1);
}

static char *region(size_t size)
{
	char *all = mmap(NULL, size + HUGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *aligned = (char *)(((uintptr_t)all + HUGE - 1) & ~(HUGE - 1));

	expect(all != MAP_FAILED, "mmap: %s", strerror(errno));
	expect(!madvise(aligned, size, MADV_HUGEPAGE), "madvise: %s", strerror(errno));
	return aligned;
}

/* Runs a function in a process of its own, since the reference belongs to the process. */
static int in_child(void (*body)(void))
{
	int status;
	pid_t child = (fflush(stdout), fork());

	if (!child) {
		body();
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, &status, 0);
	return status;
}

static void scenario(void)
{
	const size_t size = 200UL << 20;
	long allocated = vmstat("thp_zero_page_alloc"), data = vmstat("thp_fault_alloc");
	char *memory = region(size);
	long resident = figure("/proc/self/status", "VmRSS");
	uint64_t zero;

	for (size_t at = 0; at < size; at += SMALL)
		expect(!memory[at], "byte %zu is not zero", at);
	resident = figure("/proc/self/status", "VmRSS") - resident;
	allocated = vmstat("thp_zero_page_alloc") - allocated;
	expect(resident < 1024, "200 MiB of reads cost %ld KiB", resident);
	expect(allocated == 1, "thp_zero_page_alloc grew by %ld", allocated);
	expect(vmstat("thp_fault_alloc") == data, "a read allocated a huge page of data");
	zero = frame(memory);
	for (size_t at = 0; at < size; at += HUGE)
		expect(is_huge_zero(memory + at) && frame(memory + at) == zero,
		       "page %zu is not the huge zero page", at / HUGE);
	expect(figure("/proc/self/smaps_rollup", "AnonHugePages") == 0, "counted as huge data");
	if (figure("/proc/hugezero", "count") >= 0) {
		expect(figure("/proc/hugezero", "frame") == (long)zero, "the module has another frame");
		expect(figure("/proc/hugezero", "count") == 2, "the count is %ld",
		       figure("/proc/hugezero", "count"));
	}
	printf("figure: 200 MiB read: %ld KiB resident, %ld huge zero page allocated\n",
	       resident, allocated);
}

static void shrink(void)
{
	int file = open("/proc/sys/vm/drop_caches", O_WRONLY);

	expect(write(file, "2", 1) == 1, "drop_caches");
	close(file);
}

static char *shared_memory;
static uint64_t shared_frame;

static void writing_child(void)
{
	char *memory = shared_memory;
	long count = figure("/proc/hugezero", "count");

	TOUCH(memory);
	expect(frame(memory) == shared_frame, "the child sees another page");
	expect(count < 0 || figure("/proc/hugezero", "count") == 3,
	       "two processes, but the count is %ld", figure("/proc/hugezero", "count"));
	memset(memory + 2 * HUGE, 0x5a, HUGE);
	expect(!is_huge_zero(memory + 2 * HUGE), "the child wrote the zero page");
	expect(is_zero(memory, 2 * HUGE) && is_zero(memory + 3 * HUGE, HUGE), "not zero any more");
}

static void operations(void)
{
	const size_t size = 16 * HUGE;
	char *memory = shared_memory = region(size), *other, *moved;

	for (size_t at = 0; at < size; at += HUGE)
		TOUCH(memory + at);
	shared_frame = frame(memory);
	expect(is_huge_zero(memory) && is_zero(memory, size), "not the huge zero page");

	/* fork: the child maps the page, takes its own reference on a fault, writes a copy. */
	expect(!in_child(writing_child), "in the child");
	expect(frame(memory + 2 * HUGE) == shared_frame && is_zero(memory, size),
	       "the child's write is seen");

	/* write */
	memory[5 * HUGE + 123] = 7;
	expect(!is_huge_zero(memory + 5 * HUGE) && memory[5 * HUGE + 123] == 7, "write");
	memory[5 * HUGE + 123] = 0;
	expect(is_zero(memory + 5 * HUGE, HUGE), "the copy was not zero");

	/* discard: the page is absent, then the zero page again; a discard of a part leaves small entries */
	madvise(memory + 10 * HUGE, HUGE, MADV_DONTNEED);
	expect(!frame(memory + 10 * HUGE), "still there after a discard");
	TOUCH(memory + 10 * HUGE);
	expect(frame(memory + 10 * HUGE) == shared_frame, "another page after a discard");
	madvise(memory + 6 * HUGE + 3 * SMALL, SMALL, MADV_DONTNEED);
	expect(!frame(memory + 6 * HUGE + 3 * SMALL), "discard of a part");
	expect(frame(memory + 6 * HUGE) && !is_huge_zero(memory + 6 * HUGE), "split");
	memory[6 * HUGE + 9 * SMALL] = 1;
	expect(memory[6 * HUGE + 9 * SMALL] == 1 && is_zero(memory + 6 * HUGE, 9 * SMALL), "split write");

	/* protect: if whole, and back, it stays huge and is never written; protection of a part splits it */
	mprotect(memory + 7 * HUGE, HUGE, PROT_READ);
	expect(is_huge_zero(memory + 7 * HUGE), "read-only");
	mprotect(memory + 7 * HUGE, HUGE, PROT_READ | PROT_WRITE);
	memory[7 * HUGE] = 1;
	expect(!is_huge_zero(memory + 7 * HUGE) && !memory[8 * HUGE], "a write through to the zero page");
	mprotect(memory + 8 * HUGE, 4 * SMALL, PROT_READ);
	expect(!is_huge_zero(memory + 8 * HUGE) && is_zero(memory + 8 * HUGE, HUGE), "split by mprotect");

	/* move: the entry moves whole */
	other = region(HUGE);
	moved = mremap(memory + 9 * HUGE, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, other);
	expect(moved == other && frame(moved) == shared_frame, "mremap");
	expect(!frame(memory + 9 * HUGE), "left behind by mremap");

	/* The shrinker does not free a page that is held. */
	shrink();
	expect(frame(memory) == shared_frame && is_huge_zero(memory) && is_zero(memory, HUGE),
	       "freed while mapped");
}

static pthread_barrier_t barrier;
static void *faulting_thread(void *argument)
{
	pthread_barrier_wait(&barrier);
	TOUCH(argument);
	return NULL;
}
static void threads_once(void)
{
	pthread_t threads[8];
	char *memory = region(8 * HUGE);

	pthread_barrier_init(&barrier, NULL, 8);
	for (int i = 0; i < 8; i++)
		pthread_create(&threads[i], NULL, faulting_thread, memory + i * HUGE);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 8; i++)
		expect(is_huge_zero(memory + i * HUGE) && frame(memory + i * HUGE) == frame(memory),
		       "two zero pages");
}

static void hold(void)
{
	char *memory = region(4 * HUGE), byte;

	for (int i = 0; i < 4; i++)
		TOUCH(memory + i * HUGE);
	shared_frame = frame(memory);
	expect(is_huge_zero(memory), "no zero page to hold");
	puts("held");
	fflush(stdout);
	while (read(0, &byte, 1) > 0) { }
	expect(is_huge_zero(memory) && frame(memory) == shared_frame && is_zero(memory, 4 * HUGE),
	       "the zero page changed while it was held");
}

static void stress_once(void)
{
	unsigned seed = getpid();
	char *memory = region(4 * HUGE);

	for (int i = 0; i < 6; i++) {
		char *at = memory + rand_r(&seed) % 4 * HUGE;

		switch (rand_r(&seed) % 4) {
		case 0:
			TOUCH(at);
			at[rand_r(&seed) % HUGE] = 1;
			break;
		case 1: madvise(at, HUGE, MADV_DONTNEED); break;
		case 2:
			madvise(at, HUGE, MADV_DONTNEED);
			for (size_t byte = 0; byte < HUGE; byte += SMALL)
				expect(!at[byte], "untouched memory is not zero");
			break;
		default:
			if (!fork()) {
				TOUCH(at);
				at[1] = 2;
				_exit(0);
			}
		}
	}
	while (wait(NULL) > 0) { }
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec * 1e-9;
}

/* Runs `body` again and again in `processes` processes. Returns how often per second in all of them. */
static double repeated(int processes, double seconds, void (*body)(void))
{
	volatile long *done = mmap(NULL, SMALL, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double start = now(), sum = 0;
	int status, failures = 0;

	for (int i = 0; i < processes; i++)
		if (!fork()) {
			while (now() - start < seconds) {
				body();
				done[i]++;
			}
			_exit(0);
		}
	while (wait(&status) > 0)
		failures += status != 0;
	expect(!failures, "%d of %d processes failed", failures, processes);
	seconds = now() - start;
	for (int i = 0; i < processes; i++)
		sum += done[i];
	return sum / seconds;
}

/*
 * Prints how many instructions one fault takes, or one process that reads a page and exits, in a virtual
 * machine whose clock counts instructions. Each call of `body` does `each` of them.
 */
static void instructions(int rounds, int each, void (*body)(void))
{
	double start;

	body();
	start = now();
	for (int i = 0; i < rounds; i++)
		body();
	printf("%.0f\n", (now() - start) * 1e9 / rounds / each);
}

#define FAULTS 64
static void faults_once(void)
{
	static char *memory;

	if (!memory)
		memory = region(FAULTS * HUGE);
	for (size_t i = 0; i < FAULTS; i++)
		TOUCH(memory + i * HUGE);
	madvise(memory, FAULTS * HUGE, MADV_DONTNEED);
}
static void touch_once(void) { TOUCH(region(HUGE)); }
static void process_once(void) { expect(!in_child(touch_once), "a child failed"); }

/*
 * Runs in rounds. At the start of a round all processes fault at once and there may be no page yet, so
 * the getters race. At the end of a round nobody holds the page, so the shrinker can free it.
 */
static void stress(int processes, double seconds)
{
	struct { pthread_barrier_t barrier; volatile int stop; volatile long rounds; } *shared =
		mmap(NULL, SMALL, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_barrierattr_t attributes;
	double start = now();
	int status, failures = 0;

	/* Yields to the shell that enables and disables the patch. Otherwise that takes most of the time. */
	expect(nice(19) == 19, "nice");
	pthread_barrierattr_init(&attributes);
	pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&shared->barrier, &attributes, processes);
	for (int i = 0; i < processes; i++)
		if (!fork()) {
			for (;;) {
				pthread_barrier_wait(&shared->barrier);
				if (shared->stop)
					_exit(failures != 0);
				failures += in_child(stress_once) != 0;
				pthread_barrier_wait(&shared->barrier);
				if (i == 0) {
					shrink();
					shared->rounds++;
					shared->stop = now() - start > seconds;
				}
			}
		}
	while (wait(&status) > 0)
		failures += status != 0;
	expect(!failures, "%d of %d processes failed", failures, processes);
	printf("figure: %ld rounds of %d processes\n", shared->rounds, processes);
}

int main(int count, char **arguments)
{
	const char *what = count > 1 ? arguments[1] : "";
	int number = count > 2 ? atoi(arguments[2]) : 1;
	double seconds = count > 3 ? atof(arguments[3]) : 1;

	if (!strcmp(what, "scenario"))
		scenario();
	else if (!strcmp(what, "operations"))
		operations();
	else if (!strcmp(what, "threads"))
		while (number--) {
			/* Without a page all threads allocate, and race to publish and to set the flag. */
			shrink();
			expect(!in_child(threads_once), "round %d from the end", number);
		}
	else if (!strcmp(what, "hold"))
		hold();
	else if (!strcmp(what, "stress"))
		stress(number, seconds);
	else if (!strcmp(what, "faults"))
		printf("%.0f\n", repeated(number, seconds, faults_once) * FAULTS);
	else if (!strcmp(what, "processes"))
		printf("%.0f\n", repeated(number, seconds, process_once));
	else if (!strcmp(what, "instructions-fault"))
		instructions(number, FAULTS, faults_once);
	else if (!strcmp(what, "instructions-process"))
		instructions(number, 1, process_once);
	else
		fail("usage: see the source");
	return 0;
}
