/* Mean and scatter (sum of squared deviations) of every column of bfloat16 tokens: moments.py on
 * CPUs, in two passes over tokens that are in the cache. */
#include <stdint.h>
#include <string.h>

enum { LANES = 64, TOKENS = 256 };  /* columns and tokens at a time */

typedef struct {
    const uint16_t *tokens;  /* (count, width), rows `stride` apart */
    double *mean, *scatter;  /* (width) */
    int64_t count, width, stride;
} Moments;

static inline float value(uint16_t half) {
    const uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static inline __attribute__((always_inline)) void stripe(
    const Moments *m, int64_t column, const int columns
) {
    double mean[LANES] = {0}, scatter[LANES] = {0};
    for (int64_t first = 0; first < m->count; first += TOKENS) {
        const int64_t last = first + TOKENS < m->count ? first + TOKENS : m->count;
        const double more = (double)(last - first), share = more / (double)last;
        float sum[LANES] = {0}, center[LANES], around[LANES] = {0};
        for (int64_t t = first; t < last; t++)
            for (int c = 0; c < columns; c++) sum[c] += value(m->tokens[t * m->stride + column + c]);
        for (int c = 0; c < columns; c++) center[c] = sum[c] / (float)more;
        for (int64_t t = first; t < last; t++)
            for (int c = 0; c < columns; c++) {
                const float off = value(m->tokens[t * m->stride + column + c]) - center[c];
                around[c] += off * off;
            }
        for (int c = 0; c < columns; c++) {  /* Chan, Golub and LeVeque */
            const double delta = (double)center[c] - mean[c];
            mean[c] += delta * share;
            scatter[c] += (double)around[c] + delta * delta * (double)first * share;
        }
    }
    memcpy(m->mean + column, mean, columns * sizeof(double));
    memcpy(m->scatter + column, scatter, columns * sizeof(double));
}

int moments(const Moments *m, int64_t first, int64_t last) {
    for (int64_t s = first; s < last; s++) {
        const int64_t column = s * LANES, left = m->width - column;
        if (left >= LANES) stripe(m, column, LANES);
        else stripe(m, column, (int)left);
    }
    return 0;
}
