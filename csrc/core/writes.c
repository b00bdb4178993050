/*
 * writes.c -- where writes come from: an alias table over a bit generator, or a trace.
 *
 * Invariant of an alias table of K slots: each slot stands for 1/K of all writes, and over all slots
 * each file gets exactly its share (up to rounding).  One 64-bit draw u decides everything: the high
 * half of u * K is the slot, the low half is the coin, so a write costs one random access.
 */
#include "writes.h"

#include <math.h>
#include <string.h>

/* Slots from which on the table does not stay in the cache. */
#define LARGE (1 << 16)

__extension__ typedef unsigned __int128 pc_uint128_t;

/* While a table is made, `accept` of a slot without another file holds its own file's share. */
static inline double
share_of(const pc_alias_t *slot)
{
    double share;
    memcpy(&share, &slot->accept, sizeof share);
    return share;
}

/* The first slot from s on whose share is (light) or is not (heavy) enough for it alone. */
static int64_t
next_slot(const pc_alias_t *table, int64_t slots, double mean, int64_t s, bool light)
{
    while (s < slots &&
           (table[s].file[0] != table[s].file[1] || (share_of(&table[s]) <= mean) != light))
        s++;
    return s;
}

static void
share_slot(pc_alias_t *slot, double part, double mean, uint32_t other)
{
    double scaled = part / mean * 0x1p64;
    slot->accept = scaled < 0x1p64 ? (uint64_t)scaled : UINT64_MAX;
    slot->file[1] = other;
}

/*
 * Fill light slots from heavy ones in one sweep with two cursors.  `rest` is what the current heavy
 * file still has to give; once it is down to a slot's worth, its own slot is topped up by the next
 * heavy file.  Rounding can only leave over slots that are full within rounding: they keep their
 * own file, twice.
 */
static void
balance(pc_alias_t *table, int64_t slots, double mean)
{
    int64_t light = next_slot(table, slots, mean, 0, true);
    int64_t heavy = next_slot(table, slots, mean, 0, false);
    double rest = heavy < slots ? share_of(&table[heavy]) : 0.0;
    while (heavy < slots) {
        if (rest > mean) {
            if (light == slots)
                return;
            double part = share_of(&table[light]);
            share_slot(&table[light], part, mean, table[heavy].file[0]);
            rest -= mean - part;
            light = next_slot(table, slots, mean, light + 1, true);
        } else {
            int64_t next = next_slot(table, slots, mean, heavy + 1, false);
            if (next == slots)
                return;
            double part = share_of(&table[next]);
            share_slot(&table[heavy], rest, mean, table[next].file[0]);
            rest = part + rest - mean;
            heavy = next;
        }
    }
}

int64_t
pc_alias_build(const double *share, int64_t count, pc_alias_t *table)
{
    int64_t slots = 0;
    double total = 0.0;
    if (count > PC_FILES_MAX)
        return PC_ERROR_ARGUMENT;
    for (int64_t i = 0; i < count; i++) {
        if (!(share[i] >= 0.0))
            return PC_ERROR_SHARE;
        if (share[i] > 0.0) {
            total += share[i];
            memcpy(&table[slots].accept, &share[i], sizeof share[i]);
            table[slots].file[0] = table[slots].file[1] = (uint32_t)i;
            slots++;
        }
    }
    if (!isfinite(total))
        return PC_ERROR_SHARE;
    balance(table, slots, total / (double)(slots > 0 ? slots : 1));
    return slots;
}

static inline uint64_t
slot_of(uint64_t raw, int64_t slots)
{
    return (uint64_t)(((pc_uint128_t)raw * (uint64_t)slots) >> 64);
}

/* The coin indexes instead of branching: no processor predicts it. */
static inline uint32_t
resolve(const pc_alias_t *table, int64_t slots, uint64_t raw)
{
    const pc_alias_t *slot = &table[slot_of(raw, slots)];
    uint64_t coin = raw * (uint64_t)slots;
    return slot->file[coin >= slot->accept];
}

void
pc_alias_draw(const pc_alias_t *table, int64_t slots, bitgen_t *bitgen, int64_t count,
              int64_t *file_id)
{
    for (int64_t i = 0; i < count; i++)
        file_id[i] = resolve(table, slots, bitgen->next_uint64(bitgen->state));
}

int64_t
pc_trace_check(const int64_t *trace, int64_t count, const pc_files_t *files)
{
    for (int64_t i = 0; i < count; i++) {
        if (trace[i] < 0 || trace[i] >= files->count || files->read_only[trace[i]])
            return i;
    }
    return -1;
}

