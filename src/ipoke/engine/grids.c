/* What sampling a latent asks of the processor besides matrix products, on grids of 8 x 8 places. See library.py.

   Values lie place after place, row by row, channels next to each other: x has `x_stride` channels per place. */

#include "vectors.h"

#define SIDE 8
#define BLOCK 32

/* Turn logits a into (1 + e^-a) / 2, bounded to B tanh(a / B) before if B is not 0; `count` is a multiple of 16. */
static void inverse_scales(float *logits, int count, float bound) {
    for (int i = 0; i < count; i += LANES) {
        vec a = load(logits + i);
        if (bound > 0.0f) a = bound - 2.0f * bound / (exponential(a * (2.0f / bound)) + 1.0f);
        store(logits + i, 0.5f + 0.5f * exponential(-a));
    }
}

/* out[place][o] = sum over taps and channels of in[tap][place * stride + c] * weights[tap][c][o]. */
static void product(float *out, const float *weights, const float *const *in, int taps, int stride, int channels, int outs) {
    for (int o = 0; o < outs; o += WIDE * LANES) {
        vec sums[SIDE][WIDE];
        memset(sums, 0, sizeof sums);
        for (int tap = 0; tap < taps; tap++) {
            const float *row = weights + (size_t)tap * channels * outs + o;
            const float *seen = in[tap];
            for (int c = 0; c < channels; c++, row += outs) {
                vec w[WIDE];
                for (int v = 0; v < WIDE; v++) w[v] = load(row + v * LANES);
#pragma GCC unroll 8
                for (int place = 0; place < SIDE; place++)
#pragma GCC unroll 2
                    for (int v = 0; v < WIDE; v++) sums[place][v] += w[v] * seen[place * stride + c];
            }
        }
        for (int place = 0; place < SIDE; place++)
            for (int v = 0; v < WIDE; v++) store(out + (size_t)place * outs + o + v * LANES, sums[place][v]);
    }
}

static inline vec elu(vec x) { return choose(x > 0.0f, x, exponential(x) - 1.0f); }

/* ELU of `count` numbers, a multiple of 16, in place. */
void elu_float32(float *values, long count) {
    for (long i = 0; i < count; i += LANES) store(values + i, elu(load(values + i)));
}

/* The same for bfloat16, the upper half of a float32, rounded to the nearest; e^x is good to 1e-4. */
#if defined(__AVX512BF16__)
void elu_bfloat16(uint16_t *values, long count) {
    for (long i = 0; i < count; i += 16) {
        __m512i half = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(values + i)));
        __m512 x = _mm512_castsi512_ps(_mm512_slli_epi32(half, 16));
        __m512 turns = _mm512_mul_ps(_mm512_max_ps(_mm512_set1_ps(-80.0f), x), _mm512_set1_ps(1.44269504f));
        __m512 whole = _mm512_roundscale_ps(turns, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        __m512 rest = _mm512_sub_ps(turns, whole);
        __m512 sum = _mm512_fmadd_ps(_mm512_set1_ps(0.0558263f), rest, _mm512_set1_ps(0.2401536f));
        sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(0.6931531f));
        sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(1.0f));
        __m512 below = _mm512_sub_ps(_mm512_scalef_ps(sum, whole), _mm512_set1_ps(1.0f));
        __mmask16 positive = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ);
        __m256bh found = _mm512_cvtneps_pbh(_mm512_mask_blend_ps(positive, below, x));
        memcpy(values + i, &found, sizeof found);
    }
}
#else
void elu_bfloat16(uint16_t *values, long count) {
    const vec shift = all(12582912.0f);
    for (long i = 0; i < count; i += LANES) {
        halves half;
        memcpy(&half, values + i, sizeof half);
        vec x = (vec)(__builtin_convertvector(half, ints) << 16);
        vec low = choose(x > 0.0f, all(0.0f), x);
        low = choose(low < -80.0f, all(-80.0f), low);
        vec turns = low * 1.44269504f + shift;
        ints power = (ints)turns - (ints)shift;
        vec rest = low - (turns - shift) * 0.693147181f;
        vec sum = all(1.0f / 24);
        sum = sum * rest + 1.0f / 6;
        sum = sum * rest + 0.5f;
        sum = sum * rest + 1.0f;
        sum = sum * rest + 1.0f;
        ints bits = (ints)choose(x > 0.0f, x, sum * (vec)((power + 127) << 23) - 1.0f);
        half = __builtin_convertvector((bits + 0x7FFF + (bits >> 16 & 1)) >> 16, halves);
        memcpy(values + i, &half, sizeof half);
    }
}
#endif

