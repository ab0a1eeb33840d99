/* What showing a clip asks of the processor besides convolutions. See library.py.

   Pictures are square; planes lie channel after channel, row by row. Pixels that are sampled lie packed, 4 or 8 numbers
   each, so that one load fetches all that is known of one. */

#include <math.h>

#include "vectors.h"

typedef float four __attribute__((vector_size(16)));
typedef float eight __attribute__((vector_size(32)));

static inline four load4(const float *from) { four v; memcpy(&v, from, sizeof v); return v; }
static inline eight load8(const float *from) { eight v; memcpy(&v, from, sizeof v); return v; }
static inline void store4(float *to, four v) { memcpy(to, &v, sizeof v); }
static inline vec sigmoid(vec x) { return 1.0f / (1.0f + exponential(-x)); }

/* Clamped; what is no number becomes `low`, so that it can be an index. */
static inline float within(float x, float low, float high) { return x > low ? (x < high ? x : high) : low; }

/* Channels of what the warp decoder predicts of a pixel; heads.py has the same ones, and a test compares them. */
enum { RETOUCH = 0, MOTION = 3, ORDER = 5, VISIBILITY = 6, FOREGROUND = 7, CHANNELS = 8 };

/* The constants of warp_decoder.py, splat.py and fill.py, under the names that they have there. */
struct rules {
    float order_per_px, largest_order, nearness_per_px, least_nearness;
    float gap, gap_weight, splat_tiny, steep, steepest, smallest_miss, largest_miss;
    float least_weight, fill_tiny, fill_range;
};

/* Between which two places a point lies, and how near to the second; points outside take the border. */
struct between { int low, high; float share; };
static inline struct between locate(float x, int side) {
    x = within(x, 0.0f, (float)(side - 1));
    int low = (int)x;
    return (struct between){low, low + 1 < side ? low + 1 : low, x - (float)low};
}

/* Packed pixels, sampled bilinearly. */
static inline four sampled4(const float *packed, int side, float x, float y) {
    const struct between column = locate(x, side), row = locate(y, side);
    const float *upper = packed + 4L * row.low * side, *lower = packed + 4L * row.high * side;
    const four left = load4(upper + 4 * column.low) * (1 - row.share) + load4(lower + 4 * column.low) * row.share;
    const four right = load4(upper + 4 * column.high) * (1 - row.share) + load4(lower + 4 * column.high) * row.share;
    return left * (1 - column.share) + right * column.share;
}
static inline eight sampled8(const float *packed, int side, float x, float y) {
    const struct between column = locate(x, side), row = locate(y, side);
    const float *upper = packed + 8L * row.low * side, *lower = packed + 8L * row.high * side;
    const eight left = load8(upper + 8 * column.low) * (1 - row.share) + load8(lower + 8 * column.low) * row.share;
    const eight right = load8(upper + 8 * column.high) * (1 - row.share) + load8(lower + 8 * column.high) * row.share;
    return left * (1 - column.share) + right * column.share;
}

/* Twice the side, bilinearly, pixel centres aligned as pixels are: one row. `below` is the second coarse row, with the
   weight `share`. */
static void doubled_row(float *out, const float *row, const float *below, float share, int side, float *blend) {
    for (int x = 0; x < side; x++) blend[x] = row[x] + share * (below[x] - row[x]);
    out[0] = blend[0], out[2 * side - 1] = blend[side - 1];
    for (int x = 0; x + 1 < side; x++) {
        out[2 * x + 1] = 0.75f * blend[x] + 0.25f * blend[x + 1];
        out[2 * x + 2] = 0.25f * blend[x] + 0.75f * blend[x + 1];
    }
}

/* Where a row or column of the doubled picture lies on the picture. */
static inline float doubled_from(int at) { return 0.5f * (float)at - 0.25f; }

