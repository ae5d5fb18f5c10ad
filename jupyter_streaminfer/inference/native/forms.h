// The forms in which weights are packed and multiplied: what a tile of a product, some rows with a panel, computes.
//
// A form says how many weights of a column lie side by side (DEPTH) and how many rows a tile has at most (ROWS), makes of
// rows what it multiplies, in memory that is `bytes` large, and computes tiles: acc[row] = row . panel, each sum in one
// order whatever a row is computed with, so that its result is the same to the bit.
#pragma once

#include "vectors.h"

#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)
#include <immintrin.h>
#define SHORT_PRODUCTS  // the processor multiplies bfloat16 and int8 themselves
#endif

struct Matrix {
    const void *weight;   // packed panels: [panels][depth / Form::DEPTH][PANEL][Form::DEPTH], the depth filled up with zeros
    const float *scales;  // [columns], int8 only
    const int32_t *sums;  // [columns]: of each one's weights, int8 only
    const float *bias;    // [columns] or null
    int32_t panels;
    int32_t columns;
};

template <class W>
INLINE const W *weight(const Matrix &m) {
    return (const W *)m.weight;
}

#ifdef __AVX512F__
constexpr int FORESEEING_SUMS = 12;
#else
constexpr int FORESEEING_SUMS = 3;
#endif
constexpr int FORESEEN_BYTES = 8192;

template <int ROWS>
using Tile = v16[ROWS][PANEL_VECTORS];

// A tile of many sums reads so slowly that the processor by itself looks no further ahead than a page; for one of few
// it does so better than it can be told.
template <int SUMS>
INLINE void foresee(const void *weights) {
    if constexpr (SUMS >= FORESEEING_SUMS) __builtin_prefetch((const char *)weights + FORESEEN_BYTES, 0, 2);
}

// Weights that are widened to float32 as they are loaded; rows are float32.
template <class W>
struct Widened {
    static constexpr int DEPTH = 1;
    static constexpr int ROWS = MAX_ROWS;

    const float *x;  // [rows, depth]
    long depth;

    static long bytes(int, long) { return 0; }

    static Widened prepare(const float *x, int, long depth, void *) { return {x, depth}; }

    template <int ROWS>
    INLINE void tile(const Widened &from, int row, const Matrix &matrix, int panel, Tile<ROWS> &acc) {
        long depth = from.depth;
        const float *x = from.x + row * depth;
        const W *weights = weight<W>(matrix) + panel * depth * PANEL;
        Tile<ROWS> sums = {};
        for (long k = 0; k < depth; k++) {
            v16 w[PANEL_VECTORS];
#pragma clang loop unroll(full)
            for (int v = 0; v < PANEL_VECTORS; v++) {
                foresee<ROWS * PANEL_VECTORS>(weights + k * PANEL + v * LANES);
                w[v] = load(weights + k * PANEL + v * LANES);
            }
#pragma clang loop unroll(full)
            for (int r = 0; r < ROWS; r++) {
#pragma clang loop unroll(full)
                for (int v = 0; v < PANEL_VECTORS; v++) sums[r][v] += w[v] * x[r * depth + k];
            }
        }
        memcpy(&acc, &sums, sizeof(acc));
    }
};

template <class W>
struct FormOf {
    typedef Widened<W> type;
};

#ifdef SHORT_PRODUCTS

// A vector's first numbers, of which `count` are left.
INLINE __mmask16 left(long count) { return count < LANES ? (1u << (count < 0 ? 0 : count)) - 1 : 0xffff; }

// bfloat16 in pairs: rows are rounded to bfloat16, products are exact and summed up in float32.
struct Pairs {
    typedef rounding_bfloat16 W;
    static constexpr int DEPTH = 2;
    static constexpr int ROWS = MAX_ROWS;

    const int32_t *x;  // [rows, pairs]
    long pairs;

    static long bytes(int rows, long depth) { return rows * ((depth + 1) / 2) * (long)sizeof(int32_t); }

    static Pairs prepare(const float *x, int rows, long depth, void *scratch) {
        long pairs = (depth + 1) / 2;
        int16_t *to = (int16_t *)scratch;
        for (int row = 0; row < rows; row++, x += depth, to += pairs * DEPTH) {
            for (long i = 0; i < depth; i += LANES) {
                __m256bh rounded = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(left(depth - i), x + i));
                _mm256_mask_storeu_epi16(to + i, left(pairs * DEPTH - i), (__m256i)rounded);
            }
        }
        return {(int32_t *)scratch, pairs};
    }

    template <int ROWS>
    INLINE void tile(const Pairs &from, int row, const Matrix &matrix, int panel, Tile<ROWS> &acc) {
        long pairs = from.pairs;
        const int32_t *x = from.x + row * pairs;
        const W *weights = weight<W>(matrix) + panel * pairs * PANEL * DEPTH;
        __m512 sums[ROWS][PANEL_VECTORS] = {};
        for (long k = 0; k < pairs; k++) {
            __m512bh w[PANEL_VECTORS];
#pragma clang loop unroll(full)
            for (int v = 0; v < PANEL_VECTORS; v++) {
                foresee<ROWS * PANEL_VECTORS>(weights + (k * PANEL + v * LANES) * DEPTH);
                w[v] = (__m512bh)_mm512_loadu_si512(weights + (k * PANEL + v * LANES) * DEPTH);
            }
#pragma clang loop unroll(full)
            for (int r = 0; r < ROWS; r++) {
                __m512bh both = (__m512bh)_mm512_set1_epi32(x[r * pairs + k]);
#pragma clang loop unroll(full)
                for (int v = 0; v < PANEL_VECTORS; v++) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], w[v], both);
            }
        }
        memcpy(&acc, &sums, sizeof(acc));
    }
};

