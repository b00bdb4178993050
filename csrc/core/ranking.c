/*
 * ranking.c -- files in rank order: a radix sort on 64-bit keys, and the orders of sizes read off one
 * sort by size that may serve many runs.
 *
 * Invariant: entries enter the sort in id order and every pass is stable, so equal keys stay in id
 * order and no comparison ever looks at an id.  Digits that are the same in all keys cost nothing.
 */
#include "memory.h"
#include "rank_key.h"
#include "ranking.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DIGIT_BITS 11
#define DIGIT_VALUES (1 << DIGIT_BITS)
#define DIGITS ((64 + DIGIT_BITS - 1) / DIGIT_BITS)

typedef struct {
    uint64_t key;
    uint32_t id;
} entry_t;

typedef struct {
    entry_t *from, *to;
    int64_t count;
    int64_t start[DIGIT_VALUES];
} sort_t;

static inline unsigned
digit_of(uint64_t key, int digit)
{
    return (unsigned)(key >> (digit * DIGIT_BITS)) & (DIGIT_VALUES - 1);
}

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

static void
sort_pass(sort_t *sort, int digit)
{
    int64_t *start = sort->start, before = 0;
    memset(start, 0, sizeof sort->start);
    for (int64_t i = 0; i < sort->count; i++)
        start[digit_of(sort->from[i].key, digit)]++;
    for (int v = 0; v < DIGIT_VALUES; v++) {
        int64_t count = start[v];
        start[v] = before;
        before += count;
    }
    for (int64_t i = 0; i < sort->count; i++)
        sort->to[start[digit_of(sort->from[i].key, digit)]++] = sort->from[i];
    entry_t *swap = sort->from;
    sort->from = sort->to;
    sort->to = swap;
}

/* Sort `count` entries; the result is where sort->from points afterwards. */
static void
sort_entries(sort_t *sort, entry_t *entries, entry_t *scratch, int64_t count)
{
    bool sorted = true;
    uint64_t differing = 0;
    sort->from = entries;
    sort->to = scratch;
    sort->count = count;
    for (int64_t i = 1; i < count; i++) {
        sorted &= entries[i - 1].key <= entries[i].key;
        differing |= entries[i - 1].key ^ entries[i].key;
    }
    for (int digit = 0; digit < DIGITS && !sorted; digit++) {
        if (digit_of(differing, digit) != 0)
            sort_pass(sort, digit);
    }
}

/* Entries for `count` files and as much scratch, and the sort's own state. */
static bool
sort_init(sort_t **sort, entry_t **entries, int64_t count)
{
    *sort = malloc(sizeof **sort);
    *entries = pc_allocate(2 * count, sizeof **entries);
    return *sort && *entries;
}

int
pc_rank_by_size(const int64_t *size_bytes, int64_t count, uint32_t *id_at)
{
    sort_t *sort;
    entry_t *entries;
    int status = PC_ERROR_MEMORY;
    if (!sort_init(&sort, &entries, count))
        goto out;
    for (int64_t id = 0; id < count; id++)
        entries[id] = (entry_t){(uint64_t)size_bytes[id], (uint32_t)id};
    sort_entries(sort, entries, entries + count, count);
    for (int64_t i = 0; i < count; i++)
        id_at[i] = sort->from[i].id;
    status = 0;
out:
    free(entries);
    free(sort);
    return status;
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

int64_t
pc_rank_checked(const pc_files_t *files, const pc_policy_t *policy, const pc_updates_t *updates,
                const uint8_t *pending, uint32_t *id_at)
{
    int64_t n = files->count, ranked = 0;
    sort_t *sort;
    entry_t *entries;
    int64_t status = PC_ERROR_MEMORY;
    if (!sort_init(&sort, &entries, n))
        goto out;
    for (int part = policy->read_only_first; part >= 0; part--) {
        int64_t count = 0;
        for (int64_t id = 0; id < n; id++) {
            if ((!pending || pending[id]) && in_part(files, policy, id, part))
                entries[count++] = (entry_t){key_of(files, policy, updates, id), (uint32_t)id};
        }
        sort_entries(sort, entries, entries + n, count);
        for (int64_t i = 0; i < count; i++)
            id_at[ranked++] = sort->from[i].id;
    }
    status = ranked;
out:
    free(entries);
    free(sort);
    return status;
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
    int64_t ranked = pc_rank_checked(files, policy, updates, pending, id_at);
    for (int64_t i = 0; i < ranked; i++)
        id[i] = id_at[i];
    free(id_at);
    return ranked;
}

/* The files in the order of a key that is no key of the size alone. */
static int
rank_by_key(pc_ranking_t *self, const pc_files_t *files, const pc_policy_t *policy,
            const pc_updates_t *updates)
{
    int64_t ranked = 0;
    self->sorted = pc_allocate(files->count, sizeof *self->sorted);
    if (!self->sorted)
        return PC_ERROR_MEMORY;
    int64_t status = pc_rank_checked(files, policy, updates, NULL, self->sorted);
    for (int64_t i = 0; i < status; i++)
        append(self, files, self->sorted[i], &ranked);
    free(self->sorted);
    self->sorted = NULL;
    return status < 0 ? (int)status : 0;
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
