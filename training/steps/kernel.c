/* One optimizer step of one cell after another, as training/model and training/steps/torch_step.py do it in torch. */

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "kernel_layers.h"

#define INPUTS 16
#define OUTPUTS 24
#define FIRST_LOGIT 11
#define CLASSES 8
#define NORM_EPSILON 1e-6f

/* What all cells of a pack share; mirrored by native_step.py. Positions of absent slots are -1. */
typedef struct {
    const Layer *encoder, *decoder;
    const float *inputs, *targets;  /* tables (2 * rows, INPUTS) and (2 * rows, OUTPUTS) */
    const float *rescale, *offset;  /* (2, INPUTS): decoded base features to encoder inputs */
    long layers, half, batch, width, direct, fused, own, other, cycle;
    double lr, beta1, beta2, epsilon, weight_decay;
    float fusion[2];
    float largest_norm;
    long decoupled;
} Plan;

typedef struct {
    float *parameters, *first, *second; /* (2, half) */
    float *squares;                     /* (2, slots, batch, OUTPUTS) */
    float *cross_entropy;               /* (batch, CLASSES) */
    const float *factors;               /* (2, slots, OUTPUTS) */
} Cell;

/* --- elementwise functions, so that their bits do not depend on a mathematical library --------------------------- */

/* exp to about 2 units in the last place. Source: the Cephes library (S. Moshier). */
static inline float exponential(float x) {
    x = x > 88.0f ? 88.0f : x;
    x = x < -87.0f ? -87.0f : x;
    float power = x == x ? rintf(x * 1.44269504088896341f) : 0.0f; /* NaN is no integer; it stays in r */
    float r = multiply_add1(power, 2.12194440e-4f, multiply_add1(power, -0.693359375f, x));
    float poly = 1.9875691500e-4f;
    poly = multiply_add1(poly, r, 1.3981999507e-3f);
    poly = multiply_add1(poly, r, 8.3334519073e-3f);
    poly = multiply_add1(poly, r, 4.1665795894e-2f);
    poly = multiply_add1(poly, r, 1.6666665459e-1f);
    poly = multiply_add1(poly, r, 5.0000001201e-1f);
    union {
        int bits;
        float value;
    } scale = {.bits = ((int)power + 127) << 23};
    return (multiply_add1(poly * r, r, r) + 1.0f) * scale.value;
}

/* log of a number from 1 to CLASSES, or NaN; likewise from Cephes. */
static float logarithm(float x) {
    float power = 0.0f;
    for (; x > 1.41421356f; x *= 0.5f) power += 1.0f;
    float r = x - 1.0f, square = r * r, poly = 7.0376836292e-2f;
    poly = multiply_add1(poly, r, -1.1514610310e-1f);
    poly = multiply_add1(poly, r, 1.1676998740e-1f);
    poly = multiply_add1(poly, r, -1.2420140846e-1f);
    poly = multiply_add1(poly, r, 1.4249322787e-1f);
    poly = multiply_add1(poly, r, -1.6668057665e-1f);
    poly = multiply_add1(poly, r, 2.0000714765e-1f);
    poly = multiply_add1(poly, r, -2.4999993993e-1f);
    poly = multiply_add1(poly, r, 3.3333331174e-1f);
    float tail = multiply_add1(power, -2.12194440e-4f, poly * r * square);
    return multiply_add1(power, 0.693359375f, r + multiply_add1(square, -0.5f, tail));
}

static void hyperbolic(const float *from, float *to, long count) {
    for (long i = 0; i < count; i++) {
        float x = from[i], size = fabsf(x), z = x * x;
        float large = 1.0f - 2.0f / (exponential(2.0f * size) + 1.0f);
        float poly = -5.70498872745e-3f;
        poly = multiply_add1(poly, z, 2.06390887954e-2f);
        poly = multiply_add1(poly, z, -5.37397155531e-2f);
        poly = multiply_add1(poly, z, 1.33314422036e-1f);
        poly = multiply_add1(poly, z, -3.33332819422e-1f);
        to[i] = size > 0.625f ? copysignf(large, x) : multiply_add1(x * z, poly, x);
    }
}

/* gradient *= derivative of tanh, given its values. */
static void back_hyperbolic(float *gradient, const float *value, long count) {
    for (long i = 0; i < count; i++) gradient[i] *= multiply_add1(-value[i], value[i], 1.0f);
}

/* base to the power of a whole number. */
static double power(double base, long exponent) {
    double result = 1.0;
    for (; exponent; exponent /= 2, base *= base)
        if (exponent % 2) result *= base;
    return result;
}

/* --- losses ------------------------------------------------------------------------------------------------------ */