template <>
struct FormOf<rounding_bfloat16> {
    typedef Pairs type;
};

// int8 in fours: a row is rounded to 65,535 steps of its own, whose high and low bytes are multiplied one after the other;
// sums are whole numbers, and exact up to a depth of 2^31 / (255 * 127), which inference/native_llama.py sees to.
struct Fours {
    static constexpr int DEPTH = 4;
    static constexpr int ROWS = 6;
    static constexpr int STEPS = 32767;  // either way

    const int32_t *high, *low;  // [rows, fours]: of step + 32768
    const float *scales;        // [rows], NaN where a number of the row is not finite
    long fours;

    static long bytes(int rows, long depth) { return rows * ((depth + 3) / 4 * DEPTH * 2 + (long)sizeof(float)); }

    static Fours prepare(const float *x, int rows, long depth, void *scratch) {
        long fours = (depth + 3) / 4;
        uint8_t *high = (uint8_t *)scratch, *low = high + rows * fours * DEPTH;
        float *scales = (float *)(low + rows * fours * DEPTH);
        for (int row = 0; row < rows; row++, x += depth, high += fours * DEPTH, low += fours * DEPTH) {
            __m512 most = _mm512_setzero_ps();
            __mmask16 finite = 0xffff;
            for (long i = 0; i < depth; i += LANES) {
                __m512 size = _mm512_abs_ps(_mm512_maskz_loadu_ps(left(depth - i), x + i));
                finite &= _mm512_cmp_ps_mask(size, _mm512_set1_ps(__FLT_MAX__), _CMP_LE_OQ);
                most = _mm512_max_ps(most, size);
            }
            float largest = _mm512_reduce_max_ps(most);
            scales[row] = finite == 0xffff ? largest / STEPS : __builtin_nanf("");
            __m512 steps = _mm512_set1_ps(finite == 0xffff && largest > 0 ? STEPS / largest : 0);
            for (long i = 0; i < fours * DEPTH; i += LANES) {
                __m512 value = _mm512_maskz_loadu_ps(left(depth - i), x + i);
                __m512i step = _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(value, steps)), _mm512_set1_epi32(32768));
                _mm_mask_storeu_epi8(high + i, left(fours * DEPTH - i), _mm512_cvtepi32_epi8(_mm512_srli_epi32(step, 8)));
                _mm_mask_storeu_epi8(low + i, left(fours * DEPTH - i), _mm512_cvtepi32_epi8(step));
            }
        }
        return {(int32_t *)scratch, (int32_t *)scratch + rows * fours, scales, fours};
    }

    template <int ROWS>
    INLINE void tile(const Fours &from, int row, const Matrix &matrix, int panel, Tile<ROWS> &acc) {
        long fours = from.fours;
        const int8_t *weights = weight<int8_t>(matrix) + panel * fours * PANEL * DEPTH;
        const int32_t *sums = matrix.sums + panel * PANEL;
        const int32_t *high = from.high + row * fours, *low = from.low + row * fours;
        __m512i highs[ROWS][PANEL_VECTORS] = {}, lows[ROWS][PANEL_VECTORS] = {};
        for (long k = 0; k < fours; k++) {
            __m512i w[PANEL_VECTORS];
#pragma clang loop unroll(full)
            for (int v = 0; v < PANEL_VECTORS; v++) {
                foresee<ROWS * PANEL_VECTORS * 2>(weights + (k * PANEL + v * LANES) * DEPTH);
                w[v] = _mm512_loadu_si512(weights + (k * PANEL + v * LANES) * DEPTH);
            }
#pragma clang loop unroll(full)
            for (int r = 0; r < ROWS; r++) {
                __m512i above = _mm512_set1_epi32(high[r * fours + k]), below = _mm512_set1_epi32(low[r * fours + k]);
#pragma clang loop unroll(full)
                for (int v = 0; v < PANEL_VECTORS; v++) {
                    highs[r][v] = _mm512_dpbusd_epi32(highs[r][v], above, w[v]);
                    lows[r][v] = _mm512_dpbusd_epi32(lows[r][v], below, w[v]);
                }
            }
        }
        for (int v = 0; v < PANEL_VECTORS; v++) {
            __m512i surplus = _mm512_slli_epi32(_mm512_loadu_si512(sums + v * LANES), 7);
            for (int r = 0; r < ROWS; r++) {
                __m512 above = _mm512_cvtepi32_ps(_mm512_sub_epi32(highs[r][v], surplus));
                __m512 whole = _mm512_fmadd_ps(above, _mm512_set1_ps(256), _mm512_cvtepi32_ps(lows[r][v]));
                acc[r][v] = (v16)_mm512_mul_ps(whole, _mm512_set1_ps(from.scales[row + r]));
            }
        }
    }
};

template <>
struct FormOf<int8_t> {
    typedef Fours type;
};

#endif

template <class W>
using Form = typename FormOf<W>::type;

// The weight of column `column` at `i`.
template <class W>
INLINE float element(const Matrix &m, long column, long i, long depth) {
    constexpr int DEPTH = Form<W>::DEPTH;
    long groups = (depth + DEPTH - 1) / DEPTH;
    long at = (column / PANEL * groups + i / DEPTH) * PANEL + column % PANEL;
    return single(weight<W>(m) + at * DEPTH + i % DEPTH);
}
