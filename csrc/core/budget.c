/*
 * budget.c -- what a cycle may send: taken from a list of costs, or from a queue word by word.
 */
#include "budget.h"
#include "memory.h"

#include <stdlib.h>

int
pc_budget_init(pc_budget_t *self, const pc_plan_t *plan, int64_t files, int64_t smallest_bytes)
{
    memset(self, 0, sizeof *self);
    self->rule = plan->budget;
    self->budget_bytes = plan->budget_bytes;
    self->smallest_bytes = smallest_bytes;
    self->sent = pc_allocate_zeroed(pc_words_for(files), sizeof *self->sent);
    return self->sent ? 0 : PC_ERROR_MEMORY;
}

void
pc_budget_begin_cycle(pc_budget_t *self)
{
    self->left_bytes = self->budget_bytes + pc_budget_carried(self);
    self->blocked = false;
}

void
pc_budget_free(pc_budget_t *self)
{
    free(self->sent);
    self->sent = NULL;
}

/* Which of one word's files go now, one by one. */
static uint64_t
take_from_word(pc_budget_t *self, uint64_t waiting, const int64_t *size_bytes)
{
    uint64_t taken = 0;
    for (uint64_t rest = waiting; rest && !self->blocked; rest &= rest - 1) {
        if (pc_budget_offer(self, size_bytes[pc_lowest_bit(rest)]) == PC_OFFER_TAKEN)
            taken |= rest & -rest;
    }
    return taken;
}

uint64_t
pc_budget_send_word(pc_budget_t *self, int64_t w, uint64_t members, int64_t *bytes,
                    const int64_t *cost_bytes)
{
    if (*bytes <= self->left_bytes) {
        self->left_bytes -= *bytes;
    } else {
        int64_t before = self->left_bytes;
        members = take_from_word(self, members, cost_bytes);
        *bytes = before - self->left_bytes;
    }
    uint64_t first_time = members & ~self->sent[w];
    self->sent[w] |= members;
    self->sent_bytes += *bytes;
    self->resent_bytes += *bytes - pc_sum_of(first_time, cost_bytes);
    self->examined += 64;
    return members;
}

int64_t
pc_budget_send_queue(pc_budget_t *self, pc_queue_t *queue, const uint64_t *dirty,
                     const int64_t *size_bytes)
{
    pc_bitset_t *waiting = &queue->waiting;
    int64_t cleaned = 0;
    for (int64_t w = pc_bitset_first_word(waiting); w >= 0 && !self->blocked;
         w = pc_bitset_next_word(waiting, w)) {
        const int64_t *size = size_bytes + 64 * w;
        int64_t bytes = queue->word_bytes[w];
        uint64_t taken = pc_budget_send_word(self, w, waiting->word[w], &bytes, size);
        cleaned += bytes - (dirty ? pc_sum_of(taken & dirty[w], size) : 0);
        queue->word_bytes[w] -= bytes;
        waiting->word[w] &= ~taken;
        if (!waiting->word[w])
            pc_bitset_lower(waiting, w);
    }
    return cleaned;
}

int
pc_take(const int64_t *cost_bytes, int64_t count, pc_budget_rule_t rule, uint8_t *taken,
        int64_t *left_bytes, int64_t *carried_bytes)
{
    pc_budget_t budget = {.rule = rule, .left_bytes = *left_bytes};
    if (count < 0 || *left_bytes < 0 || (unsigned)rule > PC_BUDGET_SKIP)
        return PC_ERROR_ARGUMENT;
    for (int64_t i = 0; i < count; i++) {
        if (cost_bytes[i] < 0)
            return PC_ERROR_ARGUMENT;
        taken[i] = !budget.blocked && pc_budget_offer(&budget, cost_bytes[i]) == PC_OFFER_TAKEN;
    }
    *left_bytes = budget.left_bytes;
    *carried_bytes = pc_budget_carried(&budget);
    return 0;
}
