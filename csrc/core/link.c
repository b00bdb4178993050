/*
 * link.c -- the link's budget, and sending a queue of files word by word.
 */
#include "link.h"
#include "memory.h"

#include <stdlib.h>

int
pc_link_init(pc_link_t *self, const pc_plan_t *plan, int64_t files, int64_t smallest_bytes)
{
    memset(self, 0, sizeof *self);
    self->rule = plan->budget_rule;
    self->budget_bytes = plan->budget_bytes;
    self->smallest_bytes = smallest_bytes;
    self->sent = pc_allocate_zeroed(pc_words_for(files), sizeof *self->sent);
    return self->sent ? 0 : PC_ERROR_MEMORY;
}

/* Only a file that did not fit saves what is left; an idle link saves nothing. */
void
pc_link_begin_cycle(pc_link_t *self)
{
    bool carry = self->rule == PC_BUDGET_CARRY && self->blocked;
    self->left_bytes = self->budget_bytes + (carry ? self->left_bytes : 0);
    self->blocked = false;
}

void
pc_link_free(pc_link_t *self)
{
    free(self->sent);
    self->sent = NULL;
}

static int64_t
sum_of(uint64_t members, const int64_t *size_bytes)
{
    int64_t sum = 0;
    for (; members; members &= members - 1)
        sum += size_bytes[pc_lowest_bit(members)];
    return sum;
}

/* Which of one word's files go now, one by one; sets `blocked` where the cycle's sends end. */
static uint64_t
take_from_word(pc_link_t *self, uint64_t waiting, const int64_t *size_bytes)
{
    uint64_t rest = waiting, passed = 0;
    for (; rest; rest &= rest - 1) {
        int64_t size = size_bytes[pc_lowest_bit(rest)];
        if (size <= self->left_bytes) {
            self->left_bytes -= size;
        } else if (pc_link_passes_over(self)) {
            passed |= rest & -rest;
        } else {
            self->blocked = true;
            break;
        }
    }
    return waiting & ~rest & ~passed;
}

int64_t
pc_link_send_queue(pc_link_t *self, pc_queue_t *queue, const uint64_t *dirty,
                   const int64_t *size_bytes)
{
    pc_bitset_t *waiting = &queue->waiting;
    int64_t cleaned = 0;
    for (int64_t w = pc_bitset_first_word(waiting); w >= 0 && !self->blocked;
         w = pc_bitset_next_word(waiting, w)) {
        const int64_t *size = size_bytes + 64 * w;
        int64_t bytes = queue->word_bytes[w];
        uint64_t taken = waiting->word[w];
        if (bytes <= self->left_bytes) {
            self->left_bytes -= bytes;
        } else {
            int64_t before = self->left_bytes;
            taken = take_from_word(self, taken, size);
            bytes = before - self->left_bytes;
        }
        uint64_t first_time = taken & ~self->sent[w];
        self->sent[w] |= taken;
        self->sent_bytes += bytes;
        self->resent_bytes += bytes - sum_of(first_time, size);
        cleaned += bytes - (dirty ? sum_of(taken & dirty[w], size) : 0);
        queue->word_bytes[w] -= bytes;
        waiting->word[w] &= ~taken;
        if (!waiting->word[w])
            pc_bitset_lower(waiting, w);
        self->examined += 64;
    }
    return cleaned;
}
