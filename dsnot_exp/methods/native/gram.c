/* Gram matrices A^T A and cross products L^T A of bfloat16 tokens, with float32 sums: what a GPU's
 * matrix units do.
 *
 * pack          brings sequences of tokens into panels of 16 columns, two tokens side by side, as
 *               the processor's bfloat16 products want them
 * add_products  adds the products of some panels of columns to the sums: of all rows, or of a Gram
 *               matrix only the part above the diagonal
 *
 * With AMX a product is 16 x 16 sums over 32 tokens; with AVX512-BF16 it is 16 sums over 2 tokens.
 * Every entry is summed in the same order, whichever thread computes it.
 */
#include <stdint.h>
#include <string.h>

enum { LANES = 16, GROUP = 16 };  /* columns of a panel; pairs of tokens that AMX multiplies */

typedef struct {
    const uint16_t *tokens;  /* (sequences, count, width) */
    uint32_t *panels;        /* (sequences, panels, pairs, LANES): tokens 2p, 2p + 1 of a column */
    uint32_t *turned;        /* AMX: (.., panels, pairs / GROUP, LANES, GROUP), the same by columns */
    int64_t sequences, count, width, pairs;
} Packed;

typedef struct {
    Packed left, right;      /* the same for a Gram matrix */
    float *sums;             /* (left.width, right.width) */
    int64_t upper;           /* only what is above the diagonal */
} Products;

#if defined(EMULATE_AMX) || (defined(__AMX_BF16__) && defined(__AMX_TILE__))
#define AMX 1
#elif defined(__AVX512BF16__)
#define AVX 1
#endif

static int64_t panels_of(const Packed *g) { return (g->width + LANES - 1) / LANES; }

/* Two tokens at a time, so that both are read once and every panel's line is written whole. */
static void pack_one(const Packed *g) {
    for (int64_t p = 0; p < g->pairs; p++) {
        const uint16_t *a = g->tokens + 2 * p * g->width, *b = a + g->width;
        const int has_a = 2 * p < g->count, has_b = 2 * p + 1 < g->count;
        for (int64_t column = 0; column < g->width; column += LANES) {
            uint32_t *out = g->panels + (column / LANES * g->pairs + p) * LANES;
            const int64_t left = g->width - column;
            if (left >= LANES && has_b)
                for (int c = 0; c < LANES; c++) out[c] = a[column + c] | (uint32_t)b[column + c] << 16;
            else
                for (int c = 0; c < LANES; c++)
                    out[c] = (has_a && c < left ? a[column + c] : 0)
                        | (has_b && c < left ? (uint32_t)b[column + c] << 16 : 0);
        }
    }
#ifdef AMX
    for (int64_t panel = 0; panel < panels_of(g); panel++) {
        const uint32_t *out = g->panels + panel * g->pairs * LANES;
        uint32_t *turned = g->turned + panel * g->pairs * LANES;
        for (int64_t group = 0; group < g->pairs; group += GROUP)
            for (int c = 0; c < LANES; c++)
                for (int p = 0; p < GROUP; p++)
                    turned[group * LANES + c * GROUP + p] = out[(group + p) * LANES + c];
    }
#endif
}

/* A view of one sequence. */
static Packed sequence(const Packed *g, int64_t s) {
    const int64_t size = panels_of(g) * g->pairs * LANES;
    Packed one = *g;
    one.tokens += s * g->count * g->width;
    one.panels += s * size;
    one.turned += s * size;
    return one;
}

static Products of_sequence(const Products *g, int64_t s) {
    const Products one = {sequence(&g->left, s), sequence(&g->right, s), g->sums, g->upper};
    return one;
}

int pack(const Packed *g, int64_t first, int64_t last) {
    for (int64_t s = first; s < last; s++) {
        const Packed one = sequence(g, s);
        pack_one(&one);
    }
    return 0;
}

#ifdef AMX
#ifdef EMULATE_AMX
typedef struct { uint32_t row[16][16]; } Tile;
static _Thread_local Tile tiles[8];
static float of_half(uint32_t half) {
    float value;
    half <<= 16;
    memcpy(&value, &half, 4);
    return value;
}
#define _tile_zero(t) memset(&tiles[t], 0, sizeof(Tile))
#define _tile_loadd(t, from, stride) \
    for (int r_ = 0; r_ < 16; r_++) \
        memcpy(tiles[t].row[r_], (const char *)(from) + r_ * (stride), 64)
#define _tile_stored(t, to, stride) \
    for (int r_ = 0; r_ < 16; r_++) memcpy((char *)(to) + r_ * (stride), tiles[t].row[r_], 64)
static void _tile_dpbf16ps(int c, int a, int b) {
    for (int m = 0; m < 16; m++)
        for (int k = 0; k < 16; k++)
            for (int n = 0; n < 16; n++) {
                float sum;
                const uint32_t x = tiles[a].row[m][k], y = tiles[b].row[k][n];
                memcpy(&sum, &tiles[c].row[m][n], 4);
                sum += of_half(x & 0xffff) * of_half(y & 0xffff);
                sum += of_half(x >> 16) * of_half(y >> 16);
                memcpy(&tiles[c].row[m][n], &sum, 4);
            }
}
static void configure(void) {}
static void release(void) {}
/* 2: AMX, 1: AVX512-BF16, 0: none that this process may use */
int matrix_units(void) { return 2; }
#else
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
static void configure(void) {
    struct { uint8_t palette, start, zero[14]; uint16_t bytes[16]; uint8_t rows[16]; } all = {1};
    for (int t = 0; t < 8; t++) all.bytes[t] = 64, all.rows[t] = 16;
    _tile_loadconfig(&all);
}
static void release(void) { _tile_release(); }
/* Linux grants the tiles to a process that asks: arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA). */
int matrix_units(void) { return syscall(SYS_arch_prctl, 0x1023, 18) == 0 ? 2 : 0; }
#endif

