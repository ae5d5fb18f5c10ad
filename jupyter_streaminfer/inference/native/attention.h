// Causal attention over a cache of blocks: the keys of 16 positions lie side by side, so that a query meets 16 keys
// in one vector, and a position's values lie in a row.
//
// A block of a layer is [2][kv_heads][head_dim * 16]: keys as [head_dim][16], then values as [16][head_dim].
#pragma once

#include "vectors.h"

constexpr int BLOCK = 16;
constexpr int SEGMENT = 128;  // positions that are scored before their values are added up
constexpr int MAX_HEAD_DIM = 1024;
constexpr float NOWHERE = -1e30f;

// scores[row] of AT_ONCE blocks of keys, 16 positions each. Blocks lie scattered, so the processor does not foresee the next
// ones: `next` are the keys that are met after these, and the values of these lie `values_offset` further on.
template <int ROWS, int AT_ONCE>
INLINE void score(const float *queries, const float *const (&keys)[AT_ONCE], const float *const (&next)[AT_ONCE],
                  long values_offset, int head_dim, float (*scores)[SEGMENT]) {
    v16 acc[AT_ONCE][ROWS] = {};
    for (int d = 0; d < head_dim; d++) {
#pragma clang loop unroll(full)
        for (int b = 0; b < AT_ONCE; b++) {
            __builtin_prefetch(next[b] + d * BLOCK);
            __builtin_prefetch(keys[b] + values_offset + d * BLOCK, 0, 2);
        }
#pragma clang loop unroll(full)
        for (int b = 0; b < AT_ONCE; b++) {
            v16 k = load(keys[b] + d * BLOCK);
#pragma clang loop unroll(full)
            for (int r = 0; r < ROWS; r++) acc[b][r] += k * queries[r * head_dim + d];
        }
    }
    for (int b = 0; b < AT_ONCE; b++)
        for (int r = 0; r < ROWS; r++) store(&scores[r][b * BLOCK], acc[b][r]);
}

// out[row] = out[row] * decay[row] + scores[row] . values, for 16 * AT_ONCE columns of the values of `count` positions.
template <int ROWS, int AT_ONCE>
INLINE void weigh(const float (*scores)[SEGMENT], const float *values, const long *blocks, int count, int head_dim,
                  const float *decay, float *out) {
    v16 acc[AT_ONCE][ROWS];
    for (int c = 0; c < AT_ONCE; c++)
        for (int r = 0; r < ROWS; r++) acc[c][r] = load(out + r * head_dim + c * LANES) * decay[r];
    for (int first = 0; first < count; first += BLOCK) {
        const float *value = values + blocks[first / BLOCK];
        int last = count - first < BLOCK ? count : first + BLOCK;
        for (int i = first; i < last; i++, value += head_dim) {
#pragma clang loop unroll(full)
            for (int c = 0; c < AT_ONCE; c++) {
                v16 v = load(value + c * LANES);
#pragma clang loop unroll(full)
                for (int r = 0; r < ROWS; r++) acc[c][r] += v * scores[r][i];
            }
        }
    }
    for (int c = 0; c < AT_ONCE; c++)
        for (int r = 0; r < ROWS; r++) store(out + r * head_dim + c * LANES, acc[c][r]);
}

// ROWS queries of one key head, each with its own number of visible positions: out[row] = softmax(q . K) V.
// What a row does not see weighs nothing at all, so its result does not depend on the rows beside it.
template <int ROWS>
INLINE void attend(const float *queries, const int *visible, const float *layer, long block_stride, long head_offset,
                   long values_offset, const int *table, int head_dim, float *out) {
    constexpr int AT_ONCE = ROWS == 1 ? 4 : ROWS == 2 ? 2 : 1;  // enough independent sums for few rows
    int length = visible[ROWS - 1];
    float scores[ROWS][SEGMENT] __attribute__((aligned(64)));
    float best[ROWS], total[ROWS];
    for (int r = 0; r < ROWS; r++) best[r] = NOWHERE, total[r] = 0;
    for (int r = 0; r < ROWS; r++) memset(out + r * head_dim, 0, head_dim * sizeof(float));

    for (int start = 0; start < length; start += SEGMENT) {
        int count = length - start < SEGMENT ? length - start : SEGMENT;
        int blocks = (count + BLOCK - 1) / BLOCK;
        long offsets[SEGMENT / BLOCK];
        for (int b = 0; b < blocks; b++) offsets[b] = table[start / BLOCK + b] * block_stride + head_offset;
        int b = 0;
        for (; b + AT_ONCE <= blocks; b += AT_ONCE) {
            const float *keys[AT_ONCE], *next[AT_ONCE];
            for (int i = 0; i < AT_ONCE; i++) {
                keys[i] = layer + offsets[b + i];
                next[i] = b + AT_ONCE + i < blocks ? layer + offsets[b + AT_ONCE + i] : keys[i];
            }
            score<ROWS, AT_ONCE>(queries, keys, next, values_offset, head_dim, (float(*)[SEGMENT]) & scores[0][b * BLOCK]);
        }
        for (; b < blocks; b++) {
            const float *keys[1] = {layer + offsets[b]};
            score<ROWS, 1>(queries, keys, keys, values_offset, head_dim, (float(*)[SEGMENT]) & scores[0][b * BLOCK]);
        }
        float decay[ROWS];
        for (int r = 0; r < ROWS; r++) {
            int seen = visible[r] - start < 0 ? 0 : visible[r] - start;
            for (int i = seen; i < blocks * BLOCK; i++) scores[r][i] = NOWHERE;
            v16 high = splat(best[r]);
            for (int b = 0; b < blocks; b++) high = maximum(high, load(&scores[r][b * BLOCK]));
            float now = largest(high);
            decay[r] = exponential(splat(best[r] - now))[0];
            v16 weight = {};
            for (int b = 0; b < blocks; b++) {
                v16 score = load(&scores[r][b * BLOCK]);
                v16 p = score > NOWHERE ? exponential(score - now) : v16{};
                store(&scores[r][b * BLOCK], p);
                weight += p;
            }
            total[r] = total[r] * decay[r] + sum(weight);
            best[r] = now;
        }
        const float *values = layer + values_offset;
        int d = 0;
        for (; d + AT_ONCE * LANES <= head_dim; d += AT_ONCE * LANES)
            weigh<ROWS, AT_ONCE>(scores, values + d, offsets, count, head_dim, decay, out + d);
        for (; d < head_dim; d += LANES)
            weigh<ROWS, 1>(scores, values + d, offsets, count, head_dim, decay, out + d);
    }
    for (int r = 0; r < ROWS; r++) {
        float scale = 1.0f / total[r];
        for (int d = 0; d < head_dim; d++) out[r * head_dim + d] *= scale;
    }
}
