/* The `count` smallest entries of every row, the leftmost first among equals: topk.py on CPUs.

   A float is an integer of the same order. One pass counts the entries by the integers' upper bits;
   the bin in which the count-th smallest lies is searched alone, by quickselect. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SHIFT 22 /* sign, exponent and three bits of the fraction */
#define BINS (1 << (32 - SHIFT))

static inline uint32_t ordered(float x) {
    uint32_t bits;
    x += 0.0f; /* -0 and 0 are equal */
    memcpy(&bits, &x, 4);
    return bits ^ ((uint32_t)((int32_t)bits >> 31) | 0x80000000u);
}

/* The entry that is the wanted-th smallest, from 0, of x[0 .. n - 1], which is left in disorder. */
static uint32_t nth(uint32_t *x, int64_t n, int64_t wanted) {
    int64_t low = 0, high = n - 1;
    while (low < high) {
        uint32_t pivot = x[(low + high) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (x[i] < pivot) i++;
            while (x[j] > pivot) j--;
            if (i <= j) {
                uint32_t held = x[i];
                x[i++] = x[j];
                x[j--] = held;
            }
        }
        if (wanted <= j) high = j;
        else if (wanted >= i) low = i;
        else return x[wanted];
    }
    return x[wanted];
}

/* Returns 1 if out of memory. few: room for as many entries as one bin ever held. */
static int mark_row(const float *restrict scores, uint8_t *restrict marks, int64_t width,
                    int64_t count, uint32_t *restrict bins, uint32_t **few, int64_t *room) {
    memset(bins, 0, BINS * sizeof(uint32_t));
    for (int64_t k = 0; k < width; k++) bins[ordered(scores[k]) >> SHIFT]++;
    int64_t below = 0, held = 0;
    uint32_t bin = 0;
    while (below + bins[bin] < count) below += bins[bin++];
    if (*room < bins[bin] + 1) {
        free(*few);
        *room = bins[bin] + 1;
        *few = malloc(*room * sizeof(uint32_t));
        if (!*few) return 1;
    }
    uint32_t *restrict own = *few;
    for (int64_t k = 0; k < width; k++) { /* without a branch: every entry is written */
        uint32_t key = ordered(scores[k]);
        own[held] = key;
        held += key >> SHIFT == bin;
    }
    uint32_t last = nth(own, held, count - below - 1);
    int64_t smaller = 0, marked = 0;
    for (int64_t k = 0; k < width; k++) {
        uint32_t key = ordered(scores[k]);
        marks[k] = key <= last;
        marked += key <= last;
        smaller += key < last;
    }
    if (marked == count) return 0;
    int64_t ties = count - smaller;
    for (int64_t k = 0; k < width; k++) {
        if (ordered(scores[k]) == last) marks[k] = ties-- > 0;
    }
    return 0;
}

/* Rows of scores, marks: (rows, width); 0 < count <= width. Returns 1 if out of memory. */
int mark_smallest(const float *scores, uint8_t *marks, int64_t width, int64_t count, int64_t first,
                  int64_t last) {
    uint32_t *bins = malloc(BINS * sizeof(uint32_t)), *few = NULL;
    int64_t room = 0;
    int failed = !bins;
    for (int64_t row = first; row < last && !failed; row++)
        failed = mark_row(scores + row * width, marks + row * width, width, count, bins, &few,
                          &room);
    free(bins);
    free(few);
    return failed;
}
