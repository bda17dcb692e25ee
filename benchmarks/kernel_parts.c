/* Where a step of the compiled kernel spends its time: python -m benchmarks.parts, which builds and runs this.

   The parts of one step of the default model (batch 32), in the order of a step, for a few cells in turn. Prints a line
   of JSON: the smallest time of each part in microseconds, and what the machine reaches at best. */

#include "kernel.c"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CELLS 5
#define LAYERS 6
#define BATCH 32
#define ROUNDS 400

enum { ADAM, FORWARD, TRANSPOSE, WEIGHTS, BIASES, NORM, INPUTS_BACK, LOSSES, PARTS };
static const char *const names[PARTS] = {"update (Adam)", "products forward",      "transposes", "products for weights",
                                         "bias sums",     "norm",                  "products back", "losses and tanh"};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec * 1e-3;
}

/* Zeroed apart from small numbers of both signs. */
static float *numbers(long count) {
    float *found = aligned_alloc(64, (count * 4 + 63) / 64 * 64);
    for (long i = 0; i < count; i++) found[i] = (float)rand() / RAND_MAX * 0.1f - 0.05f;
    return found;
}

static long lay_out(Layer *layers, long offset, const long *sizes) {
    for (int i = 0; i < LAYERS; i++) {
        long columns = sizes[i], rows = sizes[i + 1];
        layers[i] = (Layer){offset, offset + rows * columns, rows, columns};
        offset += rows * columns + rounded(rows, 16);
    }
    return offset;
}

static double spent[PARTS];
#define TIME(PART, CALL)              \
    {                                 \
        double began = now();         \
        CALL;                         \
        spent[PART] += now() - began; \
    }

static void forward_parts(const Pass *pass, const Layer *layers, const float *half, const Update *update) {
    for (int i = 0; i < LAYERS; i++) {
        const float *weight = half + layers[i].offset, *bias = half + layers[i].bias, *end = bias + layers[i].rows;
        long at = end - update->parameters;
        TIME(ADAM, adjust(update, weight - update->parameters, at))
        TIME(FORWARD, affine(layers[i].rows, layers[i].columns, BATCH, weight, bias, pass->outputs[i],
                             pass->outputs[i + 1], i + 1 < LAYERS, (Soon){update->first + at, update->second + at}))
    }
}

static void backward_parts(const Pass *pass, const Layer *layers, const float *half, float *gradients, float *work,
                           long widest, float *squares, int below) {
    const float *gradient = pass->outputs[LAYERS];
    float *turned = work + 2 * widest * BATCH;
    for (int i = LAYERS - 1; i >= 0; i--) {
        long rows = layers[i].rows, columns = layers[i].columns, stride = rounded(columns, SPAN);
        long lower = i ? layers[i - 1].offset : 0;
        float *weight = gradients + layers[i].offset, *bias = gradients + layers[i].bias;
        TIME(TRANSPOSE, transpose(columns, BATCH, stride, pass->outputs[i], turned))
        TIME(WEIGHTS, outer(rows, columns, BATCH, stride, gradient, turned, weight, 0))
        TIME(BIASES, bias_sums(rows, BATCH, gradient, bias, 0))
        TIME(NORM, add_squares(weight, bias - weight + rounded(rows, 16), squares))
        if (i == 0 && !below) return;
        float *to = work + (i % 2) * widest * BATCH;
        TIME(INPUTS_BACK, back(rows, columns, BATCH, half + layers[i].offset, gradient, i ? pass->outputs[i] : 0, to,
                               (Soon){half + lower, gradients + lower}))
        gradient = to;
    }
}

static void step(const Plan *plan, const Cell *cell, Room *room, const long *index) {
    Update update = {cell->parameters, cell->first, cell->second, room->gradients};
    float *work = room->work, *squares = room->squares, *gradients = room->gradients, *parameters = cell->parameters;
    long half = plan->half, widest = widest_of(plan);
    prepare(plan, squares, 1000, &update);
    memset(squares, 0, sizeof room->squares);
    for (int d = 0; d < 2; d++) forward_parts(&room->encoder[d], plan->encoder, parameters + d * half, &update);
    for (int d = 0; d < 2; d++) forward_parts(&room->decoder[d], plan->decoder, parameters + d * half, &update);
    TIME(LOSSES, losses(plan, cell, room, index))
    for (int d = 1; d >= 0; d--)
        backward_parts(&room->decoder[d], plan->decoder, parameters + d * half, gradients + d * half, work, widest,
                       squares, 1);
    for (int d = 1; d >= 0; d--) {
        TIME(LOSSES, hyperbolic(room->fused, room->fused, plan->width * BATCH); to_encoding(plan, room, d))
        backward_parts(&room->encoder[d], plan->encoder, parameters + d * half, gradients + d * half, work, widest,
                       squares, 0);
    }
}

