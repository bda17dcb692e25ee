/* Layers whose products take bf16 factors: what kernel.c is built with for `precision: bf16`, in the place of
   kernel_layers.h, whose text names the step in fp32 and stays as it is.

   Weights, activations and gradients are rounded to bf16 (to nearest, ties to even; subnormals to zero) just before
   they are multiplied. Products of two bf16 numbers are exact in fp32, and their sums, biases, the norm and Adam with
   its weights remain in fp32. Factors lie in pairs, two neighbours along the sum in one word, and a word of each side
   makes one instruction, which adds the product of the high halves and then that of the low ones, each sum rounded
   once: terms are added in the order 1, 0, 3, 2, 5, 4, ... An odd number of terms is filled up by a zero.

   Without the instruction the same bits are computed from the same words by two multiply_adds. That is slower than
   fp32, and for tests only. */

#include "kernel_layers.h"

typedef int word __attribute__((may_alias));
typedef short halves __attribute__((vector_size(4 * LANES)));

#if defined(__AVX512BF16__) && LANES == 16
#undef SET
#define SET "AVX512-BF16"
#define HAS_PAIRS 1
#else
#define HAS_PAIRS 0
#endif

#define HIGH ((int)0xffff0000)

/* --- pairs ------------------------------------------------------------------------------------------------------- */

INLINE mask pairs_at(const float *from) { return (mask)load(from); }
INLINE void put_pairs(float *to, mask pairs) { store(to, (vector)pairs); }
INLINE vector low_of(mask pairs) { return (vector)(pairs << 16); }
INLINE vector high_of(mask pairs) { return (vector)(pairs & HIGH); }

/* The halves of two vectors of words in turn, a0 b0 a1 b1 ..., from half F of each on. */
#if defined(__clang__)
#define PICK_HALVES(a, b, ...) (mask) __builtin_shufflevector((halves)(a), (halves)(b), __VA_ARGS__)
#else
#define PICK_HALVES(a, b, ...) (mask) __builtin_shuffle((halves)(a), (halves)(b), (halves){__VA_ARGS__})
#endif
#if LANES == 16
#define IN_TURN(a, b, F)                                                                                        \
    PICK_HALVES(a, b, F, F + 32, F + 1, F + 33, F + 2, F + 34, F + 3, F + 35, F + 4, F + 36, F + 5, F + 37, F + 6,  \
                F + 38, F + 7, F + 39, F + 8, F + 40, F + 9, F + 41, F + 10, F + 42, F + 11, F + 43, F + 12, F + 44, \
                F + 13, F + 45, F + 14, F + 46, F + 15, F + 47)
#elif LANES == 8
#define IN_TURN(a, b, F)                                                                                          \
    PICK_HALVES(a, b, F, F + 16, F + 1, F + 17, F + 2, F + 18, F + 3, F + 19, F + 4, F + 20, F + 5, F + 21, F + 6, \
                F + 22, F + 7, F + 23)
#else
#define IN_TURN(a, b, F) PICK_HALVES(a, b, F, F + 8, F + 1, F + 9, F + 2, F + 10, F + 3, F + 11)
#endif

#if HAS_PAIRS
/* 2 * LANES numbers that follow each other, rounded to bf16. */
INLINE mask rounded_row(vector first, vector second) {
    return (mask)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
}

/* Each number of `low` in a word with that of `high`. */
INLINE mask pair_of(vector low, vector high) {
    mask both = rounded_row(low, high);
    return PICK_HALVES(both, both, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27,
                       12, 28, 13, 29, 14, 30, 15, 31);
}

