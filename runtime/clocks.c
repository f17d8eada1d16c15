/* Vector clocks, as `known` in clocks.py, with the columns beside them. */

#include <stdint.h>

typedef int64_t number;

/* Columns of Clocks, one row after the other, and what is needed on the way: `queue` has the
   instructions of engine e, as they are issued, from `first[e]` on; `last` is, per engine, what its
   latest instruction knows when it has ended, `barrier` what all know from here on. */
struct clocks {
    number count, engines;
    const number *engine, *waits;
    number *position, *issued, *known;
    number *queue, *first, *last, *barrier;
};

static void learn(number *mine, const number *other, number engines)
{
    for (number e = 0; e < engines; e++)
        if (other[e] > mine[e])
            mine[e] = other[e];
}

/* What instruction i knows when it begins. */
static void begin(const struct clocks *c, number i, number *mine, const number *issued)
{
    number engines = c->engines;
    const number *waits = c->waits + i * engines;
    for (number e = 0; e < engines; e++) {
        number count = waits[e] < issued[e] ? waits[e] : issued[e];
        if (count <= mine[e])
            continue;
        learn(mine, c->known + c->queue[c->first[e] + count - 1] * engines, engines);
        mine[e] = count;
    }
}

static void copy(number *to, const number *from, number engines)
{
    for (number e = 0; e < engines; e++)
        to[e] = from[e];
}

void find(struct clocks *c, number *issued)
{
    number engines = c->engines;
    for (number i = 0; i < c->count; i++) {
        number *mine = c->known + i * engines, own = c->engine[i];
        copy(c->issued + i * engines, issued, engines);
        copy(mine, c->barrier, engines);
        if (own >= 0)
            learn(mine, c->last + own * engines, engines);
        begin(c, i, mine, issued);
        copy(own < 0 ? c->barrier : c->last + own * engines, mine, engines);
        if (own < 0)
            continue;
        c->queue[c->first[own] + issued[own]] = i;
        c->position[i] = c->last[own * engines + own] = ++issued[own];
    }
}
