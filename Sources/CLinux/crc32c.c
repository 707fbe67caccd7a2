#include "clinux.h"
#include <string.h>

// CRC-32C: by the processor's instruction where it has one, else by a table of a byte at a time.

static uint32_t by_table(uint32_t sum, const unsigned char *bytes, size_t count) {
  static uint32_t table[256];
  static _Bool made;
  if (!__atomic_load_n(&made, __ATOMIC_ACQUIRE)) {
    // Every thread that gets here makes the same table.
    for (uint32_t byte = 0; byte < 256; byte++) {
      uint32_t value = byte;
      for (int bit = 0; bit < 8; bit++) value = value >> 1 ^ (value & 1 ? 0x82f63b78 : 0);
      __atomic_store_n(&table[byte], value, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&made, 1, __ATOMIC_RELEASE);
  }
  while (count--) sum = sum >> 8 ^ table[(sum ^ *bytes++) & 0xff];
  return sum;
}

#if defined(__x86_64__)
// Eight bytes take three cycles: more than 6 GB/s, which is faster than the files that this is for.
__attribute__((target("sse4.2")))
static uint32_t by_instruction(uint32_t sum, const unsigned char *bytes, size_t count) {
  uint64_t value = sum;
  for (; count >= 8; bytes += 8, count -= 8) {
    uint64_t word;
    memcpy(&word, bytes, 8);
    value = __builtin_ia32_crc32di(value, word);
  }
  for (; count; count--) value = __builtin_ia32_crc32qi((uint32_t)value, *bytes++);
  return (uint32_t)value;
}
#endif

uint32_t hm_crc32c(uint32_t sum, const void *bytes, size_t count) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2")) return ~by_instruction(~sum, bytes, count);
#endif
  return ~by_table(~sum, bytes, count);
}
