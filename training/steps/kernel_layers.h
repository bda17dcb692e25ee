/* Matrix products of one layer, and an MLP made of them.

   Activations lie feature-major, [features][lanes], a lane a sample of the batch (or of a slot of it), padded with zero
   lanes to a multiple of CHUNK: a matrix product is then scalars of the weight times vectors of lanes, and keeps BLOCK
   rows of results in registers. Every sum runs in an order that depends on the shapes alone. */

#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#define BLOCK 8
#else
#define LANES 8
#define BLOCK 4
#endif
#define CHUNK 32
#define SUMS 16

typedef float vector __attribute__((vector_size(4 * LANES)));
typedef float loose __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

typedef struct {
    long offset, bias, rows, columns;
} Layer;

#define MAX_LAYERS 64 /* checked in training/settings.py */

/* What a pass through one MLP leaves behind: outputs[0] is the input, outputs[i + 1] that of layer i. */
typedef struct {
    float *outputs[MAX_LAYERS + 1];
} Pass;

typedef int mask __attribute__((vector_size(4 * LANES)));

/* `value`, 0 where `condition` holds; NaN compares false and stays. */
static inline vector without(vector value, mask condition) { return (vector)((mask)value & ~condition); }
static inline vector load(const float *from) { return *(const loose *)from; }
static inline void store(float *to, vector value) { *(loose *)to = value; }

/* out[n][l] = bias[n] + sum over k of weight[n][k] * in[k][l], for COUNT rows n from `weight` on. */
#define AFFINE(COUNT)                                                                                      \
    for (long lane = 0; lane < lanes; lane += 2 * LANES) {                                                 \
        vector sums[COUNT][2];                                                                             \
        for (int j = 0; j < COUNT; j++) sums[j][0] = sums[j][1] = bias[n + j] - (vector){0};               \
        for (long k = 0; k < columns; k++) {                                                               \
            vector low = load(in + k * lanes + lane), high = load(in + k * lanes + lane + LANES);          \
            for (int j = 0; j < COUNT; j++) {                                                              \
                float scalar = weight[(n + j) * columns + k];                                              \
                sums[j][0] += scalar * low;                                                                \
                sums[j][1] += scalar * high;                                                               \
            }                                                                                              \
        }                                                                                                  \
        for (int j = 0; j < COUNT; j++)                                                                    \
            for (int h = 0; h < 2; h++) {                                                                  \
                vector sum = sums[j][h];                                                                   \
                if (relu) sum = without(sum, sum < 0.0f);                                                  \
                store(out + (n + j) * lanes + lane + h * LANES, sum);                                      \
            }                                                                                              \
    }

static void affine(long rows, long columns, long lanes, const float *weight, const float *bias, const float *in,
                   float *out, int relu) {
    long n = 0;
    for (; n + BLOCK <= rows; n += BLOCK) AFFINE(BLOCK)
    for (; n < rows; n++) AFFINE(1)
}

/* below[k][l] = sum over n of weight[n][k] * gradient[n][l], where the unit k was active (active[k][l] > 0). */
#define BACK(COUNT)                                                                                        \
    for (long lane = 0; lane < lanes; lane += 2 * LANES) {                                                 \
        vector sums[COUNT][2] = {0};                                                                       \
        for (long n = 0; n < rows; n++) {                                                                  \
            vector low = load(gradient + n * lanes + lane), high = load(gradient + n * lanes + lane + LANES); \
            for (int j = 0; j < COUNT; j++) {                                                              \
                float scalar = weight[n * columns + k + j];                                                \
                sums[j][0] += scalar * low;                                                                \
                sums[j][1] += scalar * high;                                                               \
            }                                                                                              \
        }                                                                                                  \
        for (int j = 0; j < COUNT; j++)                                                                    \
            for (int h = 0; h < 2; h++) {                                                                  \
                long at = (k + j) * lanes + lane + h * LANES;                                              \
                vector sum = sums[j][h];                                                                   \
                if (active) sum = without(sum, load(active + at) <= 0.0f);                                 \
                store(below + at, sum);                                                                    \
            }                                                                                              \
    }

static void back(long rows, long columns, long lanes, const float *weight, const float *gradient, const float *active,
                 float *below) {
    long k = 0;
    for (; k + BLOCK <= columns; k += BLOCK) BACK(BLOCK)
    for (; k < columns; k++) BACK(1)
}

