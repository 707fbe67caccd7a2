#pragma once
#include <stdint.h>

/* The vectors of the memory model, passed by value. They are in C because Swift does not turn
   SIMD32<UInt16> into vector instructions and, in a debug build, calls a witness for every lane. */

enum { il_lanes = 64 };
typedef struct { uint16_t lane[il_lanes]; } il_view;
typedef uint16_t il_vector __attribute__((vector_size(sizeof(il_view))));

static inline il_view il_view_none(void) { return (il_view){{0}}; }

static inline uint16_t il_view_get(il_view v, intptr_t lane) { return v.lane[lane]; }

static inline il_view il_view_set(il_view v, intptr_t lane, uint16_t value) {
  v.lane[lane] = value;
  return v;
}

/* The greater value of each pair of lanes. */
static inline il_view il_view_join(il_view a, il_view b) {
  il_vector x, y;
  __builtin_memcpy(&x, &a, sizeof x);
  __builtin_memcpy(&y, &b, sizeof y);
  il_vector greater = (il_vector)(x > y);
  x = (x & greater) | (y & ~greater);
  __builtin_memcpy(&a, &x, sizeof x);
  return a;
}

/* Sets all lanes from `first` on to 0. */
static inline il_view il_view_below(il_view v, intptr_t first) {
  for (intptr_t i = first; i < il_lanes; i++) v.lane[i] = 0;
  return v;
}

/* The lanes as distances from `base`, 0 for those below it. */
static inline il_view il_view_relative(il_view v, il_view base) {
  for (intptr_t i = 0; i < il_lanes; i++)
    v.lane[i] = v.lane[i] > base.lane[i] ? v.lane[i] - base.lane[i] : 0;
  return v;
}

/* The same for lanes in which 0 means "none": distances start at 1. */
static inline il_view il_view_relative_or_none(il_view v, il_view base) {
  for (intptr_t i = 0; i < il_lanes; i++)
    if (v.lane[i]) v.lane[i] = v.lane[i] > base.lane[i] ? v.lane[i] - base.lane[i] + 1 : 1;
  return v;
}

/* The first lane from `first` on in which `a` is greater, or -1. */
static inline intptr_t il_view_excess(il_view a, il_view b, intptr_t first) {
  for (intptr_t i = first; i < il_lanes; i++)
    if (a.lane[i] > b.lane[i]) return i;
  return -1;
}

static inline uint64_t il_mix(uint64_t a, uint64_t b) {
  __uint128_t r = (__uint128_t)(a ^ 0x9E3779B97F4A7C15u) * (b ^ 0xD1B54A32D192ED03u);
  return (uint64_t)(r >> 64) ^ ((uint64_t)r + (b << 7) + (a << 23 | a >> 41));
}

static inline uint64_t il_view_hash(il_view v) {
  uint64_t w[il_lanes / 4];
  __builtin_memcpy(w, &v, sizeof w);
  /* Four chains, since the processor can multiply for all of them at once. */
  uint64_t h[4] = {1, 2, 3, 4};
  for (intptr_t i = 0; i < il_lanes / 4; i++) h[i & 3] = il_mix(h[i & 3], w[i]);
  return il_mix(il_mix(h[0], h[1]), il_mix(h[2], h[3]));
}
