/* DSnoT for CPUs: one row at a time, all of its cycles, as triton_kernel.py does on a GPU.

   A row is two integers per weight, the keys of candidates.py:

     grow    of a pruned weight, the largest |c| / var^gamma has the largest magnitude
     prune   of a kept weight, the smallest |W^| * norm (N:M: initial score) has the largest
     sign    of the contribution; 0: not a candidate, or moved already

   A cycle asks for the leftmost place of a maximum. The maxima of chunks of CHUNK columns are kept,
   so that a cycle looks at those and at one chunk, not at the row. Products are rounded to float32
   before they are widened (no fused operations: see native/__init__.py), as in cycles.py. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 32
#define FLIP 0x7FFFFFFF

typedef struct {
    const void *weight, *present; /* (out, in), float32, or bfloat16 if `half` */
    const float *scores;          /* (out, in); read for N:M only */
    const uint8_t *mask;          /* (out, in) */
    const float *unit, *divisor, *norm; /* (in,) */
    uint8_t *new_mask;            /* (out, in), a copy of mask */
    double *error;                /* (out,): before -> after */
    int64_t *swaps;               /* (out,) */
    int64_t width, cycles, m;     /* m: 0 = unstructured */
    double threshold;
    int32_t half, flip_stops, run_on;
} Layer;

typedef struct {
    int32_t *key;         /* (in,) */
    int32_t *most, *least; /* (chunks,): the largest key and the largest -key of each */
} Side;

static inline int32_t magnitude(float x) {
    int32_t bits;
    memcpy(&bits, &x, 4);
    return bits & FLIP;
}

