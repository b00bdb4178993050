/*
 * test_arguments.c -- the core refuses whatever would not be safe, with the right code.
 */
#include "harness.h"

#include <math.h>
#include <string.h>

/* The status of the small problem after one change. */
#define EXPECT(expected, change)                                                                   \
    do {                                                                                           \
        problem_init(p);                                                                           \
        change;                                                                                    \
        CHECK_EQUAL(problem_run(p), expected);                                                     \
        CHECK_EQUAL(p->record.cycles_run, (expected) < 0 ? 0 : p->plan.cycles);                    \
    } while (0)

static void
files_and_history(problem_t *p)
{
    EXPECT(PC_STOP_CYCLES, (void)0);
    EXPECT(PC_ERROR_ARGUMENT, p->files.count = 0);
    EXPECT(PC_ERROR_ARGUMENT, p->files.count = -1);
    EXPECT(PC_ERROR_ARGUMENT, p->files.count = PC_FILES_MAX + 1);
    EXPECT(PC_ERROR_ARGUMENT, p->size_bytes[3] = -1);
    EXPECT(PC_ERROR_ARGUMENT, p->size_bytes[3] = INT64_MAX - 9);
    EXPECT(PC_STOP_CYCLES, p->size_bytes[3] = INT64_MAX - 10);
    EXPECT(PC_STOP_CYCLES, memset(p->size_bytes, 0, sizeof p->size_bytes));
    EXPECT(PC_STOP_CYCLES, p->plan.history = p->history);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.history = p->history; p->history[2] = -1);
}

/* 30 writes on top of the history leave int64 or do not, in every schedule, order and estimate. */
static void
sums_of_history(problem_t *p)
{
    for (int i = 0; i < 2 * pc_order_count * (PC_FREQUENCY_EXPONENTIAL + 1); i++) {
        for (int64_t over = 0; over < 2; over++) {
            EXPECT(over ? PC_ERROR_ARGUMENT : PC_STOP_CYCLES, p->plan.history = p->history;
                   p->history[2] = INT64_MAX - 30 + over; p->plan.rounds = 9;
                   p->plan.schedule = (pc_schedule_t)(i % 2);
                   p->plan.policy.order = i / 2 % pc_order_count; p->plan.policy.key = p->key;
                   p->plan.half_life_cycles = 1.0;
                   p->plan.frequency = (pc_frequency_t)(i / 2 / pc_order_count);
                   memset(p->size_bytes, 0, sizeof p->size_bytes));
        }
    }
}

/* Any byte but 0 means read-only: all kinds give the numbers that 1 gives. */
static void
odd_truths(problem_t *p)
{
    random_t random;
    random_init(&random, 5);
    for (int i = 0; i < 200; i++) {
        static int64_t expected[4][CYCLES_MOST];
        problem_draw(p, &random);
        random_t writes = p->random;
        int status = problem_run(p);
        int64_t cycles = p->record.cycles_run;
        memcpy(expected, p->curve, sizeof expected);
        for (int64_t j = 0; j < p->files.count; j++)
            p->read_only[j] = (uint8_t)(p->read_only[j] ? 2 + random_below(&random, 254) : 0);
        p->random.state = writes.state;
        CHECK_EQUAL(problem_run(p), status);
        CHECK_EQUAL(p->record.cycles_run, cycles);
        CHECK(memcmp(expected, p->curve, sizeof expected) == 0);
    }
}

/* Ids by size are used as indices: wrong ones are refused, or do no harm. */
static void
ids_by_size(problem_t *p)
{
    static const uint32_t sorted[] = {2, 0, 1, 3};
    for (int order = 0; order < pc_order_count; order++) {
        if (uses(order, PC_USES_OWN_KEY))
            continue;
        int expected = uses(order, PC_USES_SIZE) ? PC_ERROR_ARGUMENT : PC_STOP_CYCLES;
        EXPECT(PC_STOP_CYCLES, p->plan.policy.order = order; p->files.by_size = sorted);
        EXPECT(expected, p->plan.policy.order = order; p->files.by_size = p->by_size;
               p->by_size[0] = 4);
        EXPECT(expected, p->plan.policy.order = order; p->files.by_size = p->by_size;
               p->by_size[3] = UINT32_MAX);
        EXPECT(PC_STOP_CYCLES, p->plan.policy.order = order; p->files.by_size = p->by_size);
    }
    CHECK_EQUAL(pc_rank_by_size(p->size_bytes, 4, p->by_size), 0);
    for (int i = 0; i < 4; i++)
        CHECK_EQUAL(p->by_size[i], sorted[i]);
}

