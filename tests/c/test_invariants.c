/*
 * test_invariants.c -- drawn plans, with every invariant of the pending set checked after each
 * cycle.
 *
 * The linker sends the run's calls of pc_pending_init(), pc_budget_begin_cycle() and
 * pc_pending_free() through the functions here, so it is the run itself that is looked at between
 * its cycles.
 */
#include "harness.h"
#include "budget.h"
#include "pending.h"

#define PROBLEMS 600

static const pc_pending_t *watched;
static int64_t cycles_begun;
static bool watching;

__typeof__(pc_pending_init) __real_pc_pending_init, __wrap_pc_pending_init;
__typeof__(pc_budget_begin_cycle) __real_pc_budget_begin_cycle, __wrap_pc_budget_begin_cycle;
__typeof__(pc_pending_free) __real_pc_pending_free, __wrap_pc_pending_free;

int
__wrap_pc_pending_init(pc_pending_t *self, const pc_files_t *files, const pc_source_t *source,
                       const pc_plan_t *plan, int64_t total_bytes)
{
    watched = self;
    cycles_begun = 0;
    return __real_pc_pending_init(self, files, source, plan, total_bytes);
}

void
__wrap_pc_budget_begin_cycle(pc_budget_t *self)
{
    cycles_begun++;
    if (watching) {
        CHECK(pc_pending_verify(watched));
        CHECK(self->left_bytes >= 0);
    }
    __real_pc_budget_begin_cycle(self);
}

/* Also called after an init that has failed, and legal twice. */
void
__wrap_pc_pending_free(pc_pending_t *self)
{
    if (watching)
        CHECK(pc_pending_verify(self));
    __real_pc_pending_free(self);
    __real_pc_pending_free(self);
}

/* Whether the bytes add up: what is not pending has been sent, and a cycle sends its budget. */
static void
check_record(const problem_t *p)
{
    int64_t total = 0, before = 0, resent = 0;
    for (int64_t i = 0; i < p->files.count; i++)
        total += p->files.size_bytes[i];
    for (int64_t c = 0; c < p->record.cycles_run; c++) {
        int64_t sent = p->record.precopy_bytes[c];
        int64_t fresh = sent - p->record.resent_bytes[c];
        CHECK(sent >= before && p->record.resent_bytes[c] >= resent);
        CHECK(p->record.final_copy_bytes[c] >= total - fresh);
        CHECK(p->record.final_copy_bytes[c] <= total && fresh <= total);
        if (p->plan.budget != PC_BUDGET_CARRY)
            CHECK(sent - before <= p->plan.budget_bytes);
        before = sent;
        resent = p->record.resent_bytes[c];
    }
}

/* The same where files change: nothing more waits than there is. */
static void
check_record_in_time(const problem_t *p)
{
    int64_t before = 0, resent = 0;
    for (int64_t c = 0; c < p->record.cycles_run; c++) {
        int64_t sent = p->record.precopy_bytes[c];
        CHECK(sent >= before && p->record.resent_bytes[c] >= resent);
        CHECK(sent >= p->record.resent_bytes[c]);
        CHECK(p->record.final_copy_bytes[c] <= p->record.present_bytes[c]);
        if (p->plan.budget != PC_BUDGET_CARRY)
            CHECK(sent - before <= p->plan.budget_bytes);
        before = sent;
        resent = p->record.resent_bytes[c];
    }
}

void
test_invariants(void)
{
    static problem_t problem;
    random_t random;
    int64_t seen[PC_STOP_CLEAN + 1] = {0};
    random_init(&random, 42);
    watching = true;
    for (int i = 0; i < PROBLEMS; i++) {
        problem_draw(&problem, &random);
        if (i % 3 == 0)
            problem_record(&problem, &random);
        int status = problem_run(&problem);
        CHECK(status >= 0);
        CHECK_EQUAL(cycles_begun, problem.record.cycles_run + (status == PC_STOP_CLEAN));
        if (problem.source.recording)
            check_record_in_time(&problem);
        else
            check_record(&problem);
        seen[status < 0 ? 0 : status]++;
    }
    watching = false;
    for (int stop = 0; stop <= PC_STOP_CLEAN; stop++)
        CHECK(seen[stop] > 0);
}
