/* Matrix products of one layer, and an MLP made of them.

   Activations lie feature-major, [features][lanes], a lane a sample of the batch (or of a slot of it), padded with zero
   lanes to a multiple of CHUNK: a matrix product is then scalars of the weight times vectors of lanes. Every sum runs in
   an order that depends on the shapes alone. */

#include <string.h>

#include "kernel_vectors.h"

#define CHUNK 32
#define SPAN (WIDE * LANES)
/* Partial sums of the squares of gradients, enough for the latency of an addition at any width. */
#define SUMS 64

typedef struct {
    long offset, bias, rows, columns;
} Layer;

#define MAX_LAYERS 64 /* checked in training/settings.py */

/* What a pass through one MLP leaves behind: outputs[0] is the input, outputs[i + 1] that of layer i. */
typedef struct {
    float *outputs[MAX_LAYERS + 1];
} Pass;

/* Two stretches of memory that are needed soon and come from the third-level cache. Products fetch them, a piece with
   each term, at the pace at which they get on with their own matrix: processors look no further ahead than a page. */
typedef struct {
    const float *one, *other;
} Soon;

/* sums[j][w] += sum over i of scalars[j * apart + i * next] * vectors[i * step + w * LANES], for `count` rows j. From
   `soon`, `pace` numbers are fetched with each term. */
INLINE void accumulate(int count, vector sums[][WIDE], long terms, const float *scalars, long apart, long next,
                       const float *vectors, long step, Soon soon, long pace) {
    for (long i = 0; i < terms; i++, scalars += next, vectors += step) {
        vector columns[WIDE];
        __builtin_prefetch(soon.one + i * pace, 0, 2);
        __builtin_prefetch(soon.other + i * pace, 0, 2);
        UNROLL for (int w = 0; w < WIDE; w++) columns[w] = load(vectors + w * LANES);
        UNROLL for (int j = 0; j < count; j++) {
            vector scalar = spread(scalars[j * apart]);
            UNROLL for (int w = 0; w < WIDE; w++) sums[j][w] = multiply_add(scalar, columns[w], sums[j][w]);
        }
    }
}

/* Runs PRODUCT(at, count) for blocks of `count` <= ROWS rows; 2 and 1 for those that are left. */
#define IN_BLOCKS(rows, PRODUCT)                                        \
    {                                                                   \
        long at = 0;                                                    \
        for (; at + ROWS <= (rows); at += ROWS) PRODUCT(at, ROWS);      \
        for (; at + 2 <= (rows); at += 2) PRODUCT(at, 2);               \
        for (; at < (rows); at++) PRODUCT(at, 1);                       \
    }

INLINE Soon later(Soon soon, long by) { return (Soon){soon.one + by, soon.other + by}; }

/* out[n][l] = bias[n] + sum over k of weight[n][k] * in[k][l], for `count` rows n from `weight` on. */
INLINE void affine_rows(int count, long columns, long lanes, const float *weight, const float *bias, const float *in,
                        float *out, int relu, Soon soon) {
    for (long lane = 0; lane < lanes; lane += SPAN) {
        vector sums[ROWS][WIDE];
        UNROLL for (int j = 0; j < count; j++)
            UNROLL for (int w = 0; w < WIDE; w++) sums[j][w] = spread(bias[j]);
        accumulate(count, sums, columns, weight, columns, 1, in + lane, lanes, soon, count);
        UNROLL for (int j = 0; j < count; j++)
            UNROLL for (int w = 0; w < WIDE; w++) {
                vector sum = sums[j][w];
                if (relu) sum = without(sum, sum < 0.0f);
                store(out + j * lanes + lane + w * LANES, sum);
            }
    }
}

static void affine(long rows, long columns, long lanes, const float *weight, const float *bias, const float *in,
                   float *out, int relu, Soon soon) {
#define AFFINE(n, count)                                                                                   \
    affine_rows(count, columns, lanes, weight + (n) * columns, bias + (n), in, out + (n) * lanes, relu,    \
                later(soon, (n) * columns))
    IN_BLOCKS(rows, AFFINE)
}

/* below[k][l] = sum over n of weight[n][k] * gradient[n][l], where the unit k was active (active[k][l] > 0), for `count`
   units from `weight` on. */
