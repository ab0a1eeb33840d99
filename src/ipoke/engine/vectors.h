/* Numbers side by side, as wide as the processor takes them, and e^x of them. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#define WIDE 2
#elif defined(__AVX__)
#define LANES 8
#define WIDE 1
#else
#define LANES 4
#define WIDE 2
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int ints __attribute__((vector_size(4 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));

static inline vec load(const float *from) { vec v; memcpy(&v, from, sizeof v); return v; }
static inline void store(float *to, vec v) { memcpy(to, &v, sizeof v); }
static inline vec all(float value) { return value - (vec){0}; }
static inline vec choose(ints mask, vec yes, vec no) { return (vec)((mask & (ints)yes) | (~mask & (ints)no)); }

/* e^x to 1e-7 relative; clamped where it would leave the normal numbers. */
static inline vec exponential(vec x) {
    const vec shift = all(12582912.0f);
    x = choose(x > 88.0f, all(88.0f), choose(x < -87.0f, all(-87.0f), x));
    vec turns = x * 1.44269504f + shift;
    ints power = (ints)turns - (ints)shift;
    turns -= shift;
    vec rest = x - turns * 0.693145752f - turns * 1.42860677e-6f;
    vec sum = all(1.0f / 5040);
    sum = sum * rest + 1.0f / 720;
    sum = sum * rest + 1.0f / 120;
    sum = sum * rest + 1.0f / 24;
    sum = sum * rest + 1.0f / 6;
    sum = sum * rest + 0.5f;
    sum = sum * rest + 1.0f;
    sum = sum * rest + 1.0f;
    return sum * (vec)((power + 127) << 23);
}