static inline bool
writable(const pc_files_t *files, uint32_t file)
{
    return file < files->count && !files->read_only[file];
}

/* Whether a table names only files that can be written. */
static bool
table_sound(const pc_alias_t *alias, int64_t slots, const pc_files_t *files)
{
    for (int64_t s = 0; s < slots; s++) {
        if (!writable(files, alias[s].file[0]) || !writable(files, alias[s].file[1]))
            return false;
    }
    return true;
}

/* Phases follow one another, and all of them write or none. */
static int
check_phases(const pc_source_t *source, const pc_files_t *files)
{
    for (int64_t i = 0; i < source->phase_count; i++) {
        const pc_phase_t *phase = &source->phase[i];
        int64_t before = i > 0 ? source->phase[i - 1].first_write : -1;
        if (!phase->share || phase->first_write <= before || (i == 0 && phase->first_write != 0))
            return PC_ERROR_ARGUMENT;
        if ((phase->alias_count > 0) != (source->alias_count > 0) ||
            !table_sound(phase->alias, phase->alias_count, files))
            return PC_ERROR_SHARE;
        for (int64_t id = 0; id < files->count; id++) {
            if (!(phase->share[id] >= 0.0 && phase->share[id] < HUGE_VAL))
                return PC_ERROR_SHARE;
        }
    }
    return 0;
}

int
pc_writes_init(pc_writes_t *self, const pc_source_t *source, const pc_files_t *files)
{
    memset(self, 0, sizeof *self);
    self->bitgen = source->bitgen;
    self->alias = source->alias;
    self->slots = source->alias_count;
    if (!table_sound(self->alias, self->slots, files))
        return PC_ERROR_SHARE;
    int status = check_phases(source, files);
    if (status < 0)
        return status;
    self->phase = source->phase_count > 1 ? source->phase + 1 : NULL;
    self->phases_left = source->phase_count > 1 ? source->phase_count - 1 : 0;
    if (pc_trace_check(source->trace, source->trace_count, files) >= 0)
        return PC_ERROR_TRACE;
    for (int64_t i = 0; source->trace_bytes && i < source->trace_count; i++) {
        if (source->trace_bytes[i] < 0)
            return PC_ERROR_ARGUMENT;
    }
    self->trace = source->trace;
    return 0;
}

/* A table beyond the cache is read in two passes: the slots of a block of draws are fetched at once. */
static void
next_drawn(pc_writes_t *self, int64_t count, uint32_t *file)
{
    const pc_alias_t *alias = self->alias;
    bitgen_t *bitgen = self->bitgen;
    int64_t slots = self->slots;
    if (slots < LARGE) {
        for (int64_t i = 0; i < count; i++)
            file[i] = resolve(alias, slots, bitgen->next_uint64(bitgen->state));
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        self->raw[i] = bitgen->next_uint64(bitgen->state);
        __builtin_prefetch(&alias[slot_of(self->raw[i], slots)]);
    }
    for (int64_t i = 0; i < count; i++)
        file[i] = resolve(alias, slots, self->raw[i]);
}

/* Draw from the table that is in force now; returns how many of `count` writes it is for sure. */
static int64_t
begin_phase(pc_writes_t *self, int64_t count)
{
    if (self->phases_left > 0 && self->phase->first_write == self->drawn) {
        self->alias = self->phase->alias;
        self->slots = self->phase->alias_count;
        self->phase++;
        self->phases_left--;
    }
    int64_t left = self->phases_left > 0 ? self->phase->first_write - self->drawn : count;
    return left < count ? left : count;
}

void
pc_writes_next(pc_writes_t *self, int64_t count, uint32_t *file)
{
    for (int64_t i = 0; self->slots == 0 && i < count; i++)
        file[i] = (uint32_t)*self->trace++;
    for (int64_t i = 0, part; self->slots > 0 && i < count; i += part) {
        part = count - i < PC_WRITES_BLOCK ? count - i : PC_WRITES_BLOCK;
        part = begin_phase(self, part);
        next_drawn(self, part, file + i);
        self->drawn += part;
    }
}

const uint32_t *
pc_writes_places(const uint32_t *file, int64_t count, const uint32_t *place_of, uint32_t *place)
{
    if (!place_of)
        return file;
    for (int64_t i = 0; i < count; i++)
        place[i] = place_of[file[i]];
    return place;
}