/* continuity_mask() of splat.py. */
static void find_continuity(float *continuity, const float *dx, const float *dy, int side, const struct rules *rules) {
    const float scale = 1.0f / (rules->steepest - rules->steep);
    for (int y = 0; y < side; y++) {
        const float *u = dx + y * side, *v = dy + y * side;
        const int inner = y > 0 && y + 1 < side, up = inner ? -side : 0, down = inner ? side : 0;
        float *out = continuity + y * side;
        for (int x = 0; x < side; x++) {
            float steep = (u[x + down] - u[x]) * (u[x] - u[x + up]) + (v[x + down] - v[x]) * (v[x] - v[x + up]);
            out[x] = steep > 0.0f ? steep : 0.0f;
        }
        for (int x = 1; x + 1 < side; x++) {
            float steep = (u[x + 1] - u[x]) * (u[x] - u[x - 1]) + (v[x + 1] - v[x]) * (v[x] - v[x - 1]);
            out[x] = steep > out[x] ? steep : out[x];
        }
        for (int x = 0; x < side; x++) out[x] = within((rules->steepest - sqrtf(out[x])) * scale, 0.0f, 1.0f);
    }
}

/* Sum of the packed pixels within `reach` of a place, and how many they are. */
static four around(const float *packed, int x, int y, int side, int reach, int *count) {
    const int left = x > reach ? x - reach : 0, right = x + reach < side ? x + reach : side - 1;
    const int top = y > reach ? y - reach : 0, bottom = y + reach < side ? y + reach : side - 1;
    four sum = {0};
    for (int j = top; j <= bottom; j++)
        for (int i = left; i <= right; i++) sum += load4(packed + 4 * (j * side + i));
    *count = (right - left + 1) * (bottom - top + 1);
    return sum;
}

/* forward_splat() of splat.py; `weight` is e to the order. sums: 4 side^2 numbers of scratch. */
static void forward_splat(
    float *flow_x, float *flow_y, const float *dx, const float *dy, const float *weight, int side, float *sums,
    const struct rules *rules
) {
    const float top = (float)(side - 1);
    memset(sums, 0, sizeof(float) * 4 * side * side);
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) {
            const int at = y * side + x;
            const float to_x = (float)x + dx[at], to_y = (float)y + dy[at];
            if (!(to_x > -1.0f && to_x < top + 1.0f && to_y > -1.0f && to_y < top + 1.0f)) continue;
            const int left = (int)floorf(to_x), above = (int)floorf(to_y);
            const float right = to_x - (float)left, below = to_y - (float)above;
            const four weighted = {weight[at] * dx[at], weight[at] * dy[at], weight[at], 1.0f};
            float *cell = sums + 4 * (above * side + left);
            const int in_left = left >= 0, in_right = left + 1 < side;
            if (above >= 0) {
                if (in_left) store4(cell, load4(cell) + weighted * ((1 - right) * (1 - below)));
                if (in_right) store4(cell + 4, load4(cell + 4) + weighted * (right * (1 - below)));
            }
            if (above + 1 < side) {
                float *next = cell + 4 * side;
                if (in_left) store4(next, load4(next) + weighted * ((1 - right) * below));
                if (in_right) store4(next + 4, load4(next + 4) + weighted * (right * below));
            }
        }
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) {
            const int at = y * side + x;
            four here = load4(sums + 4 * at);
            const float lack = 1.0f - here[3] / rules->gap;
            if (lack > 0.0f) {
                int near_count, wide_count;
                four near = around(sums, x, y, side, 1, &near_count) / (float)near_count;
                four wide = around(sums, x, y, side, 2, &wide_count) / (float)wide_count;
                here += lack * rules->gap_weight * (near + rules->gap_weight * wide);
            }
            const float sum = here[2] > rules->splat_tiny ? here[2] : rules->splat_tiny;
            flow_x[at] = -here[0] / sum, flow_y[at] = -here[1] / sum;
        }
}

/* filled() of fill.py, in place: `packed` are red, green, blue and weight, 4 side^2 numbers; side is a power of two.
   coarser: 4 side^2 / 3 numbers of scratch for the levels of the pyramid. */