/* Scale and shift `count` channels from `first` on, in place. */
void scale_and_shift(float *x, long x_stride, long batch, int first, int count, const float *scale, const float *shift) {
    for (long place = 0; place < batch * SIDE * SIDE; place++) {
        float *value = x + place * x_stride + first;
        for (int c = 0; c < count; c++) value[c] = value[c] * scale[c] + shift[c];
    }
}

/* bfloat16 is the upper half of a float32; rounded to the nearest, ties to even. */
static inline uint16_t narrowed(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/* Lay out the 3 x 3 neighbourhood of each place, zeros outside: out is batch x 64 x 9 x count, in bfloat16 if `narrow`
   and else in float32. Taken are `count` channels from `first` on, `step` apart. */
void neighbourhoods(void *out, int narrow, const float *x, long x_stride, long batch, int first, int step, int count) {
    const size_t tap_size = (narrow ? sizeof(uint16_t) : sizeof(float)) * count, size = 9 * tap_size;
    for (long sample = 0; sample < batch; sample++, out = (char *)out + SIDE * SIDE * size) {
        for (int place = 0; place < SIDE * SIDE; place++, x += x_stride) {
            void *own = (char *)out + place * size + 4 * tap_size;
            if (narrow)
                for (int c = 0; c < count; c++) ((uint16_t *)own)[c] = narrowed(x[first + c * step]);
            else
                for (int c = 0; c < count; c++) ((float *)own)[c] = x[first + c * step];
        }
        for (int place = 0; place < SIDE * SIDE; place++)
            for (int tap = 0; tap < 9; tap++) {
                int y = place / SIDE + tap / 3 - 1, z = place % SIDE + tap % 3 - 1;
                char *to = (char *)out + place * size + tap * tap_size;
                if (y < 0 || y >= SIDE || z < 0 || z >= SIDE) memset(to, 0, tap_size);
                else if (tap != 4) memcpy(to, (char *)out + (y * SIDE + z) * size + 4 * tap_size, tap_size);
            }
    }
}

/* What 64 places receive from their neighbours, added to `bias`: given is, for each of nine taps, what each place gives
   to the place for which it lies there; the taps are `stride` apart. */
static void received(float *sums, const float *given, long stride, float bias) {
    float columns[3][SIDE][SIDE + 2];
    memset(columns, 0, sizeof columns);
    for (int tap = 0; tap < 9; tap++, given += stride) {
        int first = tap / 3 == 0, last = tap / 3 == 2 ? SIDE - 1 : SIDE;
        for (int y = first; y < last; y++)
            for (int z = 0; z < SIDE; z++) columns[tap % 3][y][z + 1] += given[(y + tap / 3 - 1) * SIDE + z];
    }
    for (int y = 0; y < SIDE; y++)
        for (int z = 0; z < SIDE; z++)
            sums[y * SIDE + z] = bias + columns[0][y][z] + columns[1][y][z + 1] + columns[2][y][z + 2];
}

/* Undo a coupling in place: taps are 9 x (shifts, logits) x batch x 64, what each place gives to its neighbours, of
   type bfloat16 if `narrow` and else float32. scratch: 64 x (9 + 2 count) numbers. */
void undo_coupling(
    float *x, long x_stride, long batch, int first, int step, int count, const void *taps, int narrow,
    const float *bias, float bound, float *scratch
) {
    const long places = batch * SIDE * SIDE, outs = 2 * count;
    float *wide = scratch, *shifts = scratch + 9 * SIDE * SIDE, *scales = shifts + count * SIDE * SIDE;
    for (long sample = 0; sample < batch; sample++, x += SIDE * SIDE * x_stride) {
        for (long o = 0; o < outs; o++) {
            long from = o * places + sample * SIDE * SIDE, stride = outs * places;
            const float *given = (const float *)taps + from;
            if (narrow) {
                for (int tap = 0; tap < 9; tap++)
                    for (int place = 0; place < SIDE * SIDE; place++) {
                        uint32_t bits = (uint32_t)((const uint16_t *)taps)[from + tap * stride + place] << 16;
                        memcpy(wide + tap * SIDE * SIDE + place, &bits, sizeof bits);
                    }
                given = wide, stride = SIDE * SIDE;
            }
            received(shifts + o * SIDE * SIDE, given, stride, bias[o]);
        }
        inverse_scales(scales, count * SIDE * SIDE, bound);
        for (int place = 0; place < SIDE * SIDE; place++) {
            float *value = x + place * x_stride + first;
            for (int c = 0; c < count; c++) {
                int at = c * SIDE * SIDE + place;
                value[c * step] = (value[c * step] - shifts[at]) * scales[at];
            }
        }
    }
}

/* Undo a masked convolution in place, line after line; see masked_conv.py for the map. A walk visits the 8 lines of the
   grid; `first`, `step` and `across` say at which place it starts, and how many places on the next line and the next
   place of a line lie. conv holds, for the far and then the near line and three neighbours in each, channels x hidden
   weights; project hidden x (shifts, then logits). Hidden is padded with zeros to a multiple of
   BLOCK, shifts and logits to multiples of 16.
   known: (shifts, logits) that need no solved line, `known_stride` apart.
   seen: bound on what is seen of solved lines.
   lines: (SIDE + 2) x (SIDE + 2) x channels, work: SIDE x (hidden + outs), scratch. */
void undo_masked_conv(
    float *x, long x_stride, long batch, const float *known, long known_stride, int first, int step, int across,
    int channels, int hidden, int outs, const float *conv, const float *project, float bound, float seen, float *lines,
    float *work
) {
    const int width = (SIDE + 2) * channels, half = outs / 2;
    float *features = work, *parameters = work + SIDE * hidden;
    memset(lines, 0, sizeof(float) * (SIDE + 2) * width);
    for (long sample = 0; sample < batch; sample++) {
        for (int line = 0; line < SIDE; line++) {
            memset(parameters, 0, sizeof(float) * SIDE * outs);
            if (line > 0) {
                const float *taps[6];
                for (int tap = 0; tap < 6; tap++) taps[tap] = lines + (line + tap / 3) * width + (tap % 3) * channels;
                product(features, conv, taps, 6, channels, channels, hidden);
                elu_float32(features, SIDE * hidden);
                const float *one[1] = {features};
                product(parameters, project, one, 1, hidden, hidden, outs);
            }
            for (int place = 0; place < SIDE; place++) {
                long at = sample * SIDE * SIDE + first + line * step + place * across;
                float *value = x + at * x_stride, *solved = lines + (line + 2) * width + (place + 1) * channels;
                const float *shifts = known + at * known_stride, *logits = shifts + channels;
                float *found = parameters + place * outs;
                for (int c = 0; c < channels; c++) {
                    found[c] += shifts[c];
                    found[half + c] += logits[c];
                }
                inverse_scales(found + half, half, bound);
                for (int c = 0; c < channels; c++) {
                    value[c] = (value[c] - found[c]) * found[half + c];
                    solved[c] = value[c] > seen ? seen : value[c] < -seen ? -seen : value[c];
                }
            }
        }
    }
}
