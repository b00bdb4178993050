/*
 * tournament.h -- the first file of each source, and of all of them: a tournament tree.
 *
 * Invariant: node[i] is the first of its children node[2 i] and node[2 i + 1]; source s has leaf
 * node[PC_SOURCES + s].  Every operation walks one path from leaf to root without a branch.
 */
#ifndef PC_TOURNAMENT_H
#define PC_TOURNAMENT_H

#include "rank_key.h"

#define PC_SOURCES 64

typedef struct {
    pc_entry_t node[2 * PC_SOURCES];
} pc_tournament_t;

/* Bring all nodes in line with the leaves. */
static inline void
pc_tournament_build(pc_tournament_t *self)
{
    for (int i = PC_SOURCES - 1; i > 0; i--)
        self->node[i] = pc_entry_first(self->node[2 * i], self->node[2 * i + 1]);
}

static inline pc_entry_t
pc_tournament_first(const pc_tournament_t *self)
{
    return self->node[1];
}

static inline pc_entry_t
pc_tournament_get(const pc_tournament_t *self, int source)
{
    return self->node[PC_SOURCES + source];
}

static inline void
pc_tournament_set(pc_tournament_t *self, int source, pc_entry_t head)
{
    self->node[PC_SOURCES + source] = head;
    for (int i = (PC_SOURCES + source) / 2; i > 0; i /= 2)
        self->node[i] = pc_entry_first(self->node[2 * i], self->node[2 * i + 1]);
}

/* The first of all sources but one. */
static inline pc_entry_t
pc_tournament_first_but(const pc_tournament_t *self, int source)
{
    pc_entry_t first = PC_NO_ENTRY;
    for (int i = PC_SOURCES + source; i > 1; i /= 2)
        first = pc_entry_first(first, self->node[i ^ 1]);
    return first;
}

#endif