/* Probabilities in place of the logits of the fused slot of attr; cross entropies added up. */
static void softmax(const Plan *plan, float *outputs, long lanes, long first, const long *index, float *cross_entropy) {
    for (long b = 0; b < plan->batch; b++) {
        float *logits = outputs + FIRST_LOGIT * lanes + first + b;
        const float *one_hot = plan->targets + index[b] * OUTPUTS + FIRST_LOGIT;
        float largest = logits[0], sum = 0.0f, powers[CLASSES];
        for (int c = 1; c < CLASSES; c++) largest = logits[c * lanes] > largest ? logits[c * lanes] : largest;
        for (int c = 0; c < CLASSES; c++) sum += powers[c] = exponential(logits[c * lanes] - largest);
        float shift = largest + logarithm(sum);
        for (int c = 0; c < CLASSES; c++) {
            cross_entropy[b * CLASSES + c] =
                multiply_add1(-one_hot[c], logits[c * lanes] - shift, cross_entropy[b * CLASSES + c]);
            logits[c * lanes] = powers[c] / sum;
        }
    }
}

/* Outputs of one slot and domain become the gradient by them; squared residuals are added up. */
static void residuals(const Plan *plan, float *outputs, long lanes, long first, const long *index, float *squares,
                      const float *factors) {
    for (long b = 0; b < plan->batch; b++) {
        const float *target = plan->targets + index[b] * OUTPUTS;
        for (long o = 0; o < OUTPUTS; o++) {
            float *output = outputs + o * lanes + first + b;
            float residual = *output - target[o];
            squares[b * OUTPUTS + o] = multiply_add1(residual, residual, squares[b * OUTPUTS + o]);
            *output = residual * factors[o];
        }
    }
    long padded = rounded(plan->batch, CHUNK);
    for (long o = 0; o < OUTPUTS; o++)
        for (long b = plan->batch; b < padded; b++) outputs[o * lanes + first + b] = 0.0f;
}

/* What a step does to a cell's parameters once its gradients are known: clipped by their norm, then Adam. */
static void prepare(const Plan *plan, const float *squares, long step, Update *update) {
    float limit = 1.0f, sum = 0.0f;
    for (int i = 0; i < SUMS; i++) sum += squares[i];
    if (plan->largest_norm > 0.0f) {
        limit = plan->largest_norm / (sqrtf(sum) + NORM_EPSILON);
        limit = limit > 1.0f ? 1.0f : limit;
    }
    update->clip = spread(limit);
    update->size = spread(-plan->lr / (1.0 - power(plan->beta1, step)));
    update->inverse = spread(1.0 / sqrt(1.0 - power(plan->beta2, step)));
    update->epsilon = spread(plan->epsilon);
    update->fresh1 = spread(1.0 - plan->beta1);
    update->fresh2 = spread(1.0 - plan->beta2);
    update->beta2 = spread(plan->beta2);
    update->coupled = spread(plan->decoupled ? 0.0 : plan->weight_decay);
    update->keep = spread(plan->decoupled ? 1.0 - plan->lr * plan->weight_decay : 1.0);
}

/* --- one step ------------------------------------------------------------------------------------------------------ */

typedef struct {
    Pass encoder[2], decoder[2], second_encoder[2], second_decoder[2];
    float squares[SUMS]; /* of the gradients of a step */
    float *fused, *single[2], *returned[2], *state_gradient[2], *encoding_gradient[2], *input_gradient, *work,
        *gradients;
} Room;

static long widest_of(const Plan *plan) {
    long widest = INPUTS;
    for (long i = 0; i < plan->layers; i++) {
        widest = plan->encoder[i].rows > widest ? plan->encoder[i].rows : widest;
        widest = plan->decoder[i].rows > widest ? plan->decoder[i].rows : widest;
    }
    return rounded(widest, SPAN);
}

/* Divides scratch memory up; returns the numbers used. */
static long divide(const Plan *plan, float *scratch, Room *room) {
    float *free = scratch;
    long lanes = rounded(plan->batch, CHUNK), all = plan->direct * lanes, states = plan->width * lanes;
    for (int d = 0; d < 2; d++) {
        take(&room->encoder[d], plan->encoder, plan->layers, lanes, &free);
        take(&room->decoder[d], plan->decoder, plan->layers, all, &free);
        take(&room->second_encoder[d], plan->encoder, plan->layers, plan->cycle ? lanes : 0, &free);
        take(&room->second_decoder[d], plan->decoder, plan->layers, plan->cycle ? lanes : 0, &free);
        room->single[d] = free, free += states;
        room->returned[d] = free, free += states;
        room->encoding_gradient[d] = free, free += states;
        room->state_gradient[d] = free, free += plan->direct * states;
    }
    room->fused = free, free += states;
    room->input_gradient = free, free += INPUTS * lanes;
    room->work = free, free += 3 * widest_of(plan) * (all > lanes ? all : lanes);
    room->gradients = free, free += 2 * plan->half;
    return free - scratch;
}

