/* Vector clocks, as `known` in clocks.py. */

#include <stdint.h>

typedef int64_t number;
typedef int32_t clock; /* how many instructions of an engine */

/* Columns of Clocks, `waits` one engine after the other, `known` one instruction after the other,
   and what is needed on the way: `queue` has the instructions of engine e, as they are issued, from
   `first[e]` on; `last` is, per engine, what its latest instruction knows when it has ended,
   `barrier` what all know from here on, and `now` what is issued. */
struct clocks {
    number count, engines;
    const int8_t *engine;
    const clock *waits;
    const uint8_t *drains;
    clock *known;
    int32_t *queue;
    const number *first;
    clock *last, *barrier, *now;
};

static void learn(clock *mine, const clock *other, number engines)
{
    for (number e = 0; e < engines; e++)
        if (other[e] > mine[e])
            mine[e] = other[e];
}

/* What instruction i knows when it begins. */
static void begin(const struct clocks *c, number i, clock *mine)
{
    number engines = c->engines;
    for (number e = 0; e < engines; e++) {
        clock waits = c->waits[e * c->count + i], issued = c->now[e];
        clock count = c->drains[i] || waits > issued ? issued : waits;
        if (count <= mine[e])
            continue;
        learn(mine, c->known + c->queue[c->first[e] + count - 1] * engines, engines);
        mine[e] = count;
    }
}

static void copy(clock *to, const clock *from, number engines)
{
    for (number e = 0; e < engines; e++)
        to[e] = from[e];
}

void find(const struct clocks *c)
{
    number engines = c->engines;
    for (number i = 0; i < c->count; i++) {
        clock *mine = c->known + i * engines;
        number own = c->engine[i];
        copy(mine, c->barrier, engines);
        if (own >= 0)
            learn(mine, c->last + own * engines, engines);
        begin(c, i, mine);
        copy(own < 0 ? c->barrier : c->last + own * engines, mine, engines);
        if (own < 0)
            continue;
        c->queue[c->first[own] + c->now[own]] = (int32_t)i;
        c->last[own * engines + own] = ++c->now[own];
    }
}
