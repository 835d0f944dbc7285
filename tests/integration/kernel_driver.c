/* Feeds the kernel everything a damaged file could hold; built with sanitizers by test_sanitizers.py. */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "project.h"
#include "smooth.h"

static uint32_t state = 1;

static uint32_t next_random(void)
{
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

static float uniform(void)
{
    return (float)next_random() / 16777216.0f;
}

/* Mostly inside a frame from -8 to 8; one in four is something that no pixel has. */
static float coordinate(void)
{
    static const float odd[] = {NAN,      INFINITY,  -INFINITY,      FLT_MAX,  -FLT_MAX, FLT_TRUE_MIN, -0.0f,
                                8.0f,     -8.0f,     7.9999995f,     -8.000001f, 2147483648.0f, -2147483904.0f,
                                9.3e18f,  -9.4e18f,  FLT_MIN,        1.0f,     1e30f};
    return next_random() % 4 ? 20.0f * uniform() - 10.0f : odd[next_random() % (sizeof odd / sizeof odd[0])];
}

static float weight(void)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY, FLT_MAX, 0.0f, FLT_TRUE_MIN};
    return next_random() % 16 ? uniform() : odd[next_random() % (sizeof odd / sizeof odd[0])];
}

/* Memory of exactly this size, so that a step beyond it is seen. */
static void *memory(size_t bytes)
{
    void *block = malloc(bytes ? bytes : 1);
    if (block == NULL)
        abort();
    return block;
}

static int draw(int64_t cells, int fields, int32_t pixels, double share, double half, double half_z, int threads)
{
    const struct project_frame frame = {{-half, -half, -half_z}, {half, half, half_z}, share * pixels, pixels};
    float *positions = memory(3 * cells * sizeof *positions), *weights = memory(fields * cells * sizeof *weights);
    const size_t size = (size_t)fields * pixels * pixels;
    double *maps = memory(size * sizeof *maps), sum = 0.0, expected = 0.0;
    struct project_counts counts;
    int64_t used = 0, bad = 0;

    for (int64_t i = 0; i < 3 * cells; i++)
        positions[i] = coordinate();
    for (int64_t i = 0; i < fields * cells; i++)
        weights[i] = weight();
    for (int64_t i = 0; i < cells; i++) {
        int finite = 1, inside = 1;
        for (int axis = 0; axis < 3; axis++) {
            const double at = positions[axis * cells + i];
            finite &= !!isfinite(at);
            inside &= at >= frame.low[axis] && at < frame.high[axis];
        }
        for (int field = 0; field < fields; field++)
            finite &= !!isfinite(weights[field * cells + i]);
        used += finite && inside;
        bad += !finite;
        for (int field = 0; field < fields && finite && inside; field++)
            expected += weights[field * cells + i];
    }
    if (project(positions, weights, cells, fields, &frame, threads, maps, &counts) != 0)
        return 1;
    for (size_t i = 0; i < size; i++)
        sum += maps[i];
    free(positions);
    free(weights);
    free(maps);
    if (counts.used != used || counts.bad != bad || counts.outside != cells - used - bad) {
        fprintf(stderr, "counts differ: %lld cells, %d fields, %d pixels\n", (long long)cells, fields, (int)pixels);
        return 1;
    }
    if (!(fabs(sum - expected) <= 1e-9 * fabs(expected))) {
        fprintf(stderr, "sums differ: %g, expected %g\n", sum, expected);
        return 1;
    }
    return 0;
}

/* From far below a pixel to far beyond the frame; one in six is no size at all, or just at a limit. */
static float size(void)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY, 0.0f, -1.0f, FLT_MAX, FLT_TRUE_MIN, FLT_MIN, 1.0f, 8.0f};
    return next_random() % 6 ? 1e-5f * powf(10.0f, 8.0f * uniform())
                             : odd[next_random() % (sizeof odd / sizeof odd[0])];
}

static int spread(int64_t cells, int fields, int32_t pixels, double half, double half_z, int threads)
{
    const struct project_frame frame = {{-half, -half, -half_z}, {half, half, half_z}, pixels, pixels};
    float *positions = memory(3 * cells * sizeof *positions), *weights = memory(fields * cells * sizeof *weights);
    float *support = memory(cells * sizeof *support);
    const size_t area = (size_t)pixels * pixels;
    double *maps = memory(fields * area * sizeof *maps), *lost = memory(fields * sizeof *lost);
    struct project_counts counts;
    int64_t bad = 0;
    int failed = 0;

    for (int64_t i = 0; i < 3 * cells; i++)
        positions[i] = coordinate();
    for (int64_t i = 0; i < fields * cells; i++)
        weights[i] = weight();
    for (int64_t i = 0; i < cells; i++) {
        int sound = isfinite(support[i] = size()) && support[i] > 0.0f;
        for (int axis = 0; axis < 3; axis++)
            sound &= !!isfinite(positions[axis * cells + i]);
        for (int field = 0; field < fields; field++)
            sound &= !!isfinite(weights[field * cells + i]);
        bad += !sound;
    }
    if (smooth(positions, support, weights, cells, fields, &frame, threads, maps, lost, &counts) != 0)
        return 1;
    for (int field = 0; field < fields; field++) {
        double sum = lost[field], all = 0.0;
        for (size_t i = 0; i < area; i++)
            sum += maps[field * area + i];
        for (int64_t i = 0; i < cells; i++)
            all += isfinite(weights[field * cells + i]) ? weights[field * cells + i] : 0.0;
        failed |= !(sum >= 0.0 && sum <= all * (1.0 + 1e-6));
    }
    failed |= counts.bad != bad || counts.used + counts.outside != cells - bad || counts.overhanging > counts.used;
    if (failed)
        fprintf(stderr, "spread: %lld cells, %d fields, %d pixels, %g\n", (long long)cells, fields, (int)pixels, half);
    free(positions);
    free(weights);
    free(support);
    free(maps);
    free(lost);
    return failed;
}

int main(void)
{
    static const int64_t cells[] = {0, 1, 63, 64, 65, 127, 1000};
    static const int32_t pixels[] = {1, 2, 7, 64};
    static const double halves[] = {8.0, 1e-30, 1e30};
    int failed = 0;

    for (size_t c = 0; c < sizeof cells / sizeof cells[0]; c++)
        for (int fields = 1; fields <= 17; fields++)
            for (size_t p = 0; p < sizeof pixels / sizeof pixels[0]; p++)
                for (size_t h = 0; h < sizeof halves / sizeof halves[0]; h++)
                    failed |= draw(cells[c], fields, pixels[p], fields % 2 ? 1.0 : 0.99, halves[h],
                                   fields % 3 ? (double)INFINITY : 2.0, 1 + (int)(next_random() % 5));
    failed |= draw(100, 3, 256, 1.0, 8.0, 8.0, 100);
    for (size_t c = 0; c < sizeof cells / sizeof cells[0]; c++)
        for (int fields = 1; fields <= 5; fields += 2)
            for (size_t p = 0; p < sizeof pixels / sizeof pixels[0]; p++)
                for (size_t h = 0; h < sizeof halves / sizeof halves[0]; h++)
                    failed |= spread(cells[c], fields, pixels[p], halves[h], fields % 3 ? (double)INFINITY : 2.0,
                                     1 + (int)(next_random() % 5));
    failed |= spread(300, 3, 256, 8.0, 8.0, 3) | spread(300, 2, 300, 8.0, 8.0, 1) | spread(20, 1, 700, 800.0, 8.0, 1);
    return failed;
}