const char *instruction_set(void) { return SET; }

long scratch_size(const Plan *plan) {
    Room room;
    return divide(plan, 0, &room);
}

static void encode(const Plan *plan, const Cell *cell, Room *room, const long *index, const Update *due) {
    long lanes = rounded(plan->batch, CHUNK), states = plan->width * lanes;
    for (int d = 0; d < 2; d++) {
        float *in = room->encoder[d].outputs[0];
        for (long k = 0; k < INPUTS; k++)
            for (long b = 0; b < lanes; b++)
                in[k * lanes + b] = b < plan->batch ? plan->inputs[index[d * plan->batch + b] * INPUTS + k] : 0.0f;
        forward(&room->encoder[d], plan->encoder, plan->layers, lanes, cell->parameters + d * plan->half, due);
    }
    const float *attr = room->encoder[0].outputs[plan->layers], *v = room->encoder[1].outputs[plan->layers];
    for (long i = 0; i < states; i++) room->fused[i] = multiply_add1(plan->fusion[0], attr[i], plan->fusion[1] * v[i]);
    hyperbolic(room->fused, room->fused, states);
    if (plan->own >= 0 || plan->other >= 0) {
        hyperbolic(attr, room->single[0], states);
        hyperbolic(v, room->single[1], states);
    }
}

static void fill(const Plan *plan, float *to, long slot, const float *state) {
    long lanes = rounded(plan->batch, CHUNK), all = plan->direct * lanes;
    if (slot < 0) return;
    for (long w = 0; w < plan->width; w++) memcpy(to + w * all + slot * lanes, state + w * lanes, 4 * lanes);
}

static void decode(const Plan *plan, const Cell *cell, Room *room, const Update *due) {
    for (int d = 0; d < 2; d++) {
        float *in = room->decoder[d].outputs[0];
        fill(plan, in, plan->fused, room->fused);
        fill(plan, in, plan->own, room->single[d]);
        fill(plan, in, plan->other, room->single[1 - d]);
        forward(&room->decoder[d], plan->decoder, plan->layers, plan->direct * rounded(plan->batch, CHUNK),
                cell->parameters + d * plan->half, due);
    }
}

static void around(const Plan *plan, const Cell *cell, Room *room) {
    long lanes = rounded(plan->batch, CHUNK), all = plan->direct * lanes, states = plan->width * lanes;
    for (int d = 0; d < 2; d++) {
        const float *decoded = room->decoder[d].outputs[plan->layers] + plan->other * lanes;
        float *in = room->second_encoder[d].outputs[0];
        for (long k = 0; k < INPUTS; k++)
            for (long b = 0; b < lanes; b++)
                in[k * lanes + b] =
                    multiply_add1(decoded[k * all + b], plan->rescale[d * INPUTS + k], plan->offset[d * INPUTS + k]);
        float *encoded = forward(&room->second_encoder[d], plan->encoder, plan->layers, lanes,
                                 cell->parameters + d * plan->half, 0);
        hyperbolic(encoded, room->returned[d], states);
    }
    for (int d = 0; d < 2; d++) {
        memcpy(room->second_decoder[d].outputs[0], room->returned[1 - d], 4 * states);
        forward(&room->second_decoder[d], plan->decoder, plan->layers, lanes, cell->parameters + d * plan->half, 0);
    }
}

static void losses(const Plan *plan, const Cell *cell, Room *room, const long *index) {
    long lanes = rounded(plan->batch, CHUNK), all = plan->direct * lanes, slots = plan->direct + (plan->cycle ? 1 : 0);
    if (plan->fused >= 0)
        softmax(plan, room->decoder[0].outputs[plan->layers], all, plan->fused * lanes, index, cell->cross_entropy);
    for (int d = 0; d < 2; d++)
        for (long s = 0; s < slots; s++) {
            int last = s == plan->direct;
            float *outputs = (last ? room->second_decoder : room->decoder)[d].outputs[plan->layers];
            residuals(plan, outputs, last ? lanes : all, last ? 0 : s * lanes, index + d * plan->batch,
                      cell->squares + (d * slots + s) * plan->batch * OUTPUTS,
                      cell->factors + (d * slots + s) * OUTPUTS);
        }
}

