// Reads the system's counters of huge pages. Nothing here allocates.
#include "internal.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
  const char *name;
  size_t offset;
} fields[] = {
#define FIELD(name) {"\n" #name " ", offsetof(struct ko_counters, name)}
    FIELD(thp_zero_page_alloc), FIELD(thp_fault_alloc),    FIELD(thp_fault_fallback),
    FIELD(thp_split_pmd),       FIELD(thp_split_page),     FIELD(thp_collapse_alloc),
    FIELD(thp_deferred_split_page),
#undef FIELD
};

static size_t read_file(const char *path, char *text, size_t size) {
  size_t length = 0;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file >= 0) {
    ssize_t piece;
    while ((piece = read(file, text + length, size - 1 - length)) > 0) length += (size_t)piece;
    close(file);
  }
  text[length] = 0;
  return length;
}

void ko_read_counters(struct ko_counters *counters) {
  static char text[1 << 16];
  memset(counters, 0, sizeof *counters);
  text[0] = '\n';
  read_file("/proc/vmstat", text + 1, sizeof text - 1);
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    const char *found = strstr(text, fields[i].name);
    if (found)
      *(uint64_t *)((char *)counters + fields[i].offset) =
          strtoull(found + strlen(fields[i].name), NULL, 10);
  }
  read_file("/sys/kernel/mm/transparent_hugepage/khugepaged/pages_collapsed", text, sizeof text);
  counters->khugepaged_pages_collapsed = strtoull(text, NULL, 10);
}
