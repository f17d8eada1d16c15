/* Reads of what one write made, as `last_writes` in handovers.py finds them. */

#include <stdint.h>

typedef int64_t number;

/* Columns of Accesses, the unit of each row, negative for none, and of frames their `run`. */
struct accesses {
    number count;
    const int32_t *instruction, *frame, *unit;
    const number *start, *stop, *run;
    const uint8_t *is_write;
};

/* What begins at the same byte of the same unit, with the last byte that any of it has: `found`, of
   which there may be `room`. A table of `slots`, a power of two, has their numbers, or -1; `of` is
   which of them each row is. */
struct blocks {
    number room, slots, found;
    int32_t *slot, *unit, *of;
    number *start, *stop;
};

/* What is known of pieces, of which each block is in one: the row of the last write to it, or -1,
   and whether one of its reads is odd, not of what one write made; `made` is by instruction. */
struct pieces {
    const int32_t *piece;
    int32_t *last;
    uint8_t *odd, *made;
};

static int32_t *place(const struct blocks *b, int32_t unit, number start)
{
    uint64_t spread = ((uint64_t)unit << 44 ^ (uint64_t)start) * UINT64_C(0x9E3779B97F4A7C15);
    number at = (number)(spread >> 32) & (b->slots - 1);
    while (b->slot[at] >= 0 && (b->unit[b->slot[at]] != unit || b->start[b->slot[at]] != start))
        at = (at + 1) & (b->slots - 1);
    return b->slot + at;
}

static void add(struct blocks *b, int32_t unit, number start, number stop)
{
    b->unit[b->found] = unit;
    b->start[b->found] = start;
    b->stop[b->found++] = stop;
}

/* Whether there is room for all. */
int gather(const struct accesses *a, struct blocks *b)
{
    for (number r = 0; r < a->count; r++) {
        b->of[r] = -1;
        if (a->unit[r] < 0)
            continue;
        int32_t *slot = place(b, a->unit[r], a->start[r]);
        if (*slot < 0 && b->found == b->room)
            return 0;
        if (*slot < 0) {
            *slot = (int32_t)b->found;
            add(b, a->unit[r], a->start[r], a->stop[r]);
        }
        b->of[r] = *slot;
        if (b->stop[*slot] < a->stop[r])
            b->stop[*slot] = a->stop[r];
    }
    return 1;
}

static int makes_all(const struct accesses *a, number w, number r)
{
    if (a->start[w] == a->start[r] && a->frame[w] == a->frame[r])
        return 1;
    return a->run[a->frame[w]] == a->stop[w] - a->start[w] && a->start[w] <= a->start[r]
        && a->stop[w] >= a->stop[r];
}

void follow(const struct accesses *a, const struct blocks *b, const struct pieces *p)
{
    for (number r = 0; r < a->count; r++) {
        if (b->of[r] < 0)
            continue;
        int32_t piece = p->piece[b->of[r]], write = p->last[piece];
        if (a->is_write[r])
            p->last[piece] = (int32_t)r;
        else if (write >= 0 && makes_all(a, write, r))
            p->made[a->instruction[write]] = 1;
        else
            p->odd[piece] = 1;
    }
}
