/* A cell that is small beside a pixel is sampled on a grid finer than the pixels, and its samples are made
 * to add up to 1; a large one is sampled at the pixels. A sample stands for the mean over its square:
 * to the kernel at its centre, the fourth-order midpoint rule adds a 24th of the Laplacian. */
#include "smooth.h"

#include <math.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "vectors.h"

enum {
    BLOCK = 256, /* cells that a thread takes at a time */
    EIGHT = 8,   /* pixels of a row that are added to together; a row of a map has as many to spare */
    STAMP = 64,  /* samples along a side of a stamp, and more than 2 * WIDE + 2 */
    CHUNK = 256, /* pixels of a row of a wide cell that are worked out together */
};

static const double POINT = 0x1p-10; /* [pixels] a cell with this support or less is a point */
static const double WIDE = 24.0;     /* [pixels] from here on samples add up to 1 by themselves, to 3e-7 */
static const double PEAK = 7.0 / 3.14159265358979323846;
static const double LAPLACIAN = 20.0 / 24.0; /* of the second term of `column`, for a sample of unit side */

struct cells {
    const float *x, *y, *z, *support, *weights;
    int64_t count;
    int fields;
};

/* What one thread adds to. */
struct part {
    double *sums; /* (fields, pixels, pixels + EIGHT) */
    double *lost; /* (fields) */
    struct project_counts counts;
    int32_t pixels;
};

/* A cell on the map, in pixels from the map's corner. */
struct disc {
    double x, y, support;
    int64_t cell;
};

/* Columns, or rows, from the first up to, but not including, the end. */
struct span {
    int32_t first, end;
};

INLINED int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

/* Which pixels of a row of `pixels` the range [low, high] meets. */
INLINED struct span met(double low, double high, int32_t pixels)
{
    const double last = pixels - 1;
    low = low > 0.0 ? low : 0.0;
    high = high < last ? high : last;
    return high < low ? (struct span){0, 0} : (struct span){(int32_t)low, (int32_t)high + 1};
}

/* The kernel, without its factor, at q^2 = x2 + y2, and `square` times its Laplacian: that is
 * 20 (1 - q)^2 (5 q - 2) in units of the support. */
INLINED float column(float x2, float y2, float square)
{
    const float q = sqrtf(x2 + y2);
    const float t = 1.0f - q > 0.0f ? 1.0f - q : 0.0f;
    const float t2 = t * t;
    return t2 * (t2 * (1.0f + 4.0f * q) + square * (5.0f * q - 2.0f));
}

/* Add a row of weights, `factor` times, to one row of every map; up to a multiple of eight, zeros follow it. */
INLINED void add_row(const struct cells *cells, const struct disc *disc, const float *restrict row, double factor,
                     int32_t y, struct span columns, struct part *part)
{
    const ptrdiff_t stride = part->pixels + EIGHT, map = stride * part->pixels;
    double *sum = part->sums + y * stride + columns.first;
    const int32_t count = columns.end - columns.first;

    for (int field = 0; field < cells->fields; field++, sum += map) {
        const double weight = factor * cells->weights[field * cells->count + disc->cell];
        for (int32_t i = 0; i < count; i += EIGHT)
            for (int32_t k = i; k < i + EIGHT; k++)
                sum[k] += weight * row[k];
    }
}

/* The sum of weights, `count` of them and a multiple of eight; in the same order on every machine. */
INLINED double sum_of(const float *row, int32_t count)
{
    double part[EIGHT] = {0.0}, sum = 0.0;

    for (int32_t i = 0; i < count; i += EIGHT)
        for (int32_t k = 0; k < EIGHT; k++)
            part[k] += row[i + k];
    for (int32_t k = 0; k < EIGHT; k++)
        sum += part[k];
    return sum;
}

INLINED bool overhangs(const struct disc *disc, const struct part *part)
{
    return disc->x - disc->support < 0.0 || disc->x + disc->support > part->pixels ||
           disc->y - disc->support < 0.0 || disc->y + disc->support > part->pixels;
}