/* A list that names some files twice gives a run without meaning, which still ends within bounds. */
static void
any_ids_by_size(problem_t *p)
{
    random_t random;
    random_init(&random, 3);
    for (int i = 0; i < 200; i++) {
        problem_draw(p, &random);
        for (int64_t j = 0; j < p->files.count; j++)
            p->by_size[j] = (uint32_t)random_below(&random, p->files.count);
        p->files.by_size = p->by_size;
        CHECK(problem_run(p) >= 0);
    }
}

static void
choices(problem_t *p)
{
    EXPECT(PC_ERROR_ARGUMENT, p->plan.schedule = (pc_schedule_t)(PC_SCHEDULE_ROUNDS + 1));
    EXPECT(PC_ERROR_ARGUMENT, p->plan.schedule = (pc_schedule_t)-1);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.cost = (pc_cost_t)(PC_COST_DELTA + 1));
    EXPECT(PC_ERROR_ARGUMENT, p->plan.max_sends = -1);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.max_update_rate = -1.0);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.max_update_rate = (double)NAN);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.write_bytes = -1);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.overhead_bytes = -1);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.max_sends = 1; p->plan.schedule = PC_SCHEDULE_ROUNDS);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.frequency = PC_FREQUENCY_ORACLE);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.policy.order = pc_order_count);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.policy.order = -1);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.policy.order = order_named("key"));
    EXPECT(PC_STOP_CYCLES, p->plan.policy.order = order_named("key"); p->plan.policy.key = p->key);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.frequency = (pc_frequency_t)(PC_FREQUENCY_EXPONENTIAL + 1));
    EXPECT(PC_ERROR_ARGUMENT, p->plan.frequency = (pc_frequency_t)-1);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.budget = (pc_budget_rule_t)(PC_BUDGET_SKIP + 1));
    EXPECT(PC_ERROR_ARGUMENT, p->plan.budget = (pc_budget_rule_t)-1);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.dirty_tracking = (pc_dirty_tracking_t)(PC_DIRTY_SENT + 1));
    EXPECT(PC_ERROR_ARGUMENT, p->plan.dirty_tracking = (pc_dirty_tracking_t)-1);
}

static void
half_lives(problem_t *p)
{
    static const double wrong[] = {-1.0, 0.0, 0.0099, HUGE_VAL, -HUGE_VAL, NAN};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        EXPECT(PC_STOP_CYCLES, p->plan.half_life_cycles = wrong[i]);
        EXPECT(PC_ERROR_ARGUMENT, p->plan.half_life_cycles = wrong[i];
               p->plan.frequency = PC_FREQUENCY_EXPONENTIAL);
    }
    EXPECT(PC_STOP_CYCLES, p->plan.half_life_cycles = PC_HALF_LIFE_MIN;
           p->plan.frequency = PC_FREQUENCY_EXPONENTIAL);
}

static void
numbers(problem_t *p)
{
    EXPECT(PC_ERROR_ARGUMENT, p->plan.cycles = 0);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.cycles = -1);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.rounds = 0);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.writes_per_cycle = 0);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.writes_per_cycle = -1);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.budget_bytes = -1);
    EXPECT(PC_STOP_CYCLES, p->plan.budget_bytes = 0);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.writes_per_cycle = INT64_MAX / 5 + 1);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.budget_bytes = INT64_MAX / 5 + 1);
    EXPECT(PC_STOP_CYCLES, p->plan.budget_bytes = INT64_MAX / 5);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.cycles = 1; p->plan.budget_bytes = INT64_MAX - 16;
           p->plan.budget = PC_BUDGET_CARRY);
    EXPECT(PC_STOP_CYCLES, p->plan.cycles = 1; p->plan.budget_bytes = INT64_MAX - 17;
           p->plan.budget = PC_BUDGET_CARRY);
}