INLINE void back_rows(int count, long rows, long columns, long lanes, const float *weight, const float *gradient,
                      const float *active, float *below, Soon soon) {
    for (long lane = 0; lane < lanes; lane += SPAN) {
        vector sums[ROWS][WIDE] = {0};
        accumulate(count, sums, rows, weight, 1, columns, gradient + lane, lanes, soon, count);
        UNROLL for (int j = 0; j < count; j++)
            UNROLL for (int w = 0; w < WIDE; w++) {
                long at = j * lanes + lane + w * LANES;
                vector sum = sums[j][w];
                if (active) sum = without(sum, load(active + at) <= 0.0f);
                store(below + at, sum);
            }
    }
}

static void back(long rows, long columns, long lanes, const float *weight, const float *gradient, const float *active,
                 float *below, Soon soon) {
#define BACK(k, count)                                                                              \
    back_rows(count, rows, columns, lanes, weight + (k), gradient, active ? active + (k) * lanes : 0, \
              below + (k) * lanes, later(soon, (k) * rows))
    IN_BLOCKS(columns, BACK)
}

/* to[l][k] = from[k][l]; `stride` numbers between the rows of `to`, zeros beyond k = columns. */
static void transpose(long columns, long lanes, long stride, const float *from, float *to) {
    for (long k = 0; k < stride; k += LANES)
        for (long lane = 0; lane < lanes; lane += LANES) {
            vector rows[LANES];
            UNROLL for (int i = 0; i < LANES; i++)
                rows[i] = k + i < columns ? load(from + (k + i) * lanes + lane) : spread(0.0f);
            turn(rows);
            UNROLL for (int i = 0; i < LANES; i++) store(to + (lane + i) * stride + k, rows[i]);
        }
}

