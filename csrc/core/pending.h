/*
 * pending.h -- the pending files in rank order: one small interface, four kinds.
 *
 *     static   the key never changes: files are numbered by rank, the set is one bitmap
 *     dynamic  the key moves with the writes: a bitmap per update count, and a heap
 *     rounds   classic rounds: a queue and a dirty set over a rank that is found once
 *     replay   files come, go, are renamed and change their sizes: a heap that names can leave
 *
 * Each kind numbers the files as it likes; that number is a file's *place*.  Invariant between
 * cycles: `bytes` is the sum of the sizes of the files that a final copy would have to send now.
 */
#ifndef PC_PENDING_H
#define PC_PENDING_H

#include "budget.h"
#include "ledger.h"
#include "precopy.h"
#include "ranking.h"

typedef struct pc_pending pc_pending_t;

typedef struct {
    int (*init)(pc_pending_t *self);
    /* One cycle's sends; a stop status if the schedule ends before them, else PC_STOP_CYCLES. */
    int (*send)(pc_pending_t *self, pc_budget_t *budget);
    /* Some of the cycle's writes; called as often as it takes.  NULL for a recording: pending_replay.h */
    void (*write)(pc_pending_t *self, const uint32_t *place, int64_t count);
    /* The cycle's writes are over: bring `bytes` and the order up to date. */
    void (*settle)(pc_pending_t *self);
    bool (*verify)(const pc_pending_t *self);
    void (*free)(pc_pending_t *self);
} pc_pending_kind_t;

struct pc_pending {
    const pc_pending_kind_t *kind;
    const pc_files_t *files;
    const pc_plan_t *plan;
    void *state;               /* the kind's own */
    const uint32_t *place_of;  /* by file id; NULL: a file's place is its id */
    const int64_t *size_bytes; /* by place */
    int64_t bytes;
    int64_t present_bytes;     /* of a recording: the sizes of all files that exist */
    const pc_source_t *source; /* of the writes */
    pc_ledger_t *ledger;       /* NULL unless an option needs it */
    uint32_t *fresh; /* places that this cycle's writes have made pending; room for one too many */
    int64_t fresh_count;
    int64_t rounds_completed;
};

extern const pc_pending_kind_t pc_pending_static, pc_pending_dynamic, pc_pending_rounds;

/* All files pending, in the order that the plan asks for; total_bytes is the sum of their sizes, but
 * means nothing for a recording, where all that exist are. */
int
pc_pending_init(pc_pending_t *self, const pc_files_t *files, const pc_source_t *source,
                const pc_plan_t *plan, int64_t total_bytes);

/*
 * For kinds whose order never changes: number the files by rank, and get zeroed memory of so many words.
 * The kind frees both.
 */
int
pc_pending_rank(pc_pending_t *self, pc_ranking_t *ranking, int64_t words, uint64_t **memory);

/* What a final copy would have to send now. */
static inline int64_t
pc_pending_final_copy(const pc_pending_t *self)
{
    return self->ledger && self->ledger->cost_bytes ? self->ledger->bytes : self->bytes;
}

/* Fetch what the loop over fresh places will read some steps later: at random, from anywhere. */
static inline void
pc_prefetch_ahead(const int64_t *values, const uint32_t *place, int64_t i, int64_t count)
{
    if (i + 16 < count)
        __builtin_prefetch(&values[place[i + 16]]);
}

/* Whether the cheap invariants hold, `bytes` among them; for tests. */
bool
pc_pending_verify(const pc_pending_t *self);

void
pc_pending_free(pc_pending_t *self);

#endif