static inline float widened(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static inline float at(const void *matrix, int32_t half, int64_t i) {
    return half ? widened(((const uint16_t *)matrix)[i]) : ((const float *)matrix)[i];
}

static void take_row(float *row, const void *matrix, int32_t half, int64_t start, int64_t width) {
    if (!half) {
        memcpy(row, (const float *)matrix + start, width * sizeof(float));
        return;
    }
    const uint16_t *own = (const uint16_t *)matrix + start;
    for (int64_t k = 0; k < width; k++) row[k] = widened(own[k]);
}

static void summarize(Side *side, int64_t chunk, int64_t width) {
    int64_t low = chunk * CHUNK, high = low + CHUNK < width ? low + CHUNK : width;
    int32_t most = 0, least = 0;
    for (int64_t k = low; k < high; k++) {
        int32_t key = side->key[k];
        most = key > most ? key : most;
        least = -key > least ? -key : least;
    }
    side->most[chunk] = most;
    side->least[chunk] = least;
}

/* The leftmost column with the largest sign * key, or -1 if none is above 0. */
static int64_t largest(const Side *side, int32_t sign, int64_t width) {
    const int32_t *top = sign > 0 ? side->most : side->least;
    int64_t chunks = (width + CHUNK - 1) / CHUNK;
    int32_t best = 0;
    for (int64_t c = 0; c < chunks; c++) best = top[c] > best ? top[c] : best;
    if (best == 0) return -1;
    int64_t chunk = 0;
    while (top[chunk] != best) chunk++;
    int64_t k = chunk * CHUNK;
    while (side->key[k] != sign * best) k++;
    return k;
}

/* The most important kept weight of a sign, or -1: used_up = run_on. */
static int64_t dearest(const int32_t *key, int32_t sign, int64_t width) {
    int32_t best = 0;
    int64_t found = -1;
    for (int64_t k = 0; k < width; k++) {
        int32_t own = key[k] * sign;
        if (own > 0 && (found < 0 || own < best)) best = own, found = k;
    }
    return found;
}

/* The kept weight of the lowest cost in column k's group, or -1. */
static int64_t in_group(const int32_t *key, int64_t k, int64_t m) {
    int64_t low = k / m * m, found = -1;
    int32_t best = 0;
    for (int64_t j = low; j < low + m; j++)
        if (key[j] > best) best = key[j], found = j;
    return found;
}

static void make_keys(const Layer *L, int64_t start, const float *restrict w,
                      const float *restrict v, int32_t *restrict grow, int32_t *restrict prune) {
    const uint8_t *restrict mask = L->mask + start;
    const float *restrict unit = L->unit, *restrict norm = L->norm, *restrict divisor = L->divisor;
    int64_t width = L->width;
    for (int64_t k = 0; k < width; k++) {
        int32_t kept = mask[k] != 0;
        float c = w[k] * unit[k];
        int32_t key = magnitude(c / divisor[k]) + 1;
        key = c < 0 ? -key : key;
        grow[k] = (!kept & (norm[k] > 0) & (c != 0)) ? key : 0;
    }
    if (L->m) {
        const float *restrict scores = L->scores + start;
        for (int64_t k = 0; k < width; k++) prune[k] = mask[k] ? magnitude(scores[k]) ^ FLIP : 0;
        return;
    }
    for (int64_t k = 0; k < width; k++) {
        int32_t kept = mask[k] != 0;
        float c = v[k] * unit[k], cost = v[k] * norm[k];
        int32_t key = magnitude(cost) ^ FLIP;
        key = c < 0 ? -key : key;
        prune[k] = (kept & (c != 0)) ? key : 0;
    }
}

static void refine_row(const Layer *L, int64_t row, float *w, float *v, Side *grow, Side *prune) {
    int64_t width = L->width, start = row * width, chunks = (width + CHUNK - 1) / CHUNK, count = 0;
    double e = L->error[row];
    int positive_first = e > 0;
    L->swaps[row] = 0;
    if ((e < 0 ? -e : e) <= L->threshold) return;
    take_row(w, L->weight, L->half, start, width);
    if (L->present == L->weight) v = w;
    else take_row(v, L->present, L->half, start, width);
    make_keys(L, start, w, v, grow->key, prune->key);
    for (int64_t c = 0; c < chunks; c++) {
        summarize(grow, c, width);
        summarize(prune, c, width);
    }
    while (count < L->cycles && (e < 0 ? -e : e) > L->threshold) {
        int32_t sign = e < 0 ? -1 : 1;
        int64_t g = largest(grow, sign, width), p;
        if (g < 0) break;
        if (L->m) p = in_group(prune->key, g, L->m);
        else p = largest(prune, -sign, width);
        if (p < 0 && L->run_on && !L->m) p = dearest(prune->key, sign, width);
        if (p < 0 && !L->m) break;
        if (p >= 0) {
            float pruned = v[p] * L->unit[p], grown = w[g] * L->unit[g];
            double after = e + (double)pruned - (double)grown;
            if (L->flip_stops && (after == 0 || (after > 0) != positive_first)) break;
            L->new_mask[start + g] = 1;
            L->new_mask[start + p] = 0;
            prune->key[p] = 0;
            summarize(prune, p / CHUNK, width);
            e = after;
            count++;
        } /* else N:M: the group has no candidate left; skip this grow candidate */
        grow->key[g] = 0;
        summarize(grow, g / CHUNK, width);
    }
    L->error[row] = e;
    L->swaps[row] = count;
}

/* Rows first to last - 1; returns 0, or 1 if out of memory. */
int refine_rows(const Layer *L, int64_t first, int64_t last) {
    int64_t width = L->width, chunks = (width + CHUNK - 1) / CHUNK;
    float *values = malloc(2 * width * sizeof(float));
    int32_t *keys = malloc((2 * width + 4 * chunks) * sizeof(int32_t));
    int failed = !values || !keys;
    if (!failed) {
        int32_t *tops = keys + 2 * width;
        Side grow = {keys, tops, tops + chunks};
        Side prune = {keys + width, tops + 2 * chunks, tops + 3 * chunks};
        for (int64_t row = first; row < last; row++)
            refine_row(L, row, values, values + width, &grow, &prune);
    }
    free(values);
    free(keys);
    return failed;
}