/* The gradients of the second half of the cycle; what it demands of the first decoding is added there. */
static void back_around(const Plan *plan, const Cell *cell, Room *room) {
    long lanes = rounded(plan->batch, CHUNK), all = plan->direct * lanes, states = plan->width * lanes;
    long widest = widest_of(plan);
    for (int d = 0; d < 2; d++) {
        float *half = cell->parameters + d * plan->half, *gradients = room->gradients + d * plan->half;
        backward(&room->second_decoder[d], plan->decoder, plan->layers, lanes, half, gradients,
                 room->second_decoder[d].outputs[plan->layers], room->encoding_gradient[1 - d], room->work, widest, 0, 0);
    }
    for (int d = 0; d < 2; d++) {
        float *half = cell->parameters + d * plan->half, *gradients = room->gradients + d * plan->half;
        back_hyperbolic(room->encoding_gradient[d], room->returned[d], states);
        backward(&room->second_encoder[d], plan->encoder, plan->layers, lanes, half, gradients,
                 room->encoding_gradient[d], room->input_gradient, room->work, widest, 0, 0);
        float *decoded = room->decoder[d].outputs[plan->layers] + plan->other * lanes;
        for (long k = 0; k < INPUTS; k++)
            for (long b = 0; b < lanes; b++)
                decoded[k * all + b] = multiply_add1(room->input_gradient[k * lanes + b],
                                                     plan->rescale[d * INPUTS + k], decoded[k * all + b]);
    }
}

/* The gradient by a domain's encoding, from those by the states of each slot. */
static void to_encoding(const Plan *plan, Room *room, int d) {
    long lanes = rounded(plan->batch, CHUNK), all = plan->direct * lanes;
    const float *mine = room->state_gradient[d], *theirs = room->state_gradient[1 - d];
    for (long w = 0; w < plan->width; w++)
        for (long b = 0; b < lanes; b++) {
            float fused = 0.0f, single = 0.0f, f = room->fused[w * lanes + b], s = room->single[d][w * lanes + b];
            if (plan->fused >= 0) {
                long at = w * all + plan->fused * lanes + b;
                float both = d ? theirs[at] + mine[at] : mine[at] + theirs[at];
                fused = both * multiply_add1(-f, f, 1.0f) * plan->fusion[d];
            }
            if (plan->own >= 0) single += mine[w * all + plan->own * lanes + b];
            if (plan->other >= 0) single += theirs[w * all + plan->other * lanes + b];
            if (plan->own >= 0 || plan->other >= 0) fused = multiply_add1(single, multiply_add1(-s, s, 1.0f), fused);
            room->encoding_gradient[d][w * lanes + b] = fused;
        }
}

static void back_through(const Plan *plan, const Cell *cell, Room *room) {
    long lanes = rounded(plan->batch, CHUNK), all = plan->direct * lanes, widest = widest_of(plan);
    int add = plan->cycle != 0;
    /* The way that the forward pass came, so that what it used last is still in the cache. */
    for (int d = 1; d >= 0; d--)
        backward(&room->decoder[d], plan->decoder, plan->layers, all, cell->parameters + d * plan->half,
                 room->gradients + d * plan->half, room->decoder[d].outputs[plan->layers], room->state_gradient[d],
                 room->work, widest, add, room->squares);
    for (int d = 1; d >= 0; d--) {
        to_encoding(plan, room, d);
        backward(&room->encoder[d], plan->encoder, plan->layers, lanes, cell->parameters + d * plan->half,
                 room->gradients + d * plan->half, room->encoding_gradient[d], 0, room->work, widest, add,
                 room->squares);
    }
}

/* Steps `done` + 1 .. `done` + `steps` of a cell. index: (steps, 2, batch), `stride` numbers from step to step.
   scratch: scratch_size() numbers, aligned to 64 bytes, zero before the first call. */
void train(const Plan *plan, const Cell *cell, const long *index, long stride, long done, long steps, float *scratch) {
    Room room;
#if defined(__SSE__)
    _mm_setcsr(_mm_getcsr() | 0x8040); /* flush subnormals, in results and in operands */
#elif defined(__aarch64__)
    unsigned long control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    __asm__ volatile("msr fpcr, %0" : : "r"(control | 1ul << 24));
#endif
    divide(plan, scratch, &room);
    Update update = {cell->parameters, cell->first, cell->second, room.gradients};
    const Update *due = 0; /* A step's update is made on the next step's way forward. */
    for (long step = 0; step < steps; step++, index += stride) {
        encode(plan, cell, &room, index, due);
        decode(plan, cell, &room, due);
        if (plan->cycle) around(plan, cell, &room);
        losses(plan, cell, &room, index);
        if (plan->cycle) back_around(plan, cell, &room);
        memset(room.squares, 0, sizeof room.squares);
        back_through(plan, cell, &room);
        prepare(plan, room.squares, done + step + 1, &update);
        due = &update;
    }
    if (due) adjust(due, 0, 2 * plan->half);
}
