// Sixteen floats at a time, in portable vector types that the compiler maps to what the processor has,
// and the three forms in which weights are kept: float32, bfloat16, int8.
#pragma once

#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef float v16 __attribute__((vector_size(64), aligned(4)));
typedef int32_t i16x32 __attribute__((vector_size(64), aligned(4)));
typedef uint32_t u16x32 __attribute__((vector_size(64), aligned(4)));
typedef uint16_t u16x16 __attribute__((vector_size(32), aligned(2)));
typedef int8_t i16x8 __attribute__((vector_size(16), aligned(1)));

struct bfloat16 {
    uint16_t bits;
};

struct rounding_bfloat16 : bfloat16 {};  // what it is multiplied with may be rounded to bfloat16 too

constexpr int LANES = 16;
#ifdef __AVX512F__
constexpr int PANEL_VECTORS = 2;  // 32 registers: a tile of 12 rows by 32 columns
constexpr int MAX_ROWS = 12;
#else
constexpr int PANEL_VECTORS = 1;  // 16 registers: a tile of 6 rows by 16 columns
constexpr int MAX_ROWS = 6;
#endif
constexpr int PANEL = LANES * PANEL_VECTORS;

INLINE v16 splat(float value) { return value - v16{}; }

INLINE v16 load(const float *p) { return *(const v16 *)p; }

INLINE v16 load(const bfloat16 *p) {
    u16x32 wide = __builtin_convertvector(*(const u16x16 *)p, u16x32) << 16;
    return (v16)wide;
}

INLINE v16 load(const int8_t *p) {
    return __builtin_convertvector(__builtin_convertvector(*(const i16x8 *)p, i16x32), v16);
}

INLINE void store(float *p, v16 value) { *(v16 *)p = value; }

INLINE float single(const float *p) { return *p; }

INLINE float single(const bfloat16 *p) {
    uint32_t bits = (uint32_t)p->bits << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

INLINE float single(const int8_t *p) { return (float)*p; }

INLINE float sum(v16 value) {
    float total = 0;
    for (int i = 0; i < LANES; i++) total += value[i];
    return total;
}

INLINE float largest(v16 value) {
    float best = value[0];
    for (int i = 1; i < LANES; i++) best = value[i] > best ? value[i] : best;
    return best;
}

INLINE v16 maximum(v16 a, v16 b) { return a > b ? a : b; }

// After Cephes' expf: 2^n times a polynomial, within 2 units in the last place from -87 to 88, clamped outside.
INLINE v16 exponential(v16 x) {
    x = x < -87.0f ? splat(-87.0f) : x;
    x = x > 88.0f ? splat(88.0f) : x;
    const v16 magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    v16 n = (x * 1.44269504088896341f + magic) - magic;
    v16 r = x - n * 0.693359375f - n * -2.12194440e-4f;
    v16 p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    i16x32 scale = (__builtin_convertvector(n, i16x32) + 127) << 23;
    return p * (v16)scale;
}
