/*
 * sort.h -- ids by 64-bit keys, stable.
 */
#ifndef PC_SORT_H
#define PC_SORT_H

#include <stdint.h>

typedef struct pc_sort pc_sort_t;

/* Memory to sort up to `most` ids; NULL if there is none. */
pc_sort_t *
pc_sort_new(int64_t most);

/*
 * Sort ids, which come in their own order, by key[id].  Without `rank_of` they stay in id_at; with it,
 * rank_of[id] becomes `first` and up, and id_at scratch.
 */
void
pc_sort_ids(pc_sort_t *self, const uint64_t *key, uint32_t *id_at, int64_t count, uint32_t *rank_of,
            int64_t first);

void
pc_sort_free(pc_sort_t *self);

#endif
