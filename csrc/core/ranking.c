/*
 * ranking.c -- files in rank order by their keys, and the orders of sizes read off one sort by size
 * that may serve many runs.
 */
#include "memory.h"
#include "rank_key.h"
#include "ranking.h"
#include "sort.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The key of one file.  Rules order.*. */
static uint64_t
key_of(const pc_files_t *files, const pc_policy_t *policy, const pc_updates_t *updates, int64_t id)
{
    pc_terms_t terms = {
        .size_bytes = (uint64_t)files->size_bytes[id],
        .scored = updates->score != NULL,
        .count = updates->count ? (uint64_t)updates->count[id] : 0,
        .score = updates->score ? updates->score[id] : 0.0,
        .own_key = policy->key ? policy->key[id] : 0.0,
    };
    return pc_orders[policy->order].key(&terms);
}

/* Whether a file belongs to part 1, the read-only files that go first, or to part 0, the rest. */
static inline bool
in_part(const pc_files_t *files, const pc_policy_t *policy, int64_t id, int part)
{
    return !policy->read_only_first || (files->read_only[id] != 0) == part;
}

static inline void
append(pc_ranking_t *self, const pc_files_t *files, uint32_t id, int64_t *ranked)
{
    self->rank_of[id] = (uint32_t)*ranked;
    self->size_bytes[(*ranked)++] = files->size_bytes[id];
}

int
pc_rank_by_size(const int64_t *size_bytes, int64_t count, uint32_t *id_at)
{
    pc_sort_t *sort = pc_sort_new(count);
    if (!sort)
        return PC_ERROR_MEMORY;
    for (int64_t id = 0; id < count; id++)
        id_at[id] = (uint32_t)id;
    pc_sort_ids(sort, (const uint64_t *)size_bytes, id_at, count, NULL, 0);
    pc_sort_free(sort);
    return 0;
}

static void
append_sizes_ascending(pc_ranking_t *self, const pc_files_t *files, const pc_policy_t *policy,
                       int part, int64_t *ranked)
{
    for (int64_t i = 0; i < files->count; i++) {
        if (in_part(files, policy, self->id_at[i], part))
            append(self, files, self->id_at[i], ranked);
    }
}

/* From the largest size class to the smallest, each in id order. */
static void
append_sizes_descending(pc_ranking_t *self, const pc_files_t *files, const pc_policy_t *policy,
                        int part, int64_t *ranked)
{
    const int64_t *size = files->size_bytes;
    for (int64_t end = files->count, first; end > 0; end = first) {
        first = end - 1;
        while (first > 0 && size[self->id_at[first - 1]] == size[self->id_at[end - 1]])
            first--;
        for (int64_t i = first; i < end; i++) {
            if (in_part(files, policy, self->id_at[i], part))
                append(self, files, self->id_at[i], ranked);
        }
    }
}

/* The keys by id: the counts themselves where they stand for keys, or keys made in `made`. */
static const uint64_t *
find_keys(const pc_files_t *files, const pc_policy_t *policy, const pc_updates_t *updates,
          uint64_t **made)
{
    const pc_order_t *order = &pc_orders[policy->order];
    const pc_terms_t none = {.count = 0}, one = {.count = 1};
    *made = NULL;
    if (order->uses == PC_USES_UPDATES && updates->count && !updates->score &&
        order->key(&none) < order->key(&one))
        return (const uint64_t *)updates->count;
    *made = pc_allocate(files->count, sizeof **made);
    for (int64_t id = 0; *made && id < files->count; id++)
        (*made)[id] = key_of(files, policy, updates, id);
    return *made;
}

/* Rank without checks, as ids or as ranks: see pc_sort_ids(). */
static int64_t
rank_checked(const pc_files_t *files, const pc_policy_t *policy, const pc_updates_t *updates,
             const uint8_t *pending, uint32_t *id_at, uint32_t *rank_of)
{
    int64_t n = files->count, ranked = 0;
    uint64_t *made;
    const uint64_t *key = find_keys(files, policy, updates, &made);
    pc_sort_t *sort = key ? pc_sort_new(n) : NULL;
    for (int part = policy->read_only_first; sort && part >= 0; part--) {
        int64_t count = 0;
        for (int64_t id = 0; id < n; id++) {
            if ((!pending || pending[id]) && in_part(files, policy, id, part))
                id_at[ranked + count++] = (uint32_t)id;
        }
        pc_sort_ids(sort, key, id_at + ranked, count, rank_of, ranked);
        ranked += count;
    }
    free(made);
    pc_sort_free(sort);
    return sort ? ranked : PC_ERROR_MEMORY;
}

bool
pc_policy_sound(const pc_policy_t *policy)
{
    return policy->order >= 0 && policy->order < pc_order_count &&
           (policy->key || !(pc_orders[policy->order].uses & PC_USES_OWN_KEY));
}

