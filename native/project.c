/* Cells are taken in short blocks: first where each cell of a block falls, which the compiler
 * vectorises, then the additions, which it cannot. The maps of a thread are interleaved by field, so
 * that all the fields of a cell are one vector addition into one cache line. That line is asked for as
 * soon as a cell is located, and added to when the next block is located too. */
#include "project.h"

#include <math.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "vectors.h"

enum { BLOCK = 64, AHEAD = 4 * BLOCK, MAX_LANES = 8 };

typedef double vector4 __attribute__((vector_size(4 * sizeof(double)), may_alias));

struct cells {
    const float *x, *y, *z;
    const float *weights;
    int64_t stride; /* floats from a field to the next */
    int fields;
};

struct block {
    alignas(CACHE_LINE) double weights[BLOCK * MAX_LANES]; /* (cell, lane) */
    int32_t pixel[BLOCK];
    int count;
};

/* What one thread adds to. Cells that are not drawn go to the pixel after the last one. */
struct part {
    double *sums; /* (pixels * pixels + 1, lanes) */
    struct project_counts counts;
};

INLINED void locate(const struct cells *cells, int64_t first, const struct project_frame *frame,
                    struct block *block, struct project_counts *counts)
{
    const int count = block->count;
    const double x0 = frame->low[0], x1 = frame->high[0], x_scale = frame->bins / (x1 - x0);
    const double y0 = frame->low[1], y1 = frame->high[1], y_scale = frame->bins / (y1 - y0);
    const double z0 = frame->low[2], z1 = frame->high[2];
    const int32_t pixels = frame->pixels, nowhere = pixels * pixels;
    const double last = pixels - 1;
    const float *restrict x = cells->x + first, *restrict y = cells->y + first, *restrict z = cells->z + first;
    int32_t finite[BLOCK];
    int32_t used = 0, sound = 0;

    for (int i = 0; i < count; i++)
        finite[i] = (fabsf(x[i]) < INFINITY) & (fabsf(y[i]) < INFINITY) & (fabsf(z[i]) < INFINITY);
    for (int field = 0; field < cells->fields; field++) {
        const float *restrict weight = cells->weights + field * cells->stride + first;
        for (int i = 0; i < count; i++)
            finite[i] &= fabsf(weight[i]) < INFINITY;
    }
    for (int i = 0; i < count; i++) {
        const double xi = x[i], yi = y[i], zi = z[i];
        const bool inside = finite[i] & (xi >= x0) & (xi < x1) & (yi >= y0) & (yi < y1) & (zi >= z0) & (zi < z1);
        /* The product may round up to `bins`. Outside, where it may fit no integer, it is not converted. */
        double column = (xi - x0) * x_scale, row = (yi - y0) * y_scale;
        column = column < last ? column : last;
        row = row < last ? row : last;
        block->pixel[i] = inside ? (int32_t)row * pixels + (int32_t)column : nowhere;
        used += inside;
        sound += finite[i];
    }
    counts->used += used;
    counts->outside += sound - used;
    counts->bad += count - sound;
}

/* Ask for a later block's memory now: there are too many streams for the processor to foresee them all. */
INLINED void fetch(const struct cells *cells, int64_t first)
{
    for (int i = 0; i < BLOCK; i += CACHE_LINE / (int)sizeof(float)) {
        __builtin_prefetch(cells->x + first + i);
        __builtin_prefetch(cells->y + first + i);
        __builtin_prefetch(cells->z + first + i);
        for (int field = 0; field < cells->fields; field++)
            __builtin_prefetch(cells->weights + field * cells->stride + first + i);
    }
}

/* Put field beside field: lanes beyond the last field repeat it, and are not read from the sums. */
INLINED void interleave(const struct cells *cells, int64_t first, int first_field, int fields,
                        struct block *block, const int lanes)
{
    const float *weight[MAX_LANES];
    double *restrict to = block->weights;

    for (int lane = 0; lane < lanes; lane++) {
        const int field = first_field + (lane < fields ? lane : fields - 1);
        weight[lane] = cells->weights + field * cells->stride + first;
    }
    for (int i = 0; i < block->count; i++)
        for (int lane = 0; lane < lanes; lane++)
            to[i * lanes + lane] = weight[lane][i];
}