/* to[l][k] = from[k][l]; `stride` numbers between the rows of `to`, zeros beyond k = columns. */
static void transpose(long columns, long lanes, long stride, const float *from, float *to) {
    for (long k = columns; k < stride; k++)
        for (long lane = 0; lane < lanes; lane++) to[lane * stride + k] = 0.0f;
    for (long first = 0; first < lanes; first += LANES)
        for (long k = 0; k < columns; k++)
            for (long lane = first; lane < first + LANES; lane++) to[lane * stride + k] = from[k * lanes + lane];
}

/* weight[n][k] = (add ? weight[n][k] : 0) + sum over l of gradient[n][l] * in[l][k]. */
#define OUTER(COUNT)                                                                                       \
    for (long k = 0; k < columns; k += 2 * LANES) {                                                        \
        vector sums[COUNT][2] = {0};                                                                       \
        for (long lane = 0; lane < lanes; lane++) {                                                        \
            vector low = load(in + lane * stride + k), high = load(in + lane * stride + k + LANES);        \
            for (int j = 0; j < COUNT; j++) {                                                              \
                float scalar = gradient[(n + j) * lanes + lane];                                           \
                sums[j][0] += scalar * low;                                                                \
                sums[j][1] += scalar * high;                                                               \
            }                                                                                              \
        }                                                                                                  \
        long count = columns - k < 2 * LANES ? columns - k : 2 * LANES;                                    \
        for (int j = 0; j < COUNT; j++) {                                                                  \
            float *to = weight + (n + j) * columns + k;                                                    \
            const float *found = (const float *)sums[j];                                                   \
            if (add)                                                                                       \
                for (long i = 0; i < count; i++) to[i] += found[i];                                        \
            else                                                                                           \
                memcpy(to, found, 4 * count);                                                              \
        }                                                                                                  \
    }

static void outer(long rows, long columns, long lanes, long stride, const float *gradient, const float *in,
                  float *weight, int add) {
    long n = 0;
    for (; n + BLOCK <= rows; n += BLOCK) OUTER(BLOCK)
    for (; n < rows; n++) OUTER(1)
}

/* Sum of `count` numbers (or of their squares), in SUMS interleaved partial sums. */
static float total(const float *values, long count, int squared) {
    float sums[SUMS] = {0}, result = 0.0f;
    long i = 0;
    for (; i + SUMS <= count; i += SUMS)
        for (int j = 0; j < SUMS; j++) sums[j] += squared ? values[i + j] * values[i + j] : values[i + j];
    for (; i < count; i++) sums[0] += squared ? values[i] * values[i] : values[i];
    for (int j = 0; j < SUMS; j++) result += sums[j];
    return result;
}

static long rounded(long count, long to) { return (count + to - 1) / to * to; }

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

static float *forward(Pass *pass, const Layer *layers, long count, long lanes, const float *half) {
    for (long i = 0; i < count; i++)
        affine(layers[i].rows, layers[i].columns, lanes, half + layers[i].offset, half + layers[i].bias,
               pass->outputs[i], pass->outputs[i + 1], i + 1 < count);
    return pass->outputs[count];
}

/* `gradient` [out][lanes] by the output of the pass; writes (or adds to) `gradients`. The gradient by the input is put
   into `below` if that is given. `work`: room for two widest activations and a transposed one. */
static void backward(const Pass *pass, const Layer *layers, long count, long lanes, const float *half,
                     float *gradients, const float *gradient, float *below, float *work, long widest, int add) {
    float *turned = work + 2 * widest * lanes;
    for (long i = count - 1; i >= 0; i--) {
        long rows = layers[i].rows, columns = layers[i].columns, stride = rounded(columns, 2 * LANES);
        transpose(columns, lanes, stride, pass->outputs[i], turned);
        outer(rows, columns, lanes, stride, gradient, turned, gradients + layers[i].offset, add);
        float *bias = gradients + layers[i].bias;
        for (long n = 0; n < rows; n++) bias[n] = (add ? bias[n] : 0.0f) + total(gradient + n * lanes, lanes, 0);
        if (i == 0 && !below) return;
        float *to = i == 0 ? below : work + (i % 2) * widest * lanes;
        back(rows, columns, lanes, half + layers[i].offset, gradient, i ? pass->outputs[i] : 0, to);
        gradient = to;
    }
}
