/* The best exchange of a kept and a pruned weight, again and again, for some rows of a layer; see
 * refine/exchange.py. Plain loops over the columns, which the compiler turns into vectors. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

enum { LANES = 16 };

typedef struct {
    const float *gram;      /* H, (in, in); NULL: mean mean^T off the diagonal */
    const float *mean;      /* (in,), if gram is NULL */
    const float *diagonal;  /* of H, (in,) */
    const float *shared, *reach;  /* |H_pk| is at most shared_p reach_k, (in,) each */
    const float *blocks;    /* N:M: H within the groups, (in, m) */
    const float *value;     /* v, (out, in) */
    float *gradient;        /* g, (out, in) */
    const float *least;     /* an exchange lowers the loss by more, (out,) */
    uint8_t *mask;          /* (out, in), 1: kept */
    int64_t *swaps;         /* (out,) */
    int64_t in, most, pool;
    int64_t m;              /* N:M; 0: unstructured */
} Task;

typedef struct {
    int64_t out, into;
    float change;
} Exchange;

/* Some kept weights, by rising cost. */
typedef struct {
    int64_t found;
    int64_t *column;
    float *cost;
} Pool;

/* One row, and what its steps work with: (in,) each. */
typedef struct {
    const Task *task;
    const float *v;
    float *g;
    uint8_t *mask;
    float *own, *twice;                    /* v^2 diag(H), 2 v */
    float *not_kept, *not_pruned;          /* infinite where a weight cannot be removed, grown */
    float *remove, *grow;                  /* the change of the loss by one weight alone */
    float *image, *other, *shift;          /* rows of H, v mean: where H is not stored */
    Pool cheapest, best;                   /* by what they cost alone; of the last search of all */
} Row;

static const float *row_of(const Row *r, int64_t column, float *place) {
    const Task *t = r->task;
    if (t->gram) return t->gram + column * t->in;
    for (int64_t k = 0; k < t->in; k++) place[k] = t->mean[column] * t->mean[k];
    place[column] = t->diagonal[column];
    return place;
}

static void settle(const Row *r, int64_t column, int kept) {
    r->mask[column] = (uint8_t)kept;
    r->not_kept[column] = kept ? 0 : INFINITY;
    r->not_pruned[column] = kept ? INFINITY : 0;
}

static void start(Row *r, int64_t row) {
    const Task *t = r->task;
    r->v = t->value + row * t->in;
    r->g = t->gradient + row * t->in;
    r->mask = t->mask + row * t->in;
    for (int64_t k = 0; k < t->in; k++) {
        r->own[k] = r->v[k] * r->v[k] * t->diagonal[k];
        r->twice[k] = 2 * r->v[k];
        r->shift[k] = t->gram ? 0 : r->v[k] * t->mean[k];
        settle(r, k, r->mask[k]);
    }
    r->best.found = 0;
}

static void alone(const Row *r) {
#pragma GCC ivdep  /* the arrays do not overlap */
    for (int64_t k = 0; k < r->task->in; k++) {
        const float slope = r->twice[k] * r->g[k];
        r->remove[k] = r->own[k] + slope + r->not_kept[k];
        r->grow[k] = r->own[k] - slope + r->not_pruned[k];
    }
}

/* 2 v_p v_u H_pu = factor x_u h_u; without h it is 1. */
typedef struct {
    float factor;
    const float *x, *h;
} Cross;

static Cross cross_of(const Row *r, int64_t p) {
    const Task *t = r->task;
    if (t->gram) return (Cross){r->twice[p], r->v, t->gram + p * t->in};
    return (Cross){r->twice[p] * t->mean[p], r->shift, NULL};
}

static inline float grown(const float *grow, Cross c, int64_t u) {
    return c.h ? grow[u] - c.factor * c.x[u] * c.h[u] : grow[u] - c.factor * c.x[u];
}

/* The smallest grow_u - 2 v_p v_u H_pu over the columns u. */
static float smallest(const Row *r, Cross c) {
    const float *grow = r->grow;
    const int64_t in = r->task->in;
    float lane[LANES], least = INFINITY;
    int64_t k = 0;
    for (int i = 0; i < LANES; i++) lane[i] = INFINITY;
    for (; k + LANES <= in; k += LANES)
        for (int i = 0; i < LANES; i++) {
            const float found = grown(grow, c, k + i);
            lane[i] = found < lane[i] ? found : lane[i];
        }
    for (; k < in; k++) {
        const float found = grown(grow, c, k);
        least = found < least ? found : least;
    }
    for (int i = 0; i < LANES; i++) least = lane[i] < least ? lane[i] : least;
    return least;
}

/* Compare the kept weight p with all pruned ones; the change of the loss by its best exchange. */
static float compare(const Row *r, int64_t p, Exchange *best) {
    const float change = r->remove[p] + smallest(r, cross_of(r, p));
    if (change < best->change) *best = (Exchange){p, -1, change};
    return change;
}

