/*
 * orders.c -- every order, in one table: its name, what its key is made of, and the key.
 *
 * A key is an unsigned integer; files go in ascending order of their keys, ties by id.  A static
 * order needs nothing but its row.  The simulator keeps dynamic orders sorted as files are written
 * (rows.h); it knows keys that are the updates, or the updates times the size.
 */
#include "rank_key.h"

static uint64_t
size_ascending(const pc_terms_t *terms)
{
    return terms->size_bytes;
}

static uint64_t
size_descending(const pc_terms_t *terms)
{
    return ~terms->size_bytes;
}

static uint64_t
update_frequency(const pc_terms_t *terms)
{
    return terms->scored ? pc_ordered_bits(terms->score) : terms->count;
}

static uint64_t
expected_update(const pc_terms_t *terms)
{
    return terms->scored ? pc_ordered_bits(terms->score * (double)terms->size_bytes)
                         : terms->count * terms->size_bytes;
}

static uint64_t
own_key(const pc_terms_t *terms)
{
    return pc_ordered_bits(terms->own_key);
}

const pc_order_t pc_orders[] = {
    {"size-ascending", PC_USES_SIZE, size_ascending},
    {"size-descending", PC_USES_SIZE, size_descending},
    {"update-frequency", PC_USES_UPDATES, update_frequency},
    {"expected-update", PC_USES_UPDATES | PC_USES_SIZE, expected_update},
    {"least-recently-updated", PC_USES_LAST_WRITE, update_frequency},
    {"key", PC_USES_OWN_KEY, own_key},
};

const int pc_order_count = sizeof pc_orders / sizeof pc_orders[0];
