/*
 * writes.h -- the stream of writes that the application makes, as file ids and as places in a pending set.
 */
#ifndef PC_WRITES_H
#define PC_WRITES_H

#include "precopy.h"

/* Writes are made and marked in blocks that stay in the first-level cache. */
#define PC_WRITES_BLOCK 512

typedef struct {
    const pc_alias_t *alias;
    int64_t slots;
    const pc_phase_t *phase; /* the next ones */
    int64_t phases_left;
    int64_t drawn; /* writes so far */
    bitgen_t *bitgen;
    const int64_t *trace; /* what is left of the trace */
    uint64_t raw[PC_WRITES_BLOCK];
} pc_writes_t;

int
pc_writes_init(pc_writes_t *self, const pc_source_t *source, const pc_files_t *files);

/* The next `count` writes. */
void
pc_writes_next(pc_writes_t *self, int64_t count, uint32_t *file);

/* The places of count <= PC_WRITES_BLOCK files, in `place`; without `place_of`, the ids themselves. */
const uint32_t *
pc_writes_places(const uint32_t *file, int64_t count, const uint32_t *place_of, uint32_t *place);

#endif