INLINED void add_lost(const struct cells *cells, const struct disc *disc, double inside, struct part *part)
{
    part->counts.overhanging++;
    for (int field = 0; field < cells->fields; field++)
        part->lost[field] += (1.0 - inside) * cells->weights[field * cells->count + disc->cell];
}

INLINED void add_point(const struct cells *cells, const struct disc *disc, struct part *part)
{
    const ptrdiff_t stride = part->pixels + EIGHT, map = stride * part->pixels;
    double *sum = part->sums + least((int32_t)disc->y, part->pixels - 1) * stride +
                  least((int32_t)disc->x, part->pixels - 1);

    for (int field = 0; field < cells->fields; field++, sum += map)
        *sum += cells->weights[field * cells->count + disc->cell];
}

/* Samples along one axis of a stamp. */
struct samples {
    float squares[STAMP];     /* ((sample - centre) / support)^2 */
    int32_t begin[STAMP + 1]; /* the first sample in each pixel, and after the last one */
    int32_t first_pixel, pixels;
};

/* Lay samples, `fine` to a pixel, over the width of a cell. */
INLINED void sample(double centre, double support, double fine, struct samples *samples, const int lanes)
{
    const double first = floor((centre - support) * fine), last = floor((centre + support) * fine);
    const double pixel = floor(first / fine), end = floor(last / fine) + 1.0;
    const float from = (float)((first + 0.5 - centre * fine) / (fine * support));
    const float step = (float)(1.0 / (fine * support));

    for (int i = 0; i < lanes; i++) {
        const float offset = from + step * (float)i;
        samples->squares[i] = offset * offset;
    }
    samples->first_pixel = (int32_t)pixel;
    samples->pixels = (int32_t)(end - pixel);
    samples->begin[0] = 0;
    for (int32_t p = 1; p < samples->pixels; p++)
        samples->begin[p] = (int32_t)(p * fine + (pixel * fine - first));
    samples->begin[samples->pixels] = (int32_t)(last - first) + 1;
}

/* Sum the samples in each pixel of one row of them. */
INLINED void draw_row(const struct samples *x, const struct samples *y, int32_t pixel, float square, int32_t width,
                      float *restrict stamp, const int lanes)
{
    alignas(CACHE_LINE) float row[STAMP];

    for (int i = 0; i < lanes; i++)
        row[i] = 0.0f;
    for (int32_t j = y->begin[pixel]; j < y->begin[pixel + 1]; j++)
        for (int i = 0; i < lanes; i++)
            row[i] += column(x->squares[i], y->squares[j], square);
    if (x->begin[x->pixels] == x->pixels) { /* one to a pixel, and none of a kernel beyond its end */
        memcpy(stamp, row, width * sizeof *row);
        return;
    }
    for (int32_t p = 0; p < x->pixels; p++) {
        float sum = 0.0f;
        for (int32_t i = x->begin[p]; i < x->begin[p + 1]; i++)
            sum += row[i];
        stamp[p] = sum;
    }
    for (int32_t p = x->pixels; p < width; p++)
        stamp[p] = 0.0f;
}

