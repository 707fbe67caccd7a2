// SPDX-License-Identifier: GPL-2.0-only
/*
 * code FUNCTION...: prints the instructions of functions of the running kernel, as patched at boot, for
 * the host to disassemble. Each has a line "code: NAME ADDRESS BYTES", with address and bytes in
 * hexadecimal.
 */
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Finds where a function begins, and where the next symbol does. */
static int find(const char *wanted, unsigned long *begin, unsigned long *end)
{
	char line[512], name[256];
	unsigned long address;

	*begin = 0, *end = ~0UL;
	for (int pass = 0; pass < 2; pass++) {
		FILE *symbols = fopen("/proc/kallsyms", "r");

		while (symbols && fgets(line, sizeof line, symbols)) {
			if (sscanf(line, "%lx %*c %255s", &address, name) != 2)
				continue;
			if (pass == 0 && !strcmp(name, wanted))
				*begin = address;
			if (pass == 1 && address > *begin && address < *end)
				*end = address;
		}
		if (symbols)
			fclose(symbols);
	}
	return *begin && *end - *begin < 4096;
}

/* Reads kernel memory through the segments of the core file. */
static int read_kernel(unsigned long address, unsigned char *bytes, size_t count)
{
	int core = open("/proc/kcore", O_RDONLY), found = 0;
	Elf64_Ehdr header;
	Elf64_Phdr segment;

	if (core < 0 || pread(core, &header, sizeof header, 0) != sizeof header)
		return 0;
	for (int i = 0; i < header.e_phnum && !found; i++) {
		if (pread(core, &segment, sizeof segment, header.e_phoff + i * sizeof segment) != sizeof segment)
			break;
		if (segment.p_type == PT_LOAD && address >= segment.p_vaddr
		    && address + count <= segment.p_vaddr + segment.p_memsz)
			found = pread(core, bytes, count, segment.p_offset + address - segment.p_vaddr)
				== (ssize_t)count;
	}
	close(core);
	return found;
}

int main(int count, char **names)
{
	unsigned char bytes[4096];
	unsigned long begin, end;

	for (int i = 1; i < count; i++) {
		if (!find(names[i], &begin, &end) || !read_kernel(begin, bytes, end - begin)) {
			printf("%s: no such function, or it cannot be read\n", names[i]);
			return 1;
		}
		printf("code: %s %lx ", names[i], begin);
		for (unsigned long j = 0; j < end - begin; j++)
			printf("%02x", bytes[j]);
		putchar('\n');
	}
	return 0;
}
