/*
 * ranking.h -- files sorted once by a key that never changes.
 */
#ifndef PC_RANKING_H
#define PC_RANKING_H

#include "precopy.h"

typedef struct {
    uint32_t *rank_of;     /* by file id */
    int64_t *size_bytes;   /* by rank; only of pc_ranking_init() */
    const uint32_t *id_at; /* by rank; only of pc_ranking_by_size() */
    uint32_t *sorted;      /* what id_at points to, where the files bring none */
} pc_ranking_t;

/*
 * Rank files by the plan's order as it stands before the first write: read-only first if the plan
 * says so, then by key, then by id.
 */
int
pc_ranking_init(pc_ranking_t *self, const pc_files_t *files, const pc_plan_t *plan);

/* Rank files by size, then by id. */
int
pc_ranking_by_size(pc_ranking_t *self, const pc_files_t *files);

void
pc_ranking_free(pc_ranking_t *self);

#endif