static void add_tile(const Products *g, const float *sums, int64_t row, int64_t column) {
    const int64_t width = g->right.width;
    for (int64_t r = row; r < row + LANES && r < g->left.width; r++, sums += LANES)
        for (int64_t c = column; c < column + LANES && c < width; c++)
            g->sums[r * width + c] += sums[c - column];
}

/* Two panels of rows by two of columns: tiles 0 to 3 are the sums, 4 and 5 rows, 6 and 7 columns.
 * At an odd end the second panel is the first one again, and its sums are dropped. */
static void square(const Products *g, int64_t i, int64_t j, int64_t more_i, int64_t more_j) {
    const int64_t size = g->right.pairs * LANES;
    const uint32_t *rows = g->left.turned + i * size, *columns = g->right.panels + j * size;
    float sums[LANES * LANES];
    _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
    for (int64_t at = 0; at < size; at += GROUP * LANES) {
        _tile_loadd(4, rows + at, 64);
        _tile_loadd(5, rows + more_i * size + at, 64);
        _tile_loadd(6, columns + at, 64);
        _tile_loadd(7, columns + more_j * size + at, 64);
        _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums, 64); add_tile(g, sums, i * LANES, j * LANES);
    if (more_j) { _tile_stored(1, sums, 64); add_tile(g, sums, i * LANES, (j + 1) * LANES); }
    if (more_i) { _tile_stored(2, sums, 64); add_tile(g, sums, (i + 1) * LANES, j * LANES); }
    if (more_i && more_j) {
        _tile_stored(3, sums, 64); add_tile(g, sums, (i + 1) * LANES, (j + 1) * LANES);
    }
}

int add_products(const Products *g, int64_t first, int64_t last) {
    configure();
    for (int64_t s = 0; s < g->right.sequences; s++) {
        const Products one = of_sequence(g, s);
        for (int64_t j = first; j < last; j += 2) {
            const int64_t more = j + 1 < last;
            const int64_t rows = g->upper ? j + 1 + more : panels_of(&g->left);
            for (int64_t i = 0; i < rows; i += 2) square(&one, i, j, i + 1 < rows, more);
        }
    }
    release();
    return 0;
}

#elif defined(AVX)
#include <immintrin.h>

enum { ROWS = 8, WIDE = 3 };  /* 24 sums of 16 lanes; 32 registers */

int matrix_units(void) { return 1; }

/* Half a panel of rows by `wide` panels of columns. */
static inline __attribute__((always_inline)) void strip(
    const Products *g, int64_t row, int64_t j, const int wide
) {
    const int64_t size = g->right.pairs * LANES, width = g->right.width;
    const uint32_t *rows = g->left.panels + row / LANES * size + row % LANES;
    const uint32_t *columns = g->right.panels + j * size;
    __m512 sums[ROWS][WIDE];
    for (int r = 0; r < ROWS; r++)
        for (int w = 0; w < wide; w++) sums[r][w] = _mm512_setzero_ps();
    for (int64_t at = 0; at < size; at += LANES) {
        __m512bh right[WIDE];
        for (int w = 0; w < wide; w++)
            right[w] = (__m512bh)_mm512_loadu_si512(columns + w * size + at);
        for (int r = 0; r < ROWS; r++) {
            const __m512bh left = (__m512bh)_mm512_set1_epi32((int)rows[at + r]);
            for (int w = 0; w < wide; w++)
                sums[r][w] = _mm512_dpbf16_ps(sums[r][w], left, right[w]);
        }
    }
    for (int r = 0; r < ROWS && row + r < g->left.width; r++)
        for (int w = 0; w < wide; w++) {
            const int64_t column = (j + w) * LANES, left = width - column;
            const __mmask16 inside = left >= LANES ? 0xffff : (__mmask16)((1 << left) - 1);
            float *out = g->sums + (row + r) * width + column;
            const __m512 old = _mm512_maskz_loadu_ps(inside, out);
            _mm512_mask_storeu_ps(out, inside, _mm512_add_ps(old, sums[r][w]));
        }
}

int add_products(const Products *g, int64_t first, int64_t last) {
    for (int64_t s = 0; s < g->right.sequences; s++) {
        const Products one = of_sequence(g, s);
        for (int64_t j = first; j < last; j += WIDE) {
            const int wide = last - j < WIDE ? (int)(last - j) : WIDE;
            const int64_t above = (j + wide) * LANES, all = g->left.width;
            const int64_t rows_end = g->upper && above < all ? above : all;
            for (int64_t row = 0; row < rows_end; row += ROWS) {
                if (wide == 3) strip(&one, row, j, 3);
                else if (wide == 2) strip(&one, row, j, 2);
                else strip(&one, row, j, 1);
            }
        }
    }
    return 0;
}

#else
int matrix_units(void) { return 0; }
int add_products(const Products *g, int64_t first, int64_t last) { return -1; }
#endif