INLINED void add_stamp(const struct cells *cells, const struct disc *disc, double fine, struct part *part,
                       const int lanes)
{
    alignas(CACHE_LINE) float stamp[STAMP * STAMP];
    struct samples x, y;

    sample(disc->x, disc->support, fine, &x, lanes);
    sample(disc->y, disc->support, fine, &y, lanes);
    const int32_t width = (x.pixels + EIGHT - 1) / EIGHT * EIGHT;
    const float square = (float)(LAPLACIAN / (fine * fine * disc->support * disc->support));
    for (int32_t p = 0; p < y.pixels; p++)
        draw_row(&x, &y, p, square, width, stamp + p * width, lanes);
    const double norm = 1.0 / sum_of(stamp, y.pixels * width);
    const struct span columns = met(x.first_pixel, x.first_pixel + x.pixels - 1, part->pixels);
    const struct span rows = met(y.first_pixel, y.first_pixel + y.pixels - 1, part->pixels);
    const int32_t count = columns.end - columns.first;
    const float *from = stamp + (rows.first - y.first_pixel) * width + (columns.first - x.first_pixel);

    if (count == x.pixels && rows.end - rows.first == y.pixels) {
        for (int32_t r = rows.first; r < rows.end; r++, from += width)
            add_row(cells, disc, from, norm, r, columns, part);
        return;
    }
    double inside = 0.0;
    for (int32_t r = rows.first; r < rows.end; r++, from += width) {
        float row[STAMP] = {0.0f};
        memcpy(row, from, count * sizeof *row);
        inside += norm * sum_of(row, STAMP);
        add_row(cells, disc, row, norm, r, columns, part);
    }
    if (overhangs(disc, part))
        add_lost(cells, disc, inside, part);
}

INLINED void add_wide(const struct cells *cells, const struct disc *disc, struct part *part)
{
    const double scale = 1.0 / disc->support, norm = PEAK * scale * scale;
    const float square = (float)(LAPLACIAN * scale * scale), step = (float)scale;
    const struct span rows = met(disc->y - disc->support, disc->y + disc->support, part->pixels);
    const bool whole = !overhangs(disc, part);
    double inside = 0.0;

    for (int32_t r = rows.first; r < rows.end; r++) {
        const double y = (r + 0.5 - disc->y) * scale, y2 = y * y;
        const double half = y2 < 1.0 ? disc->support * sqrt(1.0 - y2) : 0.0;
        struct span columns = met(disc->x - half, disc->x + half, part->pixels);
        for (const int32_t end = columns.end; columns.first < end; columns.first = columns.end) {
            alignas(CACHE_LINE) float row[CHUNK];
            columns.end = least(end, columns.first + CHUNK);
            const int32_t count = columns.end - columns.first, padded = (count + EIGHT - 1) / EIGHT * EIGHT;
            const float from = (float)((columns.first + 0.5 - disc->x) * scale);
            for (int32_t i = 0; i < padded; i++) {
                const float x = from + step * (float)i;
                row[i] = column(x * x, (float)y2, square);
            }
            for (int32_t i = count; i < padded; i++)
                row[i] = 0.0f;
            if (!whole)
                inside += norm * sum_of(row, padded);
            add_row(cells, disc, row, norm, r, columns, part);
        }
    }
    if (!whole)
        add_lost(cells, disc, inside, part);
}

/* Where a cell is on the map; false if it is not to be drawn, and then it is counted. */
INLINED bool located(const struct cells *cells, int64_t i, const struct project_frame *frame, struct part *part,
                     struct disc *disc)
{
    const float x = cells->x[i], y = cells->y[i], z = cells->z[i], support = cells->support[i];
    const double pixels = frame->pixels;
    bool finite = isfinite(x) && isfinite(y) && isfinite(z) && support > 0.0f && isfinite(support);

    for (int field = 0; field < cells->fields; field++)
        finite &= !!isfinite(cells->weights[field * cells->count + i]);
    if (!finite) {
        part->counts.bad++;
        return false;
    }
    const double x_scale = pixels / (frame->high[0] - frame->low[0]);
    const double y_scale = pixels / (frame->high[1] - frame->low[1]);
    disc->cell = i;
    disc->x = (x - frame->low[0]) * x_scale;
    disc->y = (y - frame->low[1]) * y_scale;
    disc->support = support * x_scale;
    /* A point belongs to the frame as for project(): a range is half open. */
    const double reach = disc->support > POINT ? disc->support : 0.0;
    const bool inside = z >= frame->low[2] && z < frame->high[2] && disc->x + reach >= 0.0 &&
                        disc->x - reach < pixels && disc->y + reach >= 0.0 && disc->y - reach < pixels;
    part->counts.used += inside;
    part->counts.outside += !inside;
    return inside;
}