static void fill(float *packed, int side, float *coarser, const struct rules *rules) {
    float most = rules->fill_tiny;
    for (int at = 0; at < side * side; at++) most = packed[4 * at + 3] > most ? packed[4 * at + 3] : most;
    for (int at = 0; at < side * side; at++) {
        const float weight = packed[4 * at + 3] / most;
        four pixel = load4(packed + 4 * at) * weight;
        pixel[3] = weight;
        store4(packed + 4 * at, pixel);
    }
    float *levels[16] = {packed};
    int depth = 0, size = side;
    for (float *next = coarser; size > 1; next += 4 * size * size) {
        const float *from = levels[depth++];
        const int wide = size;
        levels[depth] = next, size /= 2;
        for (int y = 0; y < size; y++)
            for (int x = 0; x < size; x++) {
                const float *corner = from + 4 * (2 * y * wide + 2 * x), *under = corner + 4 * wide;
                store4(next + 4 * (y * size + x),
                       0.25f * (load4(corner) + load4(corner + 4) + load4(under) + load4(under + 4)));
            }
    }
    four last = load4(levels[depth]);
    store4(levels[depth], last / (last[3] > rules->fill_tiny ? last[3] : rules->fill_tiny));
    for (int level = depth - 1; level >= 0; level--, size *= 2) {
        const float *from = levels[level + 1];
        float *to = levels[level];
        for (int y = 0; y < 2 * size; y++)
            for (int x = 0; x < 2 * size; x++) {
                const four coarse = sampled4(from, size, doubled_from(x), doubled_from(y));
                float *pixel = to + 4 * (y * 2 * size + x);
                const four own = load4(pixel);
                store4(pixel, (own + rules->least_weight * coarse) / (own[3] + rules->least_weight));
            }
    }
}

/* Numbers of scratch that a frame of warp_frames() takes. */
long warp_scratch(int side) { return 26L * side * side + 8L * side; }

/* From what the warp decoder's networks predict of `count` frames to the frames; see warp_decoder.py.
   heads: frames x side x side x CHANNELS; coarse: frames x 3 x (side / 2)^2, motion and order. Frame f has the source at source + (f / frames_per_source) * source_stride.
   Written: clip and paint, frames x 3 planes; motion and backward_flow, frames x 2; coverage, frames x 1. */
void warp_frames(
    long count, int side, const float *heads, const float *coarse, const float *source, long frames_per_source,
    long source_stride, long first, float *clip, float *paint, float *motion, float *backward_flow, float *coverage,
    float *scratch, const struct rules *rules
) {
    const int area = side * side, half = side / 2;
    float *order = scratch, *visibility = order + area, *continuity = visibility + area, *known = continuity + area;
    float *retouch = known + area, *packed = retouch + 3 * area, *pixels = packed + 8 * area;
    float *spare = pixels + 4 * area, *rows = spare + 6 * area;
    for (long f = first; f < first + count; f++) {
        const float *predicted = heads + f * CHANNELS * area, *wide = coarse + f * 3 * half * half;
        const float *still = source + f / frames_per_source * source_stride;
        float *dx = motion + f * 2 * area, *dy = dx + area, *flow_x = backward_flow + f * 2 * area, *flow_y = flow_x + area;
        float *planes[3] = {dx, dy, order};
        float *foreground = spare;
        for (int plane = 0; plane < 3; plane++)
            for (int y = 0; y < side; y++) {
                const struct between row = locate(doubled_from(y), half);
                const float *from = wide + plane * half * half;
                float *out = planes[plane] + y * side;
                doubled_row(out, from + row.low * half, from + row.high * half, row.share, half, rows);
                for (int x = 0; x < side; x++) out[x] += predicted[CHANNELS * (y * side + x) + MOTION + plane];
            }
        for (int at = 0; at < area; at++) {
            for (int c = 0; c < 3; c++) retouch[c * area + at] = predicted[CHANNELS * at + RETOUCH + c];
            visibility[at] = predicted[CHANNELS * at + VISIBILITY], foreground[at] = predicted[CHANNELS * at + FOREGROUND];
        }
        for (int at = 0; at < area; at += LANES) {
            const vec gate = sigmoid(load(foreground + at));
            store(dx + at, load(dx + at) * gate);
            store(dy + at, load(dy + at) * gate);
            store(visibility + at, sigmoid(load(visibility + at)));
        }
        find_continuity(continuity, dx, dy, side, rules);
        for (int at = 0; at < area; at++) {
            const float front = order[at] + rules->order_per_px * sqrtf(dx[at] * dx[at] + dy[at] * dy[at]);
            order[at] = within(front - rules->largest_order * (1 - continuity[at]), -rules->largest_order, rules->largest_order);
        }
        for (int at = 0; at < area; at += LANES) store(order + at, exponential(load(order + at)));
        forward_splat(flow_x, flow_y, dx, dy, order, side, spare, rules);

        for (int at = 0; at < area; at++) {
            float *pixel = packed + 8 * at;
            for (int c = 0; c < 3; c++) pixel[c] = still[c * area + at];
            pixel[3] = continuity[at], pixel[4] = dx[at], pixel[5] = dy[at], pixel[6] = pixel[7] = 0.0f;
        }
        const float falling = 1.0f / (rules->largest_miss - rules->smallest_miss), edge = (float)side - 0.5f;
        float *covered = coverage + f * area;
        for (int y = 0; y < side; y++)
            for (int x = 0; x < side; x++) {
                const int at = y * side + x;
                const float from_x = (float)x + flow_x[at], from_y = (float)y + flow_y[at];
                const eight found = sampled8(packed, side, from_x, from_y);
                const float miss_x = found[4] + flow_x[at], miss_y = found[5] + flow_y[at];
                const float miss = sqrtf(miss_x * miss_x + miss_y * miss_y);
                const int inside = from_x > -0.5f && from_x < edge && from_y > -0.5f && from_y < edge;
                covered[at] =
                    inside ? within((rules->largest_miss - miss) * falling, 0.0f, 1.0f) * found[3] * visibility[at] : 0.0f;
                known[at] = -rules->nearness_per_px * sqrtf(flow_x[at] * flow_x[at] + flow_y[at] * flow_y[at]);
                memcpy(pixels + 4 * at, &found, sizeof(four));
            }
        float *warped = packed;
        for (int at = 0; at < area; at += LANES) store(known + at, exponential(load(known + at)));
        for (int at = 0; at < area; at++) {
            const float nearness = known[at] > rules->least_nearness ? known[at] : rules->least_nearness;
            for (int c = 0; c < 3; c++) warped[c * area + at] = pixels[4 * at + c];
            pixels[4 * at + 3] = covered[at] * covered[at] * nearness;
        }
        fill(pixels, side, spare, rules);
        for (int c = 0; c < 3; c++) {
            float *painted = paint + (f * 3 + c) * area, *seen = clip + (f * 3 + c) * area;
            for (int at = 0; at < area; at++) painted[at] = rules->fill_range * pixels[4 * at + c];
            for (int at = 0; at < area; at += LANES) {
                const vec filled = load(painted + at), shift = 2.0f * sigmoid(2.0f * load(retouch + c * area + at)) - 1.0f;
                const vec both = (filled + shift) / (1.0f + filled * shift), shown = load(warped + c * area + at);
                store(painted + at, both);
                store(seen + at, both + load(covered + at) * (shown - both));
            }
        }
    }
}

