/* rows.h - arrays of rows that are found again by a hash.
 *
 * Invariant: an array has one hash table of row numbers, of a power of two slots and at most half
 * full; a slot holds row number + 1, and 0 if it is free. */
#ifndef PCB_ROWS_H
#define PCB_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *row;
    size_t row_size, count, capacity;
    uint64_t *hashes; /* per row */
    uint32_t *slots;
    size_t slot_count;
} pcb_rows_t;

bool
pcb_reserve(void *memory, size_t *capacity, size_t needed, size_t size);
uint64_t
pcb_hash(uint64_t hash, const void *data, size_t size);
void *
pcb_rows_append(pcb_rows_t *rows, uint64_t hash);
void *
pcb_rows_next(const pcb_rows_t *rows, uint64_t hash, uint64_t *at);
uint64_t
pcb_rows_index(const pcb_rows_t *rows, const void *row);

#endif