/* Along a side: so many that no pixel is off by more than 1e-3 of the largest one, as the tests measure. */
INLINED double samples_a_pixel(double support)
{
    return support >= 12.0 ? 1.0 : support >= 3.8 ? 2.0 : support >= 1.8 ? 3.0 : ceil(5.5 / support);
}

INLINED void add_cell(const struct cells *cells, const struct disc *disc, struct part *part)
{
    const double x = disc->x, y = disc->y, support = disc->support;
    const bool in_one_pixel = floor(x - support) == floor(x + support) && floor(y - support) == floor(y + support);

    if (support <= POINT || in_one_pixel)
        add_point(cells, disc, part);
    else if (support >= WIDE)
        add_wide(cells, disc, part);
    else {
        const double fine = samples_a_pixel(support), samples = 2.0 * fine * support + 2.0;
        if (samples <= 16.0)
            add_stamp(cells, disc, fine, part, 16);
        else if (samples <= 32.0)
            add_stamp(cells, disc, fine, part, 32);
        else if (samples <= 48.0)
            add_stamp(cells, disc, fine, part, 48);
        else
            add_stamp(cells, disc, fine, part, STAMP);
    }
}

/* Every `threads`th block of cells, so that no thread has all the large cells, and always the same. */
WIDEST_VECTORS
static void add_cells(const struct cells *cells, int64_t begin, int64_t step, const struct project_frame *frame,
                      struct part *part)
{
    for (int64_t first = begin; first < cells->count; first += step) {
        const int64_t end = first + BLOCK < cells->count ? first + BLOCK : cells->count;
        for (int64_t i = first; i < end; i++) {
            struct disc disc;
            if (located(cells, i, frame, part, &disc))
                add_cell(cells, &disc, part);
        }
    }
}

int smooth(const float *positions, const float *support, const float *weights, int64_t cells, int fields,
           const struct project_frame *frame, int threads, double *maps, double *lost,
           struct project_counts *counts)
{
    const struct cells all = {positions, positions + cells, positions + 2 * cells, support, weights, cells, fields};
    const int64_t rows = (int64_t)fields * frame->pixels, stride = frame->pixels + EIGHT;
    struct part *parts = calloc(threads, sizeof *parts);
    bool memory = parts != NULL;

    for (int t = 0; memory && t < threads; t++) {
        parts[t].pixels = frame->pixels;
        parts[t].sums = calloc(rows * stride, sizeof(double));
        parts[t].lost = calloc(fields, sizeof(double));
        memory = parts[t].sums != NULL && parts[t].lost != NULL;
    }
    if (memory) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
        for (int t = 0; t < threads; t++)
            add_cells(&all, (int64_t)t * BLOCK, (int64_t)threads * BLOCK, frame, &parts[t]);
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t row = 0; row < rows; row++)
            for (int64_t column = 0; column < frame->pixels; column++) {
                double sum = 0.0;
                for (int t = 0; t < threads; t++)
                    sum += parts[t].sums[row * stride + column];
                maps[row * frame->pixels + column] = sum;
            }
        *counts = (struct project_counts){0, 0, 0, 0};
        memset(lost, 0, fields * sizeof *lost);
        for (int t = 0; t < threads; t++) {
            counts->used += parts[t].counts.used;
            counts->outside += parts[t].counts.outside;
            counts->bad += parts[t].counts.bad;
            counts->overhanging += parts[t].counts.overhanging;
            for (int field = 0; field < fields; field++)
                lost[field] += parts[t].lost[field];
        }
    }
    for (int t = 0; parts != NULL && t < threads; t++) {
        free(parts[t].sums);
        free(parts[t].lost);
    }
    free(parts);
    return memory ? 0 : -1;
}