/* weight[n][k] = (add ? weight[n][k] : 0) + sum over l of gradient[n][l] * in[l][k], for `count` rows. */
INLINE void outer_rows(int count, long columns, long lanes, long stride, const float *gradient, const float *in,
                       float *weight, int add) {
    for (long k = 0; k < columns; k += SPAN) {
        vector sums[ROWS][WIDE] = {0};
        const float *next = weight + count * columns + k * count; /* rows that are written next */
        accumulate(count, sums, lanes, gradient, lanes, 1, in + k, stride, (Soon){next, next},
                   count * SPAN / lanes);
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

static void outer(long rows, long columns, long lanes, long stride, const float *gradient, const float *in,
                  float *weight, int add) {
#define OUTER(n, count) \
    outer_rows(count, columns, lanes, stride, gradient + (n) * lanes, in, weight + (n) * columns, add)
    IN_BLOCKS(rows, OUTER)
}

/* bias[n] = (add ? bias[n] : 0) + sum over l of gradient[n][l]: eight partial sums, then these by halves. */
static void bias_sums(long rows, long lanes, const float *gradient, float *bias, int add) {
    typedef float eight __attribute__((vector_size(32), aligned(4), may_alias));
    for (long n = 0; n < rows; n++) {
        eight sums = {0};
        const eight *from = (const eight *)(gradient + n * lanes);
        for (long i = 0; i < lanes / 8; i += 4) sums += (from[i] + from[i + 2]) + (from[i + 1] + from[i + 3]);
        float sum = ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
        bias[n] = (add ? bias[n] : 0.0f) + sum;
    }
}

/* Adds the squares of `count` numbers, a multiple of 16, to SUMS interleaved partial sums. */
static void add_squares(const float *values, long count, float *squares) {
    vector sums[SUMS / LANES];
    long i = 0;
    memcpy(sums, squares, sizeof sums);
    for (; i + SUMS <= count; i += SUMS)
        UNROLL for (int j = 0; j < SUMS / LANES; j++) {
            vector value = load(values + i + j * LANES);
            sums[j] = multiply_add(value, value, sums[j]);
        }
    memcpy(squares, sums, sizeof sums);
    for (long j = i; j < count; j++) squares[j - i] = multiply_add1(values[j], values[j], squares[j - i]);
}

static long rounded(long count, long to) { return (count + to - 1) / to * to; }

/* --- optimizer --------------------------------------------------------------------------------------------------- */

/* An optimizer step of a cell that is due: addresses of all its numbers, and what they are multiplied by. */
typedef struct {
    float *parameters, *first, *second;
    const float *gradients;
    vector clip, size, inverse, epsilon, fresh1, fresh2, beta2, coupled, keep;
} Update;

/* 1 / value, value > 0, to a unit in the last place, by Newton's method from a guess at the exponent. A processor's
   divider has enough to do with the roots. */
INLINE vector inverse_of(vector value) {
    vector inverse = (vector)(0x7ef311c7 - (mask)value);
    UNROLL for (int i = 0; i < 2; i++) {
        vector error = multiply_add(-value, inverse, spread(1.0f));
        inverse = multiply_add(inverse, multiply_add(error, error, error), inverse);
    }
    return inverse;
}

/* Adam on the numbers from `begin` (a multiple of 16) to `end`; each is read and written once. */
static void adjust(const Update *update, long begin, long end) {
    Update u = *update;
    for (long i = begin; i < end; i += LANES) {
        vector p = load(u.parameters + i), first = load(u.first + i), second = load(u.second + i);
        vector gradient = multiply_add(u.coupled, p, load(u.gradients + i) * u.clip);
        first = multiply_add(u.fresh1, gradient - first, first);
        second = multiply_add(u.fresh2 * gradient, gradient, u.beta2 * second);
        store(u.first + i, first);
        store(u.second + i, second);
        vector inverse = inverse_of(multiply_add(root(second), u.inverse, u.epsilon));
        store(u.parameters + i, multiply_add(u.size * first, inverse, u.keep * p));
    }
}

/* --- an MLP ---------------------------------------------------------------------------------------------------- */

/* Room for a pass is taken from `*scratch`, which moves on. The caller fills outputs[0]. */
static void take(Pass *pass, const Layer *layers, long count, long lanes, float **scratch) {
    pass->outputs[0] = *scratch;
    *scratch += layers[0].columns * lanes;
    for (long i = 0; i < count; i++) {
        pass->outputs[i + 1] = *scratch;
        *scratch += layers[i].rows * lanes;
    }
}

/* `update`: what to do to the parameters first, layer by layer, so that each is in the nearest cache when it is used. */
static float *forward(Pass *pass, const Layer *layers, long count, long lanes, const float *half,
                      const Update *update) {
    for (long i = 0; i < count; i++) {
        const float *weight = half + layers[i].offset, *bias = half + layers[i].bias, *end = bias + layers[i].rows;
        Soon soon = {end, end};
        if (update) {
            adjust(update, weight - update->parameters, end - update->parameters);
            soon.one = update->first + (end - update->parameters);
            soon.other = update->second + (end - update->parameters);
        }
        affine(layers[i].rows, layers[i].columns, lanes, weight, bias, pass->outputs[i], pass->outputs[i + 1],
               i + 1 < count, soon);
    }
    return pass->outputs[count];
}

/* `gradient` [out][lanes] by the output of the pass; writes (or adds to) `gradients`. The gradient by the input is put
   into `below` if that is given, and the squares of finished gradients are added to `squares`. `work`: room for two
   widest activations and a transposed one. */
static void backward(const Pass *pass, const Layer *layers, long count, long lanes, const float *half,
                     float *gradients, const float *gradient, float *below, float *work, long widest, int add,
                     float *squares) {
    float *turned = work + 2 * widest * lanes;
    for (long i = count - 1; i >= 0; i--) {
        long rows = layers[i].rows, columns = layers[i].columns, stride = rounded(columns, SPAN);
        float *weight = gradients + layers[i].offset, *bias = gradients + layers[i].bias;
        transpose(columns, lanes, stride, pass->outputs[i], turned);
        outer(rows, columns, lanes, stride, gradient, turned, weight, add);
        bias_sums(rows, lanes, gradient, bias, add);
        /* Now, while they are in the second-level cache; the padding between weight and bias is zero. */
        if (squares) add_squares(weight, bias - weight + rounded(rows, 16), squares);
        if (i == 0 && !below) return;
        float *to = i == 0 ? below : work + (i % 2) * widest * lanes;
        long below_it = i ? layers[i - 1].offset : 0;
        back(rows, columns, lanes, half + layers[i].offset, gradient, i ? pass->outputs[i] : 0, to,
             (Soon){half + below_it, gradients + below_it});
        gradient = to;
    }
}
