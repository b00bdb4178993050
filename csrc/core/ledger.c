/*
 * ledger.c -- limits on what is sent again, and deltas: see ledger.h.
 */
#include "ledger.h"
#include "memory.h"

#include <stdlib.h>
#include <string.h>

int
pc_ledger_init(pc_ledger_t *self, const pc_plan_t *plan, int64_t files, const int64_t *size_bytes,
               int64_t total_bytes, bool by_word)
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
        self->back = pc_allocate_zeroed(plan->cycles + 2, sizeof *self->back);
        self->next = pc_allocate(files, sizeof *self->next);
        if (!self->writes || !self->back || !self->next)
            return PC_ERROR_MEMORY;
    }
    if (plan->max_update_rate > 0.0 && by_word) {
        self->heated = pc_allocate(files + 1, sizeof *self->heated);
        self->suspect = pc_allocate_zeroed(pc_words_for(files), sizeof *self->suspect);
        if (!self->heated || !self->suspect)
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
    free(self->heated);
    free(self->suspect);
    free(self->back);
    free(self->next);
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
    int64_t *writes = self->writes, too_many = self->most_next + 1;
    uint32_t *heated = self->heated;
    int64_t heated_count = self->heated_count;
    for (int64_t i = 0; !heated && writes && i < count; i++)
        writes[place[i]]++;
    for (int64_t i = 0; heated && i < count; i++) {
        uint32_t p = place[i];
        heated[heated_count] = p;
        heated_count += ++writes[p] == too_many;
    }
    self->heated_count = heated_count;
    if (self->cost_bytes)
        write_costs(self, place, count);
}

void
pc_ledger_begin_cycle(pc_ledger_t *self)
{
    double most_next = self->plan->max_update_rate * (double)++self->cycle;
    self->most = self->most_next;
    self->most_next = most_next < 0x1p62 ? (int64_t)most_next : (int64_t)1 << 62;
    for (; self->heated_count > 0; self->heated_count--) {
        uint32_t place = self->heated[self->heated_count - 1];
        self->suspect[place >> 6] |= pc_bit(place);
    }
}

static inline bool
is_hot(const pc_ledger_t *self, uint32_t place)
{
    return self->writes[place] > self->most;
}

/*
 * Let a hot file wait for the first cycle in which it may be cool, or for one behind the last.  In
 * cycle c it may have max_update_rate * (c - 1) writes, so it is hot in all up to the quotient,
 * however that is rounded.
 */
static void
wait_to_cool(pc_ledger_t *self, uint32_t place)
{
    int64_t cycles = self->plan->cycles;
    double hot = (double)self->writes[place] / self->plan->max_update_rate;
    int64_t cycle = (hot < (double)cycles ? (int64_t)hot : cycles) + 1;
    cycle = cycle > self->cycle ? cycle : self->cycle + 1;
    self->next[place] = self->back[cycle];
    self->back[cycle] = place + 1;
}

bool
pc_ledger_holds_out(pc_ledger_t *self, uint32_t place)
{
    if (!self->writes || !is_hot(self, place))
        return false;
    self->out[place >> 6] |= pc_bit(place);
    wait_to_cool(self, place);
    return true;
}

uint64_t
pc_ledger_hold_out_of_word(pc_ledger_t *self, int64_t w, uint64_t members)
{
    uint64_t held = 0;
    for (uint64_t rest = self->suspect ? members & self->suspect[w] : 0; rest; rest &= rest - 1) {
        if (pc_ledger_holds_out(self, (uint32_t)(64 * w + pc_lowest_bit(rest))))
            held |= rest & -rest;
        else
            self->suspect[w] &= ~(rest & -rest);
    }
    return held;
}

bool
pc_ledger_comes_back(pc_ledger_t *self, uint32_t *place)
{
    uint32_t *first = self->back ? &self->back[self->cycle] : NULL;
    while (first && *first) {
        *place = *first - 1;
        *first = self->next[*place];
        if (!is_hot(self, *place)) {
            self->out[*place >> 6] &= ~pc_bit(*place);
            return true;
        }
        wait_to_cool(self, *place);
    }
    return false;
}