INLINED void add_block(const struct block *block, double *restrict sums, const int lanes)
{
    for (int i = 0; i < block->count; i++) {
        double *sum = sums + (ptrdiff_t)block->pixel[i] * lanes;
        const double *weight = block->weights + i * lanes;

        if (lanes % 4 == 0)
            for (int lane = 0; lane < lanes; lane += 4)
                *(vector4 *)(sum + lane) += *(const vector4 *)(weight + lane);
        else
            for (int lane = 0; lane < lanes; lane++)
                sum[lane] += weight[lane];
    }
}

INLINED void add_lanes(const struct cells *cells, int64_t begin, int64_t end, int first_field, int fields,
                       const struct project_frame *frame, struct part *part, const int lanes)
{
    struct block blocks[2];
    struct block *located = &blocks[0], *before = &blocks[1];

    before->count = 0;
    for (int64_t first = begin; first < end; first += BLOCK) {
        located->count = end - first < BLOCK ? (int)(end - first) : BLOCK;
        if (first + AHEAD + BLOCK <= end)
            fetch(cells, first + AHEAD);
        locate(cells, first, frame, located, &part->counts);
        for (int i = 0; i < located->count; i++)
            __builtin_prefetch(part->sums + (ptrdiff_t)located->pixel[i] * lanes, 1);
        interleave(cells, first, first_field, fields, located, lanes);
        add_block(before, part->sums, lanes);
        struct block *free_again = before;
        before = located;
        located = free_again;
    }
    add_block(before, part->sums, lanes);
}

WIDEST_VECTORS
static void add_cells(const struct cells *cells, int64_t begin, int64_t end, int first_field, int fields,
                      const struct project_frame *frame, struct part *part, int lanes)
{
    switch (lanes) {
    case 1: add_lanes(cells, begin, end, first_field, fields, frame, part, 1); break;
    case 2: add_lanes(cells, begin, end, first_field, fields, frame, part, 2); break;
    case 4: add_lanes(cells, begin, end, first_field, fields, frame, part, 4); break;
    default: add_lanes(cells, begin, end, first_field, fields, frame, part, MAX_LANES); break;
    }
}

/* Draw up to MAX_LANES fields. */
static int project_fields(const struct cells *cells, int64_t n, int first_field, int fields,
                          const struct project_frame *frame, int threads, double *maps,
                          struct project_counts *counts)
{
    const int64_t area = (int64_t)frame->pixels * frame->pixels;
    const int lanes = fields <= 2 ? fields : fields <= 4 ? 4 : MAX_LANES;
    const size_t bytes = ((size_t)(area + 1) * lanes * sizeof(double) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    struct part *parts = calloc(threads, sizeof *parts);
    bool memory = parts != NULL;

    for (int t = 0; memory && t < threads; t++)
        memory = (parts[t].sums = aligned_alloc(CACHE_LINE, bytes)) != NULL;
    if (memory) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
        for (int t = 0; t < threads; t++) {
            memset(parts[t].sums, 0, bytes);
            add_cells(cells, n * t / threads, n * (t + 1) / threads, first_field, fields, frame, &parts[t], lanes);
        }
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t pixel = 0; pixel < area; pixel++)
            for (int lane = 0; lane < fields; lane++) {
                double sum = 0.0;
                for (int t = 0; t < threads; t++)
                    sum += parts[t].sums[pixel * lanes + lane];
                maps[(first_field + lane) * area + pixel] = sum;
            }
        *counts = (struct project_counts){0, 0, 0, 0};
        for (int t = 0; t < threads; t++) {
            counts->used += parts[t].counts.used;
            counts->outside += parts[t].counts.outside;
            counts->bad += parts[t].counts.bad;
        }
    }
    for (int t = 0; parts != NULL && t < threads; t++)
        free(parts[t].sums);
    free(parts);
    return memory ? 0 : -1;
}

int project(const float *positions, const float *weights, int64_t cells, int fields,
            const struct project_frame *frame, int threads, double *maps, struct project_counts *counts)
{
    const struct cells all = {positions, positions + cells, positions + 2 * cells, weights, cells, fields};

    for (int first = 0; first < fields; first += MAX_LANES) {
        const int group = fields - first < MAX_LANES ? fields - first : MAX_LANES;
        if (project_fields(&all, cells, first, group, frame, threads, maps, counts) != 0)
            return -1;
    }
    return 0;
}