INLINE vector multiply_add_pairs(mask a, mask b, vector sum) {
    return (vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}
#else
/* The nearest bf16 number in the high half of each word. NaN stays NaN, also where its upper bits alone would not. */
INLINE mask nearest(vector value) {
    mask bits = (mask)value, even = bits + 0x7fff + (bits >> 16 & 1);
    mask subnormal = (bits & 0x7f800000) == 0, nan = value != value;
    even = (even & ~subnormal) | (bits & subnormal & (int)0x80000000);
    return ((even & ~nan) | ((bits | 0x400000) & nan)) & HIGH;
}

INLINE mask pair_of(vector low, vector high) { return (nearest(low) >> 16 & 0xffff) | nearest(high); }

INLINE mask rounded_row(vector first, vector second) {
    float numbers[2 * LANES], low[LANES], high[LANES];
    store(numbers, first);
    store(numbers + LANES, second);
    for (int i = 0; i < LANES; i++) low[i] = numbers[2 * i], high[i] = numbers[2 * i + 1];
    return pair_of(load(low), load(high));
}

INLINE vector multiply_add_pairs(mask a, mask b, vector sum) {
    return multiply_add(low_of(a), low_of(b), multiply_add(high_of(a), high_of(b), sum));
}
#endif

/* As accumulate in kernel_layers.h, with pairs for numbers. */
INLINE void accumulate_pairs(int count, vector sums[][WIDE], long terms, const float *scalars, long apart, long next,
                             const float *vectors, long step, Soon soon, long pace) {
    const word *words = (const word *)scalars;
    for (long i = 0; i < terms; i++, words += next, vectors += step) {
        mask columns[WIDE];
        __builtin_prefetch(soon.one + i * pace, 0, 2);
        __builtin_prefetch(soon.other + i * pace, 0, 2);
        UNROLL for (int w = 0; w < WIDE; w++) columns[w] = pairs_at(vectors + w * LANES);
        UNROLL for (int j = 0; j < count; j++) {
            mask scalar = words[j * apart] - (mask){0};
            UNROLL for (int w = 0; w < WIDE; w++) sums[j][w] = multiply_add_pairs(scalar, columns[w], sums[j][w]);
        }
    }
}

/* `count` <= ROWS rows of results, in pairs of rows that follow each other; the last one may be alone. */
INLINE void put_rows(int count, vector sums[][WIDE], long lanes, float *to) {
    UNROLL for (int j = 0; j < count; j += 2)
        UNROLL for (int w = 0; w < WIDE; w++)
            put_pairs(to + j / 2 * lanes + w * LANES,
                      pair_of(sums[j][w], j + 1 < count ? sums[j + 1][w] : spread(0.0f)));
}

/* Pairs of rows of [rows][lanes]. */
static void pair_rows(long rows, long lanes, const float *from, float *to) {
    for (long n = 0; n < rows; n += 2, from += 2 * lanes, to += lanes)
        for (long lane = 0; lane < lanes; lane += LANES) {
            vector next = n + 1 < rows ? load(from + lanes + lane) : spread(0.0f);
            put_pairs(to + lane, pair_of(load(from + lane), next));
        }
}

/* --- products ---------------------------------------------------------------------------------------------------- */

static long packed_row(long columns) { return rounded(columns, 2 * LANES) / 2; }

/* LANES of at most `left` numbers, then zeros. */
INLINE vector up_to(long left, const float *from) {
    if (left >= LANES) return load(from);
    float part[LANES] = {0};
    for (long i = 0; i < left; i++) part[i] = from[i];
    return load(part);
}

/* `count` rows of weights, pairs along the row. */
static void pack_rows(long count, long columns, const float *weight, float *to) {
    for (long n = 0; n < count; n++, weight += columns)
        for (long k = 0; k < columns; k += 2 * LANES, to += LANES)
            put_pairs(to, rounded_row(up_to(columns - k, weight + k), up_to(columns - k - LANES, weight + k + LANES)));
}

/* Weights in pairs of rows, each filled up to whole vectors. */
static void pack_columns(long rows, long columns, const float *weight, float *to) {
    for (long n = 0; n < rows; n += 2)
        for (long k = 0; k < columns; k += LANES, to += LANES) {
            const float *from = weight + n * columns + k;
            vector next = n + 1 < rows ? up_to(columns - k, from + columns) : spread(0.0f);
            put_pairs(to, pair_of(up_to(columns - k, from), next));
        }
}

/* As affine_rows. in: pairs. out: pairs after ReLU, or numbers of the last layer. */
INLINE void affine_pairs(int count, long columns, long lanes, const float *weight, const float *bias, const float *in,
                         float *out, int last, float *packed, Soon soon) {
    pack_rows(count, columns, weight, packed);
    for (long lane = 0; lane < lanes; lane += SPAN) {
        vector sums[ROWS][WIDE];
        UNROLL for (int j = 0; j < count; j++)
            UNROLL for (int w = 0; w < WIDE; w++) sums[j][w] = spread(bias[j]);
        accumulate_pairs(count, sums, (columns + 1) / 2, packed, packed_row(columns), 1, in + lane, lanes, soon,
                         2 * count);
        UNROLL for (int j = 0; j < count; j++)
            UNROLL for (int w = 0; w < WIDE; w++)
                if (last) store(out + j * lanes + lane + w * LANES, sums[j][w]);
                else sums[j][w] = without(sums[j][w], sums[j][w] < 0.0f);
        if (!last) put_rows(count, sums, lanes, out + lane);
    }
}

static void affine_bf16(long rows, long columns, long lanes, const float *weight, const float *bias, const float *in,
                        float *out, int last, float *packed, Soon soon) {
#define AFFINE_PAIRS(n, count)                                                                           \
    affine_pairs(count, columns, lanes, weight + (n) * columns, bias + (n), in,                          \
                 out + (last ? (n) : (n) / 2) * lanes, last, packed, later(soon, (n) * columns))
    IN_BLOCKS(rows, AFFINE_PAIRS)
}

/* A gradient by the outputs of a layer: numbers, their pairs along the lanes, and those along the rows. */
typedef struct {
    float *numbers, *along, *across;
} Gradient;

/* As back_rows. weight: as packed. active: pairs, none for the input, whose gradient is put into numbers alone. */
INLINE void back_pairs(int count, long rows, long columns, long lanes, const float *weight, const float *gradient,
                       const float *active, float *numbers, float *along, float *across, Soon soon) {
    for (long lane = 0; lane < lanes; lane += SPAN) {
        vector sums[ROWS][WIDE] = {0};
        accumulate_pairs(count, sums, (rows + 1) / 2, weight, 1, rounded(columns, LANES), gradient + lane, lanes, soon,
                         2 * count);
        UNROLL for (int j = 0; j < count; j++)
            UNROLL for (int w = 0; w < WIDE; w++) {
                if (active) {
                    mask pair = pairs_at(active + j / 2 * lanes + lane + w * LANES);
                    sums[j][w] = without(sums[j][w], (j % 2 ? high_of(pair) : low_of(pair)) <= 0.0f);
                }
                store(numbers + j * lanes + lane + w * LANES, sums[j][w]);
            }
        if (!active) continue;
        UNROLL for (int j = 0; j < count; j++)
            UNROLL for (int w = 0; w < WIDE; w += 2)
                put_pairs(along + j * lanes / 2 + lane / 2 + w / 2 * LANES, rounded_row(sums[j][w], sums[j][w + 1]));
        put_rows(count, sums, lanes, across + lane);
    }
}

static void back_bf16(long rows, long columns, long lanes, const float *weight, const float *gradient,
                      const float *active, Gradient below, Soon soon) {
#define BACK_PAIRS(k, count)                                                                                  \
    back_pairs(count, rows, columns, lanes, weight + (k), gradient, active ? active + (k) / 2 * lanes : 0,    \
               below.numbers + (k) * lanes, below.along + (k) * lanes / 2, below.across + (k) / 2 * lanes,    \
               later(soon, (k) * rows))
    IN_BLOCKS(columns, BACK_PAIRS)
}

/* to: pairs along the lanes, [lanes / 2][stride], from pairs along the columns, [columns / 2][lanes]. */
static void turn_pairs(long columns, long lanes, long stride, const float *from, float *to) {
    for (long p = 0; p < stride / 2; p += LANES)
        for (long lane = 0; lane < lanes; lane += LANES) {
            vector rows[LANES];
            UNROLL for (int i = 0; i < LANES; i++)
                rows[i] = 2 * (p + i) < columns ? load(from + (p + i) * lanes + lane) : spread(0.0f);
            turn(rows);
            UNROLL for (int i = 0; i < LANES; i += 2) {
                float *at = to + (lane + i) / 2 * stride + 2 * p;
                put_pairs(at, IN_TURN(rows[i], rows[i + 1], 0));
                put_pairs(at + LANES, IN_TURN(rows[i], rows[i + 1], LANES));
            }
        }
}

/* As outer_rows. gradient, in: pairs along the lanes. */
INLINE void outer_pairs(int count, long columns, long lanes, long stride, const float *gradient, const float *in,
                        float *weight, int add) {
    for (long k = 0; k < columns; k += SPAN) {
        vector sums[ROWS][WIDE] = {0};
        const float *next = weight + count * columns + k * count;
        accumulate_pairs(count, sums, lanes / 2, gradient, lanes / 2, 1, in + k, stride, (Soon){next, next},
                         2 * count * SPAN / lanes);
        UNROLL for (int j = 0; j < count; j++)
            UNROLL for (int w = 0; w < WIDE; w++) {
                float *to = weight + j * columns + k + w * LANES, part[LANES];
                long left = columns - k - w * LANES;
                vector sum = sums[j][w];
                if (left >= LANES) {
                    store(to, add ? load(to) + sum : sum);
                } else {
                    store(part, sum);
                    for (long i = 0; i < left; i++) to[i] = add ? to[i] + part[i] : part[i];
                }
            }
    }
}

static void outer_bf16(long rows, long columns, long lanes, long stride, const float *gradient, const float *in,
                       float *weight, int add) {
#define OUTER_PAIRS(n, count) \
    outer_pairs(count, columns, lanes, stride, gradient + (n) * lanes / 2, in, weight + (n) * columns, add)
    IN_BLOCKS(rows, OUTER_PAIRS)
}

/* --- an MLP ---------------------------------------------------------------------------------------------------- */

/* As Pass, with pairs for all outputs but the last. input: pairs of outputs[0]. packed: room for a layer's weights. */
typedef struct {
    float *outputs[MAX_LAYERS + 1], *input, *packed;
} PassBf16;

static void take_bf16(PassBf16 *pass, const Layer *layers, long count, long lanes, float **scratch) {
    Pass numbers;
    long most = 0;
    take(&numbers, layers, count, lanes, scratch);
    memcpy(pass->outputs, numbers.outputs, sizeof pass->outputs);
    for (long i = 0; i < count; i++) {
        long forward = ROWS * packed_row(layers[i].columns);
        long back = rounded(layers[i].rows, 2) / 2 * rounded(layers[i].columns, LANES);
        most = forward > most ? forward : most;
        most = back > most ? back : most;
    }
    pass->input = *scratch, *scratch += rounded(layers[0].columns, 2) / 2 * lanes;
    pass->packed = *scratch, *scratch += lanes ? rounded(most, 16) : 0;
}

static float *forward_bf16(PassBf16 *pass, const Layer *layers, long count, long lanes, const float *half,
                           const Update *update) {
    const float *in = pass->input;
    pair_rows(layers[0].columns, lanes, pass->outputs[0], pass->input);
    for (long i = 0; i < count; i++) {
        const float *weight = half + layers[i].offset, *bias = half + layers[i].bias, *end = bias + layers[i].rows;
        Soon soon = {end, end};
        if (update) {
            adjust(update, weight - update->parameters, end - update->parameters);
            soon.one = update->first + (end - update->parameters);
            soon.other = update->second + (end - update->parameters);
        }
        affine_bf16(layers[i].rows, layers[i].columns, lanes, weight, bias, in, pass->outputs[i + 1], i + 1 == count,
                    pass->packed, soon);
        in = pass->outputs[i + 1];
    }
    return pass->outputs[count];
}

/* `gradient`, `below`: numbers. `work` is as large as that of fp32: for the numbers of a gradient, for two of pairs
   across, for one of pairs along, and for an input that is turned. */
static void backward_bf16(const PassBf16 *pass, const Layer *layers, long count, long lanes, const float *half,
                          float *gradients, const float *gradient, float *below, float *work, long widest, int add,
                          float *squares) {
    long room = widest * lanes;
    float *across = work + room, *along = work + 2 * room, *turned = along + room / 2;
    const float *numbers = gradient;
    long top = layers[count - 1].rows;
    pair_rows(top, lanes, gradient, across);
    pack_rows(top, lanes, gradient, along);
    for (long i = count - 1; i >= 0; i--) {
        long rows = layers[i].rows, columns = layers[i].columns, stride = rounded(columns, SPAN);
        float *weight = gradients + layers[i].offset, *bias = gradients + layers[i].bias;
        const float *in = i ? pass->outputs[i] : pass->input;
        turn_pairs(columns, lanes, stride, in, turned);
        outer_bf16(rows, columns, lanes, stride, along, turned, weight, add);
        bias_sums(rows, lanes, numbers, bias, add);
        if (squares) add_squares(weight, bias - weight + rounded(rows, 16), squares);
        if (i == 0 && !below) return;
        float *next = across == work + room ? across + room / 2 : work + room;
        Gradient to = {i == 0 ? below : work, along, next};
        long below_it = i ? layers[i - 1].offset : 0;
        pack_columns(rows, columns, half + layers[i].offset, pass->packed);
        back_bf16(rows, columns, lanes, pass->packed, across, i ? in : 0, to,
                  (Soon){half + below_it, gradients + below_it});
        across = next, numbers = work;
    }
}

#define Pass PassBf16
#define take take_bf16
#define forward forward_bf16
#define backward backward_bf16