static void
products(problem_t *p)
{
    EXPECT(PC_STOP_CYCLES, p->size_bytes[0] = INT64_C(1) << 58);
    EXPECT(PC_ERROR_ARGUMENT, p->size_bytes[0] = INT64_C(1) << 59;
           p->plan.policy.order = order_named("expected-update"));
    EXPECT(PC_ERROR_ARGUMENT, p->history[0] = INT64_C(1) << 62; p->plan.history = p->history;
           p->plan.policy.order = order_named("expected-update"));
    EXPECT(PC_STOP_CYCLES, p->size_bytes[0] = INT64_C(1) << 58; p->plan.cycles = 1;
           p->plan.policy.order = order_named("expected-update"));
}

static void
sources(problem_t *p)
{
    static const int64_t wrong[] = {1, 4, -1, INT64_MAX, INT64_MIN, INT64_C(1) << 32};
    EXPECT(PC_STOP_CYCLES, p->source.alias_count = 0);
    EXPECT(PC_ERROR_SHARE, p->alias[0].file[0] = 1);
    EXPECT(PC_ERROR_SHARE, p->alias[2].file[1] = 1);
    EXPECT(PC_ERROR_SHARE, p->alias[1].file[0] = 4);
    EXPECT(PC_ERROR_SHARE, p->alias[1].file[1] = UINT32_MAX);
    EXPECT(PC_STOP_CYCLES, p->source.alias_count = 0; p->source.trace = p->trace;
           p->source.trace_count = 30);
    EXPECT(PC_ERROR_TRACE, p->source.alias_count = 0; p->source.trace = p->trace;
           p->source.trace_count = 29);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        EXPECT(PC_ERROR_TRACE, p->source.alias_count = 0; p->source.trace = p->trace;
               p->source.trace_count = 30; p->trace[29] = wrong[i]);
    }
}

static void
messages(void)
{
    for (int a = PC_ERROR_INTERRUPTED; a <= PC_STOP_CLEAN; a++) {
        CHECK(strcmp(pc_status_message(a), "unknown status") != 0);
        for (int b = PC_ERROR_INTERRUPTED; b < a; b++)
            CHECK(strcmp(pc_status_message(a), pc_status_message(b)) != 0);
    }
    CHECK(strcmp(pc_status_message(PC_STOP_CLEAN + 1), "unknown status") == 0);
    CHECK(strcmp(pc_status_message(PC_ERROR_INTERRUPTED - 1), "unknown status") == 0);
}

/* The four ways to end well; the rest of this file ends badly or after all cycles. */
static void
stops(problem_t *p)
{
    problem_init(p);
    p->plan.threshold_bytes = INT64_MAX;
    CHECK_EQUAL(problem_run(p), PC_STOP_THRESHOLD);
    CHECK_EQUAL(p->record.cycles_run, 1);
    problem_init(p);
    p->plan.schedule = PC_SCHEDULE_ROUNDS;
    p->plan.rounds = 1;
    CHECK_EQUAL(problem_run(p), PC_STOP_ROUNDS);
    CHECK_EQUAL(p->record.cycles_run, 2);
    problem_init(p);
    p->plan.schedule = PC_SCHEDULE_ROUNDS;
    p->source.alias_count = 0;
    CHECK_EQUAL(problem_run(p), PC_STOP_CLEAN);
    CHECK_EQUAL(p->record.cycles_run, 2);
    CHECK_EQUAL(p->record.final_copy_bytes[1], 0);
    CHECK_EQUAL(p->record.rounds_completed[1], 1);
}

void
test_arguments(void)
{
    static problem_t problem;
    files_and_history(&problem);
    sums_of_history(&problem);
    odd_truths(&problem);
    ids_by_size(&problem);
    any_ids_by_size(&problem);
    choices(&problem);
    half_lives(&problem);
    numbers(&problem);
    products(&problem);
    sources(&problem);
    stops(&problem);
    messages();
}