static void insert(Pool *pool, int64_t most, int64_t column, float cost) {
    if (pool->found == most && !(cost < pool->cost[most - 1])) return;
    int64_t i = pool->found < most ? pool->found++ : most - 1;
    for (; i > 0 && pool->cost[i - 1] > cost; i--) {
        pool->cost[i] = pool->cost[i - 1];
        pool->column[i] = pool->column[i - 1];
    }
    pool->cost[i] = cost;
    pool->column[i] = column;
}

/* The kept weights that cost least to remove, the first ones among equals. */
static void choose_cheapest(Row *r) {
    const int64_t in = r->task->in, most = r->task->pool;
    Pool *pool = &r->cheapest;
    pool->found = 0;
    for (int64_t low = 0; low < in; low += LANES) {
        const int64_t high = low + LANES < in ? low + LANES : in;
        const float worst = pool->found < most ? INFINITY : pool->cost[most - 1];
        int better = 0;
        for (int64_t k = low; k < high; k++) better |= r->remove[k] < worst;
        for (int64_t k = low; better && k < high; k++)
            if (r->remove[k] < INFINITY) insert(pool, most, k, r->remove[k]);
    }
}

/* All kept weights, but for those that cannot be better. */
static void compare_all(Row *r, Exchange *best) {
    const int64_t in = r->task->in;
    const float least = best->change;
    float cheapest = INFINITY, largest = 0;
    for (int64_t u = 0; u < in; u++) {
        if (r->mask[u]) continue;
        cheapest = r->grow[u] < cheapest ? r->grow[u] : cheapest;
        const float reached = fabsf(r->v[u]) * r->task->reach[u];
        largest = reached > largest ? reached : largest;
    }
    r->best.found = 0;
    for (int64_t p = 0; p < in; p++) {
        const float bound = fabsf(r->twice[p]) * r->task->shared[p] * largest;
        if (!r->mask[p] || !(r->remove[p] + cheapest - bound < least)) continue;
        const float change = compare(r, p, best);
        if (change < least) insert(&r->best, r->task->pool, p, change);
    }
}

static Exchange best_of_row(Row *r, float least) {
    Exchange best = {-1, -1, -least};
    choose_cheapest(r);
    for (int64_t i = 0; i < r->cheapest.found; i++) compare(r, r->cheapest.column[i], &best);
    for (int64_t i = 0; i < r->best.found; i++)
        if (r->mask[r->best.column[i]]) compare(r, r->best.column[i], &best);
    if (best.out < 0 && r->cheapest.found == r->task->pool) compare_all(r, &best);
    if (best.out < 0) return best;
    const Cross cross = cross_of(r, best.out);
    const float least_grown = smallest(r, cross);
    int64_t first = 0;  /* of the vector that holds it */
    for (int found = 0; first + LANES < r->task->in; first += LANES) {
        for (int i = 0; i < LANES; i++) found |= grown(r->grow, cross, first + i) == least_grown;
        if (found) break;
    }
    for (best.into = first; best.into < r->task->in - 1; best.into++)
        if (grown(r->grow, cross, best.into) == least_grown) break;
    return best;
}

static Exchange best_of_groups(const Row *r, float least) {
    const Task *t = r->task;
    Exchange best = {-1, -1, -least};
    for (int64_t p = 0; p < t->in; p++) {
        if (!r->mask[p]) continue;
        const int64_t first = p - p % t->m;
        const float *h = t->blocks + p * t->m;
        for (int64_t i = 0; i < t->m; i++) {
            const int64_t u = first + i;
            const float change = r->remove[p] + (r->grow[u] - r->twice[p] * r->v[u] * h[i]);
            if (change < best.change) best = (Exchange){p, u, change};
        }
    }
    return best;
}

static void apply(const Row *r, Exchange chosen) {
    const float *h = row_of(r, chosen.out, r->image), *other = row_of(r, chosen.into, r->other);
    const float out = r->v[chosen.out], into = r->v[chosen.into];
    for (int64_t k = 0; k < r->task->in; k++) r->g[k] += out * h[k] - into * other[k];
    settle(r, chosen.out, 0);
    settle(r, chosen.into, 1);
}

int exchange_rows(const Task *t, int64_t first, int64_t last) {
    float *memory = malloc((size_t)(9 * t->in + 2 * t->pool) * sizeof(float));
    int64_t *columns = malloc((size_t)(2 * t->pool) * sizeof(int64_t));
    if (!memory || !columns) {
        free(memory);
        free(columns);
        return 1;
    }
    Row r = {.task = t};
    float **parts[] = {&r.own, &r.twice, &r.not_kept, &r.not_pruned, &r.remove, &r.grow, &r.image,
                       &r.other, &r.shift, &r.cheapest.cost};
    for (int i = 0; i < 10; i++) *parts[i] = memory + i * t->in;
    r.best.cost = r.cheapest.cost + t->pool;
    r.cheapest.column = columns;
    r.best.column = columns + t->pool;
    for (int64_t row = first; row < last; row++) {
        start(&r, row);
        for (; t->swaps[row] < t->most; t->swaps[row]++) {
            alone(&r);
            const float least = t->least[row];
            const Exchange best = t->m ? best_of_groups(&r, least) : best_of_row(&r, least);
            if (best.out < 0) break;
            apply(&r, best);
        }
    }
    free(memory);
    free(columns);
    return 0;
}