/* Whether sizes, updates, their products and keys are numbers that keys can be made of. */
static bool
terms_sound(const pc_files_t *files, const pc_policy_t *policy, const pc_updates_t *updates)
{
    unsigned both = PC_USES_SIZE | PC_USES_UPDATES;
    bool products = (pc_orders[policy->order].uses & both) == both;
    for (int64_t i = 0; i < files->count; i++) {
        int64_t size = files->size_bytes[i], count = updates->count ? updates->count[i] : 0;
        if (size < 0 || count < 0 || (products && count > 0 && size > INT64_MAX / count))
            return false;
        if (updates->score && !(updates->score[i] >= 0.0 && updates->score[i] < HUGE_VAL))
            return false;
        if (policy->key && isnan(policy->key[i]))
            return false;
    }
    return true;
}

int64_t
pc_rank(const pc_files_t *files, const pc_policy_t *policy, const pc_updates_t *updates,
        const uint8_t *pending, int64_t *id)
{
    if (files->count < 0 || files->count > PC_FILES_MAX || !pc_policy_sound(policy) ||
        !terms_sound(files, policy, updates))
        return PC_ERROR_ARGUMENT;
    uint32_t *id_at = pc_allocate(files->count, sizeof *id_at);
    if (!id_at)
        return PC_ERROR_MEMORY;
    int64_t ranked = rank_checked(files, policy, updates, pending, id_at, NULL);
    for (int64_t i = 0; i < ranked; i++)
        id[i] = id_at[i];
    free(id_at);
    return ranked;
}

/* The files in the order of a key that is no key of the size alone.  The memory of the sizes, which
 * come last, serves the sort. */
static int
rank_by_key(pc_ranking_t *self, const pc_files_t *files, const pc_policy_t *policy,
            const pc_updates_t *updates)
{
    uint32_t *scratch = (uint32_t *)self->size_bytes;
    int64_t ranked = rank_checked(files, policy, updates, NULL, scratch, self->rank_of);
    for (int64_t id = 0; id < ranked; id++)
        self->size_bytes[self->rank_of[id]] = files->size_bytes[id];
    return ranked < 0 ? (int)ranked : 0;
}

/* Whether the smallest files go first; a key of the size alone rises or falls with it. */
static bool
is_ascending(const pc_order_t *order)
{
    return order->key(&(pc_terms_t){.size_bytes = 0}) <= order->key(&(pc_terms_t){.size_bytes = 1});
}

/* Find id_at; ids that come from outside are checked, they will be used as indices. */
static int
find_sizes(pc_ranking_t *self, const pc_files_t *files)
{
    self->id_at = files->by_size;
    if (!self->id_at) {
        self->sorted = pc_allocate(files->count, sizeof *self->sorted);
        self->id_at = self->sorted;
        return self->sorted ? pc_rank_by_size(files->size_bytes, files->count, self->sorted)
                            : PC_ERROR_MEMORY;
    }
    for (int64_t i = 0; i < files->count; i++) {
        if (self->id_at[i] >= files->count)
            return PC_ERROR_ARGUMENT;
    }
    return 0;
}

int
pc_ranking_init(pc_ranking_t *self, const pc_files_t *files, const pc_policy_t *policy,
                const pc_updates_t *updates)
{
    const pc_order_t *order = &pc_orders[policy->order];
    int64_t ranked = 0;
    memset(self, 0, sizeof *self);
    self->rank_of = pc_allocate_zeroed(files->count, sizeof *self->rank_of);
    self->size_bytes = pc_allocate(files->count, sizeof *self->size_bytes);
    if (!self->rank_of || !self->size_bytes)
        return PC_ERROR_MEMORY;
    if (order->uses != PC_USES_SIZE)
        return rank_by_key(self, files, policy, updates);
    int status = find_sizes(self, files);
    bool ascending = is_ascending(order);
    for (int part = policy->read_only_first; part >= 0 && status >= 0; part--) {
        if (ascending)
            append_sizes_ascending(self, files, policy, part, &ranked);
        else
            append_sizes_descending(self, files, policy, part, &ranked);
    }
    return status;
}

int
pc_ranking_by_size(pc_ranking_t *self, const pc_files_t *files)
{
    memset(self, 0, sizeof *self);
    self->rank_of = pc_allocate_zeroed(files->count, sizeof *self->rank_of);
    int status = self->rank_of ? find_sizes(self, files) : PC_ERROR_MEMORY;
    for (int64_t i = 0; i < files->count && status >= 0; i++)
        self->rank_of[self->id_at[i]] = (uint32_t)i;
    return status;
}

void
pc_ranking_free(pc_ranking_t *self)
{
    free(self->rank_of);
    free(self->size_bytes);
    free(self->sorted);
    memset(self, 0, sizeof *self);
}
