/*
 * ranking.h -- files in rank order, by keys as they stand.
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

/* Whether the order exists and has the key that it needs. */
bool
pc_policy_sound(const pc_policy_t *policy);

/* Rank all files as pc_rank() does. */
int
pc_ranking_init(pc_ranking_t *self, const pc_files_t *files, const pc_policy_t *policy,
                const pc_updates_t *updates);

/* Rank files by size, then by id. */
int
pc_ranking_by_size(pc_ranking_t *self, const pc_files_t *files);

void
pc_ranking_free(pc_ranking_t *self);

#endif
