/*
 * pending.c -- which kind of pending set a plan needs, and what the kinds have in common.
 */
#include "memory.h"
#include "pending.h"
#include "pending_replay.h"

#include <stdlib.h>

static const pc_pending_kind_t *
kind_for(const pc_source_t *source, const pc_plan_t *plan)
{
    if (source->recording)
        return &pc_pending_replay;
    if (plan->schedule == PC_SCHEDULE_ROUNDS)
        return &pc_pending_rounds;
    bool dynamic = pc_orders[plan->policy.order].uses & (PC_USES_UPDATES | PC_USES_LAST_WRITE);
    return dynamic ? &pc_pending_dynamic : &pc_pending_static;
}

int
pc_pending_init(pc_pending_t *self, const pc_files_t *files, const pc_source_t *source,
                const pc_plan_t *plan, int64_t total_bytes)
{
    memset(self, 0, sizeof *self);
    self->kind = kind_for(source, plan);
    self->files = files;
    self->plan = plan;
    self->source = source;
    self->bytes = source->recording ? 0 : total_bytes;
    self->fresh = pc_allocate(files->count + 1, sizeof *self->fresh);
    if (!self->fresh)
        return PC_ERROR_MEMORY;
    int status = self->kind->init(self);
    if (status < 0 || source->recording || !pc_ledger_wanted(plan))
        return status;
    self->ledger = calloc(1, sizeof *self->ledger);
    if (!self->ledger)
        return PC_ERROR_MEMORY;
    return pc_ledger_init(self->ledger, plan, files->count, self->size_bytes, total_bytes,
                          self->kind == &pc_pending_static);
}

int
pc_pending_rank(pc_pending_t *self, pc_ranking_t *ranking, int64_t words, uint64_t **memory)
{
    pc_updates_t updates = {.count = self->plan->history};
    int status = pc_ranking_init(ranking, self->files, &self->plan->policy, &updates);
    if (status < 0)
        return status;
    self->place_of = ranking->rank_of;
    self->size_bytes = ranking->size_bytes;
    *memory = pc_allocate_zeroed(words, sizeof **memory);
    return *memory ? 0 : PC_ERROR_MEMORY;
}

bool
pc_pending_verify(const pc_pending_t *self)
{
    return self->bytes >= 0 && self->kind->verify(self);
}

void
pc_pending_free(pc_pending_t *self)
{
    if (self->kind && self->state)
        self->kind->free(self);
    if (self->ledger)
        pc_ledger_free(self->ledger);
    free(self->ledger);
    free(self->state);
    free(self->fresh);
    memset(self, 0, sizeof *self);
}
