/* rows.c - arrays of rows that are found again by a hash. */
#include "rows.h"

#include <stdlib.h>
#include <string.h>

/* Make `*memory` hold `needed` items of `size` bytes. */
bool
pcb_reserve(void *memory, size_t *capacity, size_t needed, size_t size)
{
    void *old, *grown;
    size_t more = *capacity == 0 ? 64 : *capacity;

    if (needed <= *capacity)
        return true;
    while (more < needed)
        more *= 2;
    memcpy(&old, memory, sizeof(old));
    grown = realloc(old, more * size);
    if (grown == NULL)
        return false;
    memcpy(memory, &grown, sizeof(grown));
    *capacity = more;
    return true;
}

uint64_t
pcb_hash(uint64_t hash, const void *data, size_t size)
{
    const unsigned char *byte = data;
    uint64_t word;

    for (; size >= sizeof(word); size -= sizeof(word), byte += sizeof(word)) {
        memcpy(&word, byte, sizeof(word));
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    word = size;
    memcpy(&word, byte, size);
    hash = (hash ^ word ^ size << 56) * 0xff51afd7ed558ccdu;
    return hash ^ hash >> 29;
}

static bool
grow_slots(pcb_rows_t *rows)
{
    size_t slot_count = rows->slot_count == 0 ? 128 : rows->slot_count * 2;
    uint32_t *slots = calloc(slot_count, sizeof(*slots));

    if (slots == NULL)
        return false;
    for (size_t i = 0; i < rows->count; i++) {
        size_t at = rows->hashes[i] & (slot_count - 1);
        while (slots[at] != 0)
            at = (at + 1) & (slot_count - 1);
        slots[at] = (uint32_t)(i + 1);
    }
    free(rows->slots);
    rows->slots = slots;
    rows->slot_count = slot_count;
    return true;
}

/* Append a zeroed row; NULL: no memory. */
void *
pcb_rows_append(pcb_rows_t *rows, uint64_t hash)
{
    size_t capacity = rows->capacity;
    void *row;

    if (rows->count >= UINT32_MAX - 1 ||
        !pcb_reserve(&rows->hashes, &capacity, rows->count + 1, 8) ||
        !pcb_reserve(&rows->row, &rows->capacity, rows->count + 1, rows->row_size))
        return NULL;
    if (rows->count * 2 >= rows->slot_count && !grow_slots(rows))
        return NULL;
    size_t at = hash & (rows->slot_count - 1);
    while (rows->slots[at] != 0)
        at = (at + 1) & (rows->slot_count - 1);
    rows->hashes[rows->count] = hash;
    rows->slots[at] = (uint32_t)++rows->count;
    row = rows->row + (rows->count - 1) * rows->row_size;
    memset(row, 0, rows->row_size);
    return row;
}

/* Iterate over the rows with this hash: start with `*at` = hash. */
void *
pcb_rows_next(const pcb_rows_t *rows, uint64_t hash, uint64_t *at)
{
    uint32_t number;

    if (rows->slot_count == 0)
        return NULL;
    while ((number = rows->slots[*at & (rows->slot_count - 1)]) != 0) {
        ++*at;
        if (rows->hashes[number - 1] == hash)
            return rows->row + (number - 1) * rows->row_size;
    }
    return NULL;
}

uint64_t
pcb_rows_index(const pcb_rows_t *rows, const void *row)
{
    return (uint64_t)((const char *)row - rows->row) / rows->row_size;
}
