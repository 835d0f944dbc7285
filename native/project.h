/* Gas cells onto square maps: every field in one pass, none of them smoothed. */
#ifndef SSFR_PROJECT_H
#define SSFR_PROJECT_H

#include <stdint.h>

/* A box in the units of the positions. A range is half open, [low, high); that of z may be infinite. */
struct project_frame {
    double low[3];
    double high[3];
    double bins;    /* pixels in use along a side: `pixels`, or 0.99 of it (table of faults, row 5) */
    int32_t pixels; /* of a map, along a side */
};

struct project_counts {
    int64_t used;
    int64_t outside;     /* finite, but not in the box */
    int64_t bad;         /* a coordinate or a weight is NaN or infinite: the cell is in no map */
    int64_t overhanging; /* used, but a part of it is outside: see smooth.h */
};

/*
 * Sum the weights of the cells into maps.
 *
 * positions: x, y and z, each of `cells` floats, one after the other; weights: `fields` times `cells`
 * floats. maps: fields * pixels * pixels doubles, overwritten; a row is a y, a column an x.
 * Cell i is added at column (int)((x[i] - low) * (bins / (high - low))), and likewise the row.
 *
 * Sums are in double precision. Each of `threads` threads has maps of its own, added up in the order
 * of the threads: the same number of threads gives the same bits. Returns 0, or -1 without memory.
 */
int project(const float *positions, const float *weights, int64_t cells, int fields,
            const struct project_frame *frame, int threads, double *maps, struct project_counts *counts);

#endif
