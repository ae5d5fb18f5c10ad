// Matrix products of a few to a few thousand rows with packed weights.
//
// Weights are packed in panels of PANEL columns: [columns / PANEL][depth][PANEL]. A panel streams from memory once
// and is used for all rows while it lies in the cache; the accumulators of a tile stay in registers.
#pragma once

#include "team.h"
#include "vectors.h"

constexpr long GROUP_BYTES = 160 * 1024;  // of panels that one item keeps in the second-level cache

// acc[panel][row] = x[row] . panel, each sum in the order of the depth, so that a row's result is the same to the bit
// whatever it is computed with. For few rows several panels give the independent additions that keep the core busy.
template <int ROWS, int PANELS, class W>
INLINE void tile(const float *x, const W *panel, long depth, v16 (&acc)[PANELS][ROWS][PANEL_VECTORS]) {
    v16 sums[PANELS][ROWS][PANEL_VECTORS] = {};
    for (long k = 0; k < depth; k++) {
#pragma clang loop unroll(full)
        for (int p = 0; p < PANELS; p++) {
            v16 w[PANEL_VECTORS];
#pragma clang loop unroll(full)
            for (int v = 0; v < PANEL_VECTORS; v++) w[v] = load(panel + (p * depth + k) * PANEL + v * LANES);
#pragma clang loop unroll(full)
            for (int r = 0; r < ROWS; r++) {
#pragma clang loop unroll(full)
                for (int v = 0; v < PANEL_VECTORS; v++) sums[p][r][v] += w[v] * x[r * depth + k];
            }
        }
    }
    memcpy(&acc, &sums, sizeof(acc));
}

// A product under way: out(row, column, values) receives every finished PANEL of columns of every row.
template <class W, class Out>
struct Product {
    const float *x;  // [rows, depth]
    int rows;
    long depth;
    const W *weight;
    int panels;
    int group;  // panels an item
    Out out;

    template <int ROWS, int PANELS>
    INLINE void finish(const Product &p, int row, int panel) {
        v16 acc[PANELS][ROWS][PANEL_VECTORS];
        tile<ROWS, PANELS>(p.x + row * p.depth, p.weight + (long)panel * p.depth * PANEL, p.depth, acc);
        for (int i = 0; i < PANELS; i++)
            for (int r = 0; r < ROWS; r++) p.out(row + r, panel + i, acc[i][r]);
    }

    template <int ROWS>
    INLINE void rows_of(const Product &p, int row, int panel, int last) {
        constexpr int REGISTERS = ROWS * REGISTERS_A_ROW;
        constexpr int PANELS = REGISTERS <= 2 ? 4 : REGISTERS <= 4 ? 2 : 1;
        for (; panel + PANELS <= last; panel += PANELS) finish<ROWS, PANELS>(p, row, panel);
        for (; panel < last; panel++) finish<ROWS, 1>(p, row, panel);
    }

    static void item(void *context, int index) {
        const Product &p = *(const Product *)context;
        int first = index * p.group, last = first + p.group < p.panels ? first + p.group : p.panels;
        for (int row = 0; row < p.rows;) {
            int count = p.rows - row < MAX_ROWS ? p.rows - row : MAX_ROWS;
            switch (count) {
                case 1: rows_of<1>(p, row, first, last); break;
                case 2: rows_of<2>(p, row, first, last); break;
                case 3: rows_of<3>(p, row, first, last); break;
                case 4: rows_of<4>(p, row, first, last); break;
                case 5: rows_of<5>(p, row, first, last); break;
                case 6: rows_of<6>(p, row, first, last); break;
#if defined(__AVX512F__)
                case 7: rows_of<7>(p, row, first, last); break;
                case 8: rows_of<8>(p, row, first, last); break;
                case 9: rows_of<9>(p, row, first, last); break;
                case 10: rows_of<10>(p, row, first, last); break;
                case 11: rows_of<11>(p, row, first, last); break;
                case 12: rows_of<12>(p, row, first, last); break;
#endif
            }
            row += count;
        }
    }
};

template <class W, class Out>
static void multiply(Team *team, const float *x, int rows, long depth, const W *weight, int panels, Out out) {
    long fitting = GROUP_BYTES / (depth * PANEL * (long)sizeof(W));
    int shares = 8 * (team->helpers + 1);  // so that whoever is free finds something to take
    int group = panels / shares < fitting ? panels / shares : (int)fitting;
    group = group < 4 ? 4 : group - group % 4;  // a tile of one row takes four
    Product<W, Out> product{x, rows, depth, weight, panels, group, out};
    together(team, (panels + group - 1) / group, Product<W, Out>::item, &product);
}
