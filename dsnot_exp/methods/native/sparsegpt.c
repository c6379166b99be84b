/* The columns of SparseGPT that are visited one by one, for some rows of the layer. Neighbouring
 * rows share a vector, and their columns stay in the cache. */
#include <stdint.h>

enum { ROWS = 32 };  /* of the layer, taken together */

typedef struct {
    float *weight, *error;  /* (in, out): a column of the layer is contiguous */
    const float *factor;    /* (in, in), upper triangular */
    float *scores;          /* (out, in) */
    uint8_t *mask;          /* (out, in), 1: kept */
    int64_t in, out, low, high;
    int64_t n, m;           /* N:M: the mask is chosen here; m = 0: it is given */
} Leaf;

/* Keep the n largest of the m scores that begin at column c; among equals, those on the right. */
static void choose(const Leaf *l, int64_t row, int64_t c) {
    float *scores = l->scores + row * l->in + c;
    for (int64_t i = 0; i < l->m; i++) {
        const float ratio = l->weight[(c + i) * l->out + row] / l->factor[(c + i) * (l->in + 1)];
        scores[i] = ratio * ratio;
    }
    for (int64_t i = 0; i < l->m; i++) {
        int64_t before = 0;
        for (int64_t j = 0; j < l->m; j++)
            before += scores[j] < scores[i] || (scores[j] == scores[i] && j < i);
        l->mask[row * l->in + c + i] = before >= l->m - l->n;
    }
}

static inline __attribute__((always_inline)) void sweep(const Leaf *l, int64_t row, const int rows) {
    for (int64_t c = l->low; c < l->high; c++) {
        const float *factor = l->factor + c * l->in;
        float *weight = l->weight + c * l->out + row, *kept_error = l->error + c * l->out + row;
        float error[ROWS];
        if (l->m && c % l->m == 0)
            for (int r = 0; r < rows; r++) choose(l, row + r, c);
        for (int r = 0; r < rows; r++) {
            const int kept = l->mask[(row + r) * l->in + c];
            error[r] = kept ? 0 : weight[r] / factor[c];
            weight[r] = kept ? weight[r] : 0;
            kept_error[r] = error[r];
        }
        for (int64_t k = c + 1; k < l->high; k++) {
            float *later = l->weight + k * l->out + row;
            for (int r = 0; r < rows; r++) later[r] -= factor[k] * error[r];
        }
    }
}

int sweep_leaf(const Leaf *l, int64_t first, int64_t last) {
    int64_t row = first;
    for (; row + ROWS <= last; row += ROWS) sweep(l, row, ROWS);
    if (row < last) sweep(l, row, (int)(last - row));
    return 0;
}
