/* Vectors of the instruction set that is compiled for, and the shape of a block of results that fills its registers.

   Every product and sum is written out: multiply_add rounds once, and nothing else is contracted (-ffp-contract=off). No
   result depends on the width of a vector or the shape of a block, so that two sets with multiply_add agree in every
   bit. */

#include <math.h>

/* A block is ROWS rows of WIDE vectors. It has to hide the latency of multiply_add (4 cycles, two a cycle) and to leave
   registers for WIDE vectors and a scalar: 16 + 3 of 32, 12 + 3 of 16, 16 + 8 of 32. */
#if defined(__AVX512F__)
#include <immintrin.h>
#define SET "AVX-512"
#define LANES 16
#define ROWS 8
#define WIDE 2
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define SET "AVX2 and FMA"
#define LANES 8
#define ROWS 6
#define WIDE 2
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#define SET "NEON"
#define LANES 4
#define ROWS 4
#define WIDE 4
#else
#define SET "no vectors of its own"
#define LANES 4
#define ROWS 4
#define WIDE 2
#endif

typedef float vector __attribute__((vector_size(4 * LANES)));
typedef float loose __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int mask __attribute__((vector_size(4 * LANES)));

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

INLINE vector load(const float *from) { return *(const loose *)from; }
INLINE void store(float *to, vector value) { *(loose *)to = value; }
INLINE vector spread(float value) { return value - (vector){0}; }

/* `value`, 0 where `condition` holds; NaN compares false and stays. */
INLINE vector without(vector value, mask condition) { return (vector)((mask)value & ~condition); }

/* a * b + c, rounded once where the processor can do so, and of one number or a vector of them. */
#if defined(__FMA__) || defined(__aarch64__)
INLINE float multiply_add1(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#else
INLINE float multiply_add1(float a, float b, float c) { return a * b + c; }
#endif
#if defined(__AVX512F__)
INLINE vector multiply_add(vector a, vector b, vector c) {
    return (vector)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
INLINE vector root(vector value) { return (vector)_mm512_sqrt_ps((__m512)value); }
#elif defined(__AVX2__) && defined(__FMA__)
INLINE vector multiply_add(vector a, vector b, vector c) {
    return (vector)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
INLINE vector root(vector value) { return (vector)_mm256_sqrt_ps((__m256)value); }
#elif defined(__ARM_NEON) && defined(__aarch64__)
INLINE vector multiply_add(vector a, vector b, vector c) {
    return (vector)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
INLINE vector root(vector value) { return (vector)vsqrtq_f32((float32x4_t)value); }
#else
INLINE vector multiply_add(vector a, vector b, vector c) { return a * b + c; }
INLINE vector root(vector value) {
    for (int i = 0; i < LANES; i++) value[i] = sqrtf(value[i]);
    return value;
}
#endif

/* Elements of two vectors in a new order, by the numbers 0 .. 2 * LANES - 1. */
#if defined(__clang__)
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (mask){__VA_ARGS__})
#endif

/* A step of a transpose: of each two rows that are DISTANCE apart, the blocks off the diagonal change places. */
#define EXCHANGE(DISTANCE, FIRST, SECOND)                      \
    UNROLL for (int i = 0; i < LANES; i++) {                   \
        if (i & DISTANCE) continue;                            \
        vector a = rows[i], b = rows[i + DISTANCE];            \
        rows[i] = PICK(a, b, FIRST);                           \
        rows[i + DISTANCE] = PICK(a, b, SECOND);               \
    }
#define LIST(...) __VA_ARGS__

/* A square of LANES x LANES numbers, transposed in registers. */
INLINE void turn(vector rows[LANES]) {
#if LANES == 16
    EXCHANGE(8, LIST(0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
             LIST(8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))
    EXCHANGE(4, LIST(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27),
             LIST(4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31))
    EXCHANGE(2, LIST(0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
             LIST(2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
    EXCHANGE(1, LIST(0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30),
             LIST(1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31))
#elif LANES == 8
    EXCHANGE(4, LIST(0, 1, 2, 3, 8, 9, 10, 11), LIST(4, 5, 6, 7, 12, 13, 14, 15))
    EXCHANGE(2, LIST(0, 1, 8, 9, 4, 5, 12, 13), LIST(2, 3, 10, 11, 6, 7, 14, 15))
    EXCHANGE(1, LIST(0, 8, 2, 10, 4, 12, 6, 14), LIST(1, 9, 3, 11, 5, 13, 7, 15))
#else
    EXCHANGE(2, LIST(0, 1, 4, 5), LIST(2, 3, 6, 7))
    EXCHANGE(1, LIST(0, 4, 2, 6), LIST(1, 5, 3, 7))
#endif
}
