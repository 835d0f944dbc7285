/* Gas cells onto square maps, each spread over its own size: every field in one pass. */
#ifndef SSFR_SMOOTH_H
#define SSFR_SMOOTH_H

#include <stdint.h>

#include "project.h"

/*
 * Spread the weights of the cells over maps, each cell by
 *
 *     W(d) = 7 / (pi H^2) (1 - q)^4 (1 + 4 q),   q = d / H < 1,
 *
 * the Wendland C2 kernel in two dimensions (Dehnen & Aly 2012, MNRAS 425, 1068), where d is the distance
 * on the map from the centre of the cell, and H its `support`. A pixel gets the integral of W over its area.
 *
 * positions, weights, frame, maps, threads, and the return value are as in project.h; `frame->bins` is not
 * used. support: `cells` floats in the unit of the positions. lost: `fields` doubles, overwritten: what
 * the used cells have outside the frame, so that in x and y maps and `lost` together hold their weights.
 *
 * A cell is used if its kernel reaches into the frame and its centre is within the range of z; it
 * overhangs if a part of it is outside. It is bad, too, if its support is not positive and finite.
 *
 * Weights of a cell add up to 1, to rounding below a support of 24 pixels and to 3e-7 above. A pixel is
 * within 1e-3 of the cell's largest one; a cell that lies in one pixel, or is smaller than a thousandth
 * of one, is added as by project().
 */
int smooth(const float *positions, const float *support, const float *weights, int64_t cells, int fields,
           const struct project_frame *frame, int threads, double *maps, double *lost,
           struct project_counts *counts);

#endif