/* GFLOP/s of multiply_add alone, on registers. */
static double peak(void) {
    vector sums[10], a = spread(0.999f), b = spread(0.001f), all = spread(0.0f);
    double best = 0.0;
    for (int j = 0; j < 10; j++) sums[j] = spread(0.1f * j);
    for (int round = 0; round < ROUNDS; round++) {
        double began = now();
        for (int i = 0; i < 2000; i++) UNROLL for (int j = 0; j < 10; j++) sums[j] = multiply_add(sums[j], a, b);
        double reached = 2000 * 10 * LANES * 2e-3 / (now() - began);
        best = reached > best ? reached : best;
    }
    for (int j = 0; j < 10; j++) all += sums[j];
    return all[0] != 0.0f ? best : 0.0; /* all: so that the loop is not left out */
}

/* GB/s of reading and writing as many bytes as an update does (16 bytes a parameter read, 12 written): the sums alone. */
static double bandwidth(const Cell *cell, const float *gradients, long count) {
    double best = 0.0;
    for (int round = 0; round < ROUNDS; round++) {
        const Cell *one = cell + round % CELLS;
        double began = now();
        for (long i = 0; i < count; i += LANES) {
            vector sum = load(gradients + i) * 1e-9f;
            store(one->parameters + i, load(one->parameters + i) + sum);
            store(one->first + i, load(one->first + i) + sum);
            store(one->second + i, load(one->second + i) + sum * sum);
        }
        double reached = 28e-3 * count / (now() - began);
        best = reached > best ? reached : best;
    }
    return best;
}

int main(void) {
    Layer encoder[LAYERS], decoder[LAYERS];
    long end = lay_out(encoder, 0, (const long[]){16, 128, 128, 128, 128, 128, 32});
    long half = rounded(lay_out(decoder, end, (const long[]){32, 128, 128, 128, 128, 128, 24}), 512);
    Plan plan = {.encoder = encoder, .decoder = decoder, .inputs = numbers(2 * BATCH * INPUTS),
                 .targets = numbers(2 * BATCH * OUTPUTS), .layers = LAYERS, .half = half, .batch = BATCH, .width = 32,
                 .direct = 1, .fused = 0, .own = -1, .other = -1, .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999,
                 .epsilon = 1e-8, .fusion = {0.5f, 0.5f}, .largest_norm = 1.0f};
    Cell cells[CELLS];
    for (int c = 0; c < CELLS; c++) {
        cells[c] = (Cell){numbers(2 * half), numbers(2 * half), numbers(2 * half), numbers(2 * BATCH * OUTPUTS),
                          numbers(BATCH * CLASSES), numbers(2 * OUTPUTS)};
        memset(cells[c].first, 0, 8 * half);
        memset(cells[c].second, 0, 8 * half);
    }
    long index[8][2 * BATCH];
    for (int i = 0; i < 8 * 2 * BATCH; i++) index[i / (2 * BATCH)][i % (2 * BATCH)] = i % (2 * BATCH);
    float *scratch = numbers(scratch_size(&plan));
    Room room;
    memset(scratch, 0, 4 * scratch_size(&plan));
    divide(&plan, scratch, &room);
    double best[PARTS], whole = 1e9;
    for (int part = 0; part < PARTS; part++) best[part] = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        const Cell *cell = cells + round % CELLS;
        train(&plan, cell, index[0], 2 * BATCH, 8 * round, 2, scratch); /* activations and gradients as in training */
        for (int again = 0; again < 4; again++) {
            double all = 0.0;
            memset(spent, 0, sizeof spent);
            step(&plan, cell, &room, index[0]);
            for (int part = 0; part < PARTS; part++) {
                best[part] = spent[part] < best[part] ? spent[part] : best[part];
                all += spent[part];
            }
            whole = all < whole ? all : whole;
        }
    }
    printf("{\"set\": \"%s\", \"peak\": %.1f, \"bandwidth\": %.1f, \"whole\": %.1f, \"parameters\": %ld, \"parts\": {", SET,
           peak(), bandwidth(cells, room.gradients, 2 * half), whole, 2 * half);
    for (int part = 0; part < PARTS; part++) printf("%s\"%s\": %.1f", part ? ", " : "", names[part], best[part]);
    printf("}}\n");
}
