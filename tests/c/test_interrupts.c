/*
 * test_interrupts.c -- a run asks now and then whether it should end, and ends when told to.
 */
#include "harness.h"

#include <stdlib.h>

typedef struct {
    int64_t calls, nonzero_at;
} calls_t;

static int
count_calls(void *context)
{
    calls_t *made = context;
    return ++made->calls == made->nonzero_at;
}

/* Millions of writes in one cycle or in many, or of idle cycles (0 writes): it asks in between. */
static void
interrupt_at(int64_t cycles, int64_t writes_per_cycle, int64_t nonzero_at)
{
    static problem_t problem;
    problem_t *p = &problem;
    calls_t made = {.nonzero_at = nonzero_at};
    const pc_poll_t poll = {count_calls, &made};
    problem_init(p);
    int64_t *curve = malloc(4 * (size_t)cycles * sizeof *curve);
    if (!curve) {
        CHECK(curve != NULL);
        return;
    }
    p->record.final_copy_bytes = curve;
    p->record.precopy_bytes = curve + cycles;
    p->record.resent_bytes = curve + 2 * cycles;
    p->plan.cycles = cycles;
    p->plan.writes_per_cycle = writes_per_cycle > 0 ? writes_per_cycle : 1;
    p->source.alias_count = writes_per_cycle > 0 ? p->source.alias_count : 0;
    p->poll = &poll;
    int status = problem_run(p);
    if (nonzero_at > 0) {
        CHECK_EQUAL(status, PC_ERROR_INTERRUPTED);
        CHECK_EQUAL(made.calls, nonzero_at);
        CHECK(p->record.cycles_run < cycles);
        CHECK(writes_per_cycle == 0 || p->random.draws < cycles * writes_per_cycle);
    } else {
        CHECK_EQUAL(status, PC_STOP_CYCLES);
        CHECK(made.calls >= 3);
        CHECK_EQUAL(p->random.draws, cycles * writes_per_cycle);
    }
    free(curve);
}

void
test_interrupts(void)
{
    for (int64_t nonzero_at = 0; nonzero_at <= 3; nonzero_at++) {
        interrupt_at(1, 8000000, nonzero_at);
        interrupt_at(8000, 1000, nonzero_at);
        interrupt_at(4000000, 2, nonzero_at);
        interrupt_at(4000000, 0, nonzero_at);
    }
}
