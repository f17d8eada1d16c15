/* The event loop of events.py once more, for long programs; that one says what the rules mean.

   Every unit goes as far as times are known. When none can go on, the transfer whose first byte is
   there earliest is given its channel; when there is none, all is done or nothing can go on. */

#include <stdint.h>

enum { UNKNOWN = -1, NONE = -1 };
typedef int64_t number;

/* Columns of orders.Orders; `waited` is one engine after the other. */
struct orders {
    const number *engine;
    const int32_t *waited;
    const number *slot, *fetch, *channel, *latency, *held, *behind, *ahead,
        *cycles, *overlap;
};

struct times {
    number *issue, *begin, *start, *end; /* all UNKNOWN before */
};

/* An engine: its instructions are `queue[next]` to `queue[stop - 1]`; those from `granting` on have
   no channel yet; `asked` and `pending` are of its last transfer, `free` is when it ends its work. */
struct unit {
    number next, stop, granting, asked, pending, free;
};

struct clock {
    number count, engines, issued, now;
    struct orders orders;
    struct times times;
    const number *queue;
    struct unit *units;
    number *taken; /* per channel, until when */
};

static number later(number a, number b) { return a > b ? a : b; }

/* When all that instruction i waits for has ended, `ready` at the earliest. */
static number released(const struct clock *c, number i, number ready)
{
    for (number e = 0; e < c->engines; e++) {
        number other = c->orders.waited[e * c->count + i];
        if (other == NONE)
            continue;
        if (c->times.end[other] == UNKNOWN)
            return UNKNOWN;
        ready = later(ready, c->times.end[other]);
    }
    return ready;
}

/* Issue the next instruction; whether it can be. */
static int issue(struct clock *c)
{
    number i = c->issued, slot = c->orders.slot[i], now = c->now + c->orders.fetch[i];
    if (c->orders.engine[i] < 0) {
        now = released(c, i, now);
        if (now == UNKNOWN)
            return 0;
        c->times.begin[i] = c->times.start[i] = c->times.end[i] = now;
    } else if (slot != NONE) {
        if (c->times.begin[slot] == UNKNOWN)
            return 0;
        now = later(now, c->times.begin[slot]);
    }
    c->times.issue[i] = c->now = now;
    c->issued++;
    return 1;
}

/* Ask for the channel of transfer i, which is ready then; whether its window is open. */
static int request(struct clock *c, struct unit *u, number i, number ready)
{
    number behind = c->orders.behind[i];
    if (behind != NONE && c->times.end[behind] == UNKNOWN)
        return 0;
    if (behind != NONE)
        ready = later(ready, c->times.end[behind] - c->orders.ahead[i]);
    u->asked = c->times.begin[i] = later(u->asked, ready);
    u->pending = i;
    return 1;
}

/* Execute what is no transfer, when the engine is free; whether its transfers have ended. */
static int execute(struct clock *c, struct unit *u, number i, number ready)
{
    if (u->pending != NONE && c->times.end[u->pending] == UNKNOWN)
        return 0;
    u->asked = later(ready, u->free - c->orders.overlap[i]);
    c->times.begin[i] = c->times.start[i] = u->asked;
    c->times.end[i] = u->free = later(u->asked + c->orders.cycles[i], u->free);
    return 1;
}

/* Begin an engine's next instruction; whether it can be begun. */
static int begin(struct clock *c, struct unit *u)
{
    number i = c->queue[u->next];
    number ready = c->times.issue[i] == UNKNOWN ? UNKNOWN : released(c, i, c->times.issue[i]);
    if (ready == UNKNOWN)
        return 0;
    int begun = c->orders.channel[i] == NONE ? execute(c, u, i, ready) : request(c, u, i, ready);
    u->next += begun;
    return begun;
}

/* Whether an engine has a request; if so, it is of `queue[granting]`. */
static int asks(const struct clock *c, struct unit *u)
{
    while (u->granting < u->next && c->orders.channel[c->queue[u->granting]] == NONE)
        u->granting++;
    return u->granting < u->next;
}

/* When the first byte of an engine's request is there. */
static number first_byte(const struct clock *c, const struct unit *u)
{
    number i = c->queue[u->granting];
    return c->times.begin[i] + c->orders.latency[i];
}

/* Give its channel to the request whose first byte is there earliest, of the first engine that has
   one; whether there is. */
static int grant(struct clock *c)
{
    struct unit *first = 0;
    for (struct unit *u = c->units; u < c->units + c->engines; u++)
        if (asks(c, u) && (!first || first_byte(c, u) < first_byte(c, first)))
            first = u;
    if (!first)
        return 0;
    number there = first_byte(c, first), i = c->queue[first->granting++];
    number *taken = &c->taken[c->orders.channel[i]];
    number at = later(there, later(*taken, first->free));
    c->times.start[i] = at;
    *taken = at + c->orders.held[i];
    c->times.end[i] = first->free = at + c->orders.cycles[i];
    return 1;
}

/* Whether any unit has gone on. */
static int advance(struct clock *c)
{
    int any = 0;
    while (c->issued < c->count && issue(c))
        any = 1;
    for (struct unit *u = c->units; u < c->units + c->engines; u++)
        while (u->next < u->stop && begin(c, u))
            any = 1;
    return any;
}

/* Find all times; whether there are any, or else the program is stuck. */
int play(struct clock *c)
{
    while (advance(c) || grant(c))
        ;
    int done = c->issued == c->count;
    for (struct unit *u = c->units; u < c->units + c->engines; u++)
        done = done && u->next == u->stop && !asks(c, u);
    return done;
}
