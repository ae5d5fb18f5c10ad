// Matrix products of a few to a few thousand rows with packed weights.
//
// Weights are packed in panels of PANEL columns: [columns / PANEL][depth][PANEL], or as their form says. A panel streams
// from memory once and is used for all rows while it lies in the cache; the accumulators of a tile stay in registers.
#pragma once

#include "forms.h"
#include "team.h"

constexpr long GROUP_BYTES = 160 * 1024;  // of panels that one item keeps in the second-level cache

// A product under way: out(row, column, values) receives every finished PANEL of columns of every row.
template <class W, class Out>
struct Product {
    Form<W> x;
    int rows;
    const Matrix &matrix;
    int group;  // panels an item
    Out out;

    template <int ROWS>
    INLINE void rows_of(const Product &p, int row, int panel, int last) {
        if constexpr (ROWS <= Form<W>::ROWS) {
            // One after the other: a second stream from memory beside it makes both slower.
            for (; panel < last; panel++) {
                Tile<ROWS> acc;
                Form<W>::template tile<ROWS>(p.x, row, p.matrix, panel, acc);
                for (int r = 0; r < ROWS; r++) p.out(row + r, panel, acc[r]);
            }
        }
    }

    static void item(void *context, int index) {
        const Product &p = *(const Product *)context;
        int first = index * p.group, last = first + p.group < p.matrix.panels ? first + p.group : p.matrix.panels;
        for (int row = 0; row < p.rows;) {
            int left = p.rows - row, tiles = (left + Form<W>::ROWS - 1) / Form<W>::ROWS;
            int count = (left + tiles - 1) / tiles;
            switch (count) {
                case 1: rows_of<1>(p, row, first, last); break;
                case 2: rows_of<2>(p, row, first, last); break;
                case 3: rows_of<3>(p, row, first, last); break;
                case 4: rows_of<4>(p, row, first, last); break;
                case 5: rows_of<5>(p, row, first, last); break;
                case 6: rows_of<6>(p, row, first, last); break;
                case 7: rows_of<7>(p, row, first, last); break;
                case 8: rows_of<8>(p, row, first, last); break;
                case 9: rows_of<9>(p, row, first, last); break;
                case 10: rows_of<10>(p, row, first, last); break;
                case 11: rows_of<11>(p, row, first, last); break;
                case 12: rows_of<12>(p, row, first, last); break;
            }
            row += count;
        }
    }
};

// `scratch` is for what the form makes of the rows.
template <class W, class Out>
static void multiply(Team *team, const float *x, int rows, long depth, const Matrix &matrix, void *scratch, Out out) {
    long fitting = GROUP_BYTES / (depth * PANEL * (long)sizeof(W));
    int shares = 8 * (team->helpers + 1);  // so that whoever is free finds something to take
    int group = matrix.panels / shares < fitting ? matrix.panels / shares : (int)fitting;
    group = group < 1 ? 1 : group;
    Product<W, Out> product{Form<W>::prepare(x, rows, depth, scratch), rows, matrix, group, out};
    together(team, (matrix.panels + group - 1) / group, Product<W, Out>::item, &product);
}
