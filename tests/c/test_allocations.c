/*
 * test_allocations.c -- every allocation of every kind of run fails once.
 *
 * The run then says so and leaves nothing behind; the leak detector looks when the program ends.
 */
#include "harness.h"

static void
fail_each_once(problem_t *p)
{
    for (int64_t k = 1;; k++) {
        random_init(&p->random, 1);
        allocations_fail_at(k);
        int status = problem_run(p);
        bool failed = allocations_fail_at(0) >= k;
        CHECK_EQUAL(status, failed ? PC_ERROR_MEMORY : PC_STOP_CYCLES);
        CHECK_EQUAL(p->record.cycles_run, failed ? 0 : p->plan.cycles);
        if (!failed) {
            CHECK(k > 4);
            return;
        }
    }
}

static void
with_every_source(problem_t *p)
{
    int64_t slots = p->source.alias_count;
    fail_each_once(p);
    p->source.alias_count = 0;
    fail_each_once(p);
    p->source.trace = p->trace;
    p->source.trace_count = p->plan.cycles * p->plan.writes_per_cycle;
    fail_each_once(p);
    p->source.trace_count = 0;
    p->source.alias_count = slots;
}

void
test_allocations(void)
{
    static problem_t problem;
    problem_t *p = &problem;
    problem_init(p);
    p->plan.cycles = 2; /* so that no kind of run ends early */
    p->plan.half_life_cycles = 1.0;
    p->plan.budget_bytes = 7;
    p->plan.policy.key = p->key;
    for (int64_t k = 1, failed = true; failed; k++) {
        allocations_fail_at(k);
        int status = pc_rank_by_size(p->size_bytes, p->files.count, p->by_size);
        failed = allocations_fail_at(0) >= k;
        CHECK_EQUAL(status, failed ? PC_ERROR_MEMORY : 0);
    }
    for (int schedule = 0; schedule <= PC_SCHEDULE_ROUNDS; schedule++) {
        for (int order = 0; order < pc_order_count; order++) {
            for (int frequency = 0; frequency <= PC_FREQUENCY_EXPONENTIAL; frequency++) {
                p->plan.schedule = (pc_schedule_t)schedule;
                p->plan.policy.order = order;
                p->plan.frequency = (pc_frequency_t)frequency;
                p->plan.max_sends = 0;
                p->plan.cost = PC_COST_WHOLE;
                p->files.by_size = NULL;
                with_every_source(p);
                p->files.by_size = p->by_size;
                with_every_source(p);
                if (schedule == PC_SCHEDULE_ROUNDS)
                    continue;
                p->plan.max_sends = 2;
                p->plan.max_update_rate = 1.0;
                p->plan.cost = PC_COST_DELTA;
                with_every_source(p);
                p->plan.max_update_rate = 0.0;
            }
        }
    }
}
