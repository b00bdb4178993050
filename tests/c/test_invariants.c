/*
 * test_invariants.c -- drawn plans, cycle by cycle, with every invariant checked after each.
 *
 * The cycles are made here from the core's parts, so the records of pc_simulate() are a second
 * opinion on the same run.
 */
#include "harness.h"
#include "link.h"
#include "pending.h"
#include "writes.h"

#define PROBLEMS 400

typedef struct {
    pc_link_t link;
    pc_pending_t pending;
    pc_writes_t writes;
} parts_t;

static void
write_one_cycle(parts_t *parts, const pc_plan_t *plan)
{
    uint32_t place[PC_WRITES_BLOCK];
    int64_t left = pc_writes_any(&parts->writes) ? plan->writes_per_cycle : 0;
    while (left > 0) {
        int64_t count = left < PC_WRITES_BLOCK ? left : PC_WRITES_BLOCK;
        pc_writes_next(&parts->writes, count, place);
        parts->pending.kind->write(&parts->pending, place, count);
        left -= count;
    }
    parts->pending.kind->settle(&parts->pending);
}

static void
check_cycle(const parts_t *parts, const problem_t *p, int64_t cycle)
{
    const pc_record_t *record = &p->record;
    CHECK(pc_pending_verify(&parts->pending));
    CHECK_EQUAL(record->final_copy_bytes[cycle], parts->pending.bytes);
    CHECK_EQUAL(record->precopy_bytes[cycle], parts->link.sent_bytes);
    CHECK_EQUAL(record->resent_bytes[cycle], parts->link.resent_bytes);
    CHECK(parts->link.left_bytes >= 0);
    if (p->plan.schedule == PC_SCHEDULE_ROUNDS)
        CHECK_EQUAL(record->rounds_completed[cycle], parts->pending.rounds_completed);
}

/* Whether the bytes of the first cycles add up: what is not pending has been sent. */
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
        if (p->plan.budget_rule != PC_BUDGET_CARRY)
            CHECK(sent - before <= p->plan.budget_bytes);
        before = sent;
        resent = p->record.resent_bytes[c];
    }
}

static void
compare(problem_t *p)
{
    static parts_t parts;
    random_t again = p->random;
    int status = problem_run(p);
    CHECK(status >= 0);
    check_record(p);
    again.bitgen.state = &again;
    p->source.bitgen = &again.bitgen;
    CHECK(pc_link_init(&parts.link, &p->files, &p->plan) >= 0);
    CHECK(pc_pending_init(&parts.pending, &p->files, &p->plan) >= 0);
    CHECK(pc_writes_init(&parts.writes, &p->source, &p->files, parts.pending.place_of) >= 0);
    CHECK(pc_pending_verify(&parts.pending));
    for (int64_t c = 0; c < p->record.cycles_run; c++) {
        pc_link_begin_cycle(&parts.link);
        CHECK_EQUAL(parts.pending.kind->send(&parts.pending, &parts.link), PC_STOP_CYCLES);
        write_one_cycle(&parts, &p->plan);
        check_cycle(&parts, p, c);
    }
    if (status == PC_STOP_CLEAN) {
        pc_link_begin_cycle(&parts.link);
        CHECK_EQUAL(parts.pending.kind->send(&parts.pending, &parts.link), PC_STOP_CLEAN);
    }
    pc_writes_free(&parts.writes);
    for (int times = 0; times < 2; times++) { /* freeing twice is legal */
        pc_pending_free(&parts.pending);
        pc_link_free(&parts.link);
        pc_writes_free(&parts.writes);
    }
}

void
test_invariants(void)
{
    static problem_t problem;
    random_t random;
    int64_t seen[PC_STOP_CLEAN + 1] = {0};
    random_init(&random, 42);
    for (int i = 0; i < PROBLEMS; i++) {
        problem_draw(&problem, &random);
        compare(&problem);
        random_init(&problem.random, 1);
        problem.source.bitgen = &problem.random.bitgen;
        seen[problem_run(&problem)]++;
    }
    for (int stop = 0; stop <= PC_STOP_CLEAN; stop++)
        CHECK(seen[stop] > 0);
}
