/* Rows of Accesses that may race, as `candidates` in hazards.py finds them. */

#include <stdint.h>

typedef int64_t number;

/* Columns of Clocks and Accesses. The rows of instruction i are `rows[i]` to `rows[i + 1] - 1`, the
   instructions of engine e `queue[first[e]]` and those that follow. */
struct accesses {
    number count, engines, most;
    const int8_t *engine;
    const int32_t *known, *queue;
    int32_t *issued; /* to each engine before the present one */
    const number *first, *rows, *start, *stop;
    const uint8_t *memory, *is_write;
};

/* Pairs that were found: the first `room` of them are kept. */
struct pairs {
    number *earlier, *later, room, found;
};

static int meet(const struct accesses *a, number r, number s)
{
    return (a->is_write[r] | a->is_write[s]) && a->memory[r] == a->memory[s]
        && a->start[r] < a->stop[s] && a->start[s] < a->stop[r];
}

/* Every row of one instruction with every row of another. */
static void compare(const struct accesses *a, number earlier, number later, struct pairs *p)
{
    for (number r = a->rows[earlier]; r < a->rows[earlier + 1]; r++)
        for (number s = a->rows[later]; s < a->rows[later + 1]; s++) {
            if (!meet(a, r, s))
                continue;
            if (p->found < p->room) {
                p->earlier[p->found] = r;
                p->later[p->found] = s;
            }
            p->found++;
        }
}

/* How many instructions, issued before i, may not have ended when it begins; of its own engine it
   knows all. */
static number unordered(const struct accesses *a, number i)
{
    number open = 0;
    for (number e = 0; e < a->engines; e++)
        open += a->issued[e] - a->known[i * a->engines + e];
    return open;
}

/* Compare instructions that are not in order, until there would be more than `most` pairs. */
void find(const struct accesses *a, struct pairs *p)
{
    number open = 0;
    for (number e = 0; e < a->engines; e++)
        a->issued[e] = 0;
    for (number i = 0; i < a->count; i++) {
        open += unordered(a, i);
        if (open > a->most)
            return;
        for (number e = 0; e < a->engines; e++)
            for (number n = a->known[i * a->engines + e]; n < a->issued[e]; n++)
                compare(a, a->queue[a->first[e] + n], i, p);
        if (a->engine[i] >= 0)
            a->issued[a->engine[i]]++;
    }
}