/* A frame at a person's resolution: `side` from the model's `size`, of which rows and columns [top, top + height) and
   [left, left + width) are written, uint8 RGB. picture: side x side x 4, packed, in [-1, 1]. backward_flow, coverage and
   paint are planes as warp_frames() writes them. Bilinear; side is at least size. row: 8 size numbers of scratch. */
void show_frame(
    int size, int side, const float *picture, const float *backward_flow, const float *coverage, const float *paint,
    int top, int left, int height, int width, uint8_t *out, float *row
) {
    const int area = size * size;
    const float ratio = (float)size / (float)side, larger = (float)side / (float)size;
    const float *planes[6] = {backward_flow, backward_flow + area, coverage, paint, paint + area, paint + 2 * area};
    memset(row, 0, sizeof(float) * 8 * size);
    for (int y = top; y < top + height; y++) {
        const struct between rows = locate(((float)y + 0.5f) * ratio - 0.5f, size);
        for (int plane = 0; plane < 6; plane++) {
            const float *upper = planes[plane] + rows.low * size, *lower = planes[plane] + rows.high * size;
            for (int x = 0; x < size; x++) row[8 * x + plane] = upper[x] + rows.share * (lower[x] - upper[x]);
        }
        for (int x = left; x < left + width; x++, out += 3) {
            const struct between columns = locate(((float)x + 0.5f) * ratio - 0.5f, size);
            const eight one = load8(row + 8 * columns.low), two = load8(row + 8 * columns.high);
            const eight values = one + columns.share * (two - one);
            const four warped = sampled4(picture, side, (float)x + larger * values[0], (float)y + larger * values[1]);
            const four painted = {values[3], values[4], values[5], 0.0f};
            const four pixel = (painted + values[2] * (warped - painted) + 1.0f) * 127.5f;
            for (int c = 0; c < 3; c++) out[c] = (uint8_t)lrintf(within(pixel[c], 0.0f, 255.0f));
        }
    }
}
