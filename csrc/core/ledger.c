/*
 * ledger.c -- limits on what is sent again, and deltas: see ledger.h.
 */
#include "ledger.h"
#include "memory.h"

#include <stdlib.h>
#include <string.h>

int
pc_ledger_init(pc_ledger_t *self, const pc_plan_t *plan, int64_t files, const int64_t *size_bytes,
               int64_t total_bytes)
{
    self->plan = plan;
    self->size_bytes = size_bytes;
    self->bytes = total_bytes;
    self->out = pc_allocate_zeroed(pc_words_for(files), sizeof *self->out);
    if (!self->out)
        return PC_ERROR_MEMORY;
    if (plan->max_sends > 0) {
        self->sends = pc_allocate_zeroed(files, sizeof *self->sends);
        if (!self->sends)
            return PC_ERROR_MEMORY;
    }
    if (plan->max_update_rate > 0.0) {
        self->writes = pc_allocate_zeroed(files, sizeof *self->writes);
        self->back.entry = pc_allocate(files, sizeof *self->back.entry);
        if (!self->writes || !self->back.entry)
            return PC_ERROR_MEMORY;
    }
    if (plan->cost == PC_COST_DELTA) {
        self->cost_bytes = pc_allocate(files, sizeof *self->cost_bytes);
        if (!self->cost_bytes)
            return PC_ERROR_MEMORY;
        memcpy(self->cost_bytes, size_bytes, (size_t)files * sizeof *size_bytes);
    }
    return 0;
}

void
pc_ledger_free(pc_ledger_t *self)
{
    free(self->sends);
    free(self->writes);
    free(self->back.entry);
    free(self->out);
    free(self->cost_bytes);
}

static inline int64_t
least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* A clean file costs 0; a pending one costs 0 only where the overhead would add nothing. */
static void
write_costs(pc_ledger_t *self, const uint32_t *place, int64_t count)
{
    int64_t overhead = self->plan->overhead_bytes, written = self->plan->write_bytes;
    for (int64_t i = 0; i < count; i++) {
        int64_t cost = self->cost_bytes[place[i]], room = self->size_bytes[place[i]] - cost;
        int64_t more = least(cost == 0 ? overhead : 0, room);
        more += least(self->trace_bytes ? self->trace_bytes[i] : written, room - more);
        self->cost_bytes[place[i]] = cost + more;
        self->bytes += more;
    }
    if (self->trace_bytes)
        self->trace_bytes += count;
}

void
pc_ledger_write(pc_ledger_t *self, const uint32_t *place, int64_t count)
{
    int64_t *writes = self->writes;
    for (int64_t i = 0; writes && i < count; i++)
        writes[place[i]]++;
    if (self->cost_bytes)
        write_costs(self, place, count);
}

void
pc_ledger_begin_cycle(pc_ledger_t *self)
{
    self->most = self->plan->max_update_rate * (double)self->cycle;
    self->cycle++;
}

static inline bool
is_hot(const pc_ledger_t *self, uint32_t place)
{
    return (double)self->writes[place] > self->most;
}

bool
pc_ledger_keeps_out(pc_ledger_t *self, uint32_t place)
{
    if (self->sends && self->sends[place] >= self->plan->max_sends)
        self->out[place >> 6] |= pc_bit(place);
    return self->out[place >> 6] & pc_bit(place);
}

/*
 * Under which cycle a hot file waits.  In cycle c it may have max_update_rate * (c - 1) writes; one
 * less than the quotient is early enough, however it is rounded.
 */
static pc_entry_t
entry_of(const pc_ledger_t *self, uint32_t place)
{
    double cycles = (double)self->writes[place] / self->plan->max_update_rate;
    uint64_t next = (uint64_t)self->cycle + 1;
    uint64_t back = cycles < 0x1p62 ? (uint64_t)cycles : (uint64_t)1 << 62;
    return pc_entry(back > next ? back : next, place, 0);
}

bool
pc_ledger_holds_out(pc_ledger_t *self, uint32_t place)
{
    if (!self->writes || !is_hot(self, place))
        return false;
    self->out[place >> 6] |= pc_bit(place);
    pc_heap_push(&self->back, entry_of(self, place));
    return true;
}

bool
pc_ledger_comes_back(pc_ledger_t *self, uint32_t *place)
{
    pc_heap_t *back = &self->back;
    while (back->count > 0 && pc_entry_key(back->entry[0]) <= (uint64_t)self->cycle) {
        *place = pc_entry_id(back->entry[0]);
        if (!is_hot(self, *place)) {
            pc_heap_pop(back);
            self->out[*place >> 6] &= ~pc_bit(*place);
            return true;
        }
        pc_heap_sink(back, 0, entry_of(self, *place));
    }
    return false;
}
