/*
 * sort.c -- a radix sort of ids by 64-bit keys, in entries of 32 bits of the key and the id.
 *
 * Invariant: ids enter in their own order and every pass is stable, so equal keys stay in id order and
 * no comparison ever looks at an id.  Bits that are the same in all keys cost nothing, and few bits,
 * such as those of small counts or of a few sizes, are sorted by in one pass.
 */
#include "sort.h"
#include "bitset.h"
#include "memory.h"

#include <stdlib.h>

/* Bits of one digit of several, and of one that is alone, where there are as many ids as values. */
#define DIGIT_BITS 11
#define SINGLE_BITS 16
#define DIGITS 3

typedef uint64_t entry_t;

struct pc_sort {
    entry_t *memory, *from, *to;
    int digits, digit_bits;
    uint32_t start[1 << SINGLE_BITS]; /* by digit and value: where the next entry goes */
};

_Static_assert(DIGITS *DIGIT_BITS >= 32 && DIGITS << DIGIT_BITS <= 1 << SINGLE_BITS,
               "the digits hold all bits, and there is room to count them");

pc_sort_t *
pc_sort_new(int64_t most)
{
    pc_sort_t *self = malloc(sizeof *self);
    if (!self)
        return NULL;
    self->memory = pc_allocate(2 * most, sizeof *self->memory);
    if (self->memory)
        return self;
    free(self);
    return NULL;
}

void
pc_sort_free(pc_sort_t *self)
{
    if (self)
        free(self->memory);
    free(self);
}

static inline uint32_t *
start_of(pc_sort_t *self, entry_t entry, int digit)
{
    uint32_t value = (uint32_t)(entry >> (32 + digit * self->digit_bits));
    uint32_t mask = (1U << self->digit_bits) - 1;
    return &self->start[(uint32_t)digit << self->digit_bits | (value & mask)];
}

/* Make entries of the keys' bits from `shift` on, and count all digits' values in the same pass. */
static void
make_entries(pc_sort_t *self, const uint64_t *key, int shift, const uint32_t *id_at, int64_t count)
{
    size_t values = (size_t)1 << self->digit_bits;
    memset(self->start, 0, (size_t)self->digits * values * sizeof *self->start);
    for (int64_t i = 0; i < count; i++) {
        entry_t entry = key[id_at[i]] >> shift << 32 | id_at[i];
        self->from[i] = entry;
        for (int digit = 0; digit < self->digits; digit++)
            ++*start_of(self, entry, digit);
    }
    for (int digit = 0; digit < self->digits; digit++) {
        uint32_t *start = self->start + (size_t)digit * values, before = 0;
        for (size_t value = 0; value < values; value++) {
            uint32_t here = start[value];
            start[value] = before;
            before += here;
        }
    }
}

/* Sort by 32 bits of the keys, of which only the lowest `bits` differ. */
static void
sort_by_bits(pc_sort_t *self, const uint64_t *key, int shift, int bits, uint32_t *id_at,
             int64_t count, uint32_t *rank_of, int64_t first)
{
    bool single = bits <= SINGLE_BITS && count >> bits > 0;
    self->digits = single ? 1 : (bits + DIGIT_BITS - 1) / DIGIT_BITS;
    self->digit_bits = (bits + self->digits - 1) / self->digits;
    self->from = self->memory;
    self->to = self->memory + count;
    make_entries(self, key, shift, id_at, count);
    for (int digit = 0; digit < self->digits - 1; digit++) {
        entry_t *from = self->from;
        for (int64_t i = 0; i < count; i++)
            self->to[(*start_of(self, from[i], digit))++] = from[i];
        self->from = self->to;
        self->to = from;
    }
    for (int64_t i = 0; i < count; i++) {
        uint32_t id = (uint32_t)self->from[i];
        uint32_t rank = (*start_of(self, self->from[i], self->digits - 1))++;
        if (rank_of)
            rank_of[id] = (uint32_t)first + rank;
        else
            id_at[rank] = id;
    }
}

void
pc_sort_ids(pc_sort_t *self, const uint64_t *key, uint32_t *id_at, int64_t count, uint32_t *rank_of,
            int64_t first)
{
    bool sorted = true;
    uint64_t differing = 0;
    for (int64_t i = 1; i < count; i++) {
        uint64_t before = key[id_at[i - 1]], here = key[id_at[i]];
        sorted &= before <= here;
        differing |= before ^ here;
    }
    for (int64_t i = 0; sorted && rank_of && i < count; i++)
        rank_of[id_at[i]] = (uint32_t)(first + i);
    for (int shift = sorted ? 64 : pc_lowest_bit(differing); shift < 64; shift += 32) {
        uint32_t bits = (uint32_t)(differing >> shift);
        bool last = shift + 32 >= 64 || differing >> (shift + 32) == 0;
        if (bits)
            sort_by_bits(self, key, shift, 32 - __builtin_clz(bits), id_at, count,
                         last ? rank_of : NULL, first);
    }
}
