/*
 * test_writes.c -- the alias table gives each file its share, and draws stay within it.
 */
#include "harness.h"

#include <math.h>

#define FILES 200
#define DRAWS 10000

/* A generator that gives the same draw for ever. */
static uint64_t
constant(void *state)
{
    return *(uint64_t *)state;
}

static void
shares_add_up(random_t *random, int64_t count, int power)
{
    double share[FILES], total = 0.0, given[FILES] = {0};
    pc_alias_t table[FILES];
    int64_t positive = 0;
    for (int64_t i = 0; i < count; i++) {
        share[i] = pow((double)random_below(random, 1000) / 1000.0, power);
        total += share[i];
        positive += share[i] > 0.0;
    }
    int64_t slots = pc_alias_build(share, count, table);
    CHECK_EQUAL(slots, positive);
    for (int64_t s = 0; s < slots; s++) {
        double own = ldexp((double)table[s].accept, -64);
        given[table[s].file[0]] += own / (double)slots;
        given[table[s].file[1]] += (1.0 - own) / (double)slots;
    }
    for (int64_t i = 0; i < count && slots > 0; i++)
        CHECK(fabs(given[i] - share[i] / total) < 1e-12);
}

static void
every_draw_is_in_the_table(void)
{
    static const uint64_t draws[] = {0, 1, UINT64_MAX / 2, UINT64_MAX - 1, UINT64_MAX};
    double share[] = {0.0, 1e-9, 0.5, 0.0, 3.0, 0.0};
    pc_alias_t table[6];
    int64_t file_id[3];
    int64_t slots = pc_alias_build(share, 6, table);
    CHECK_EQUAL(slots, 3);
    for (size_t i = 0; i < sizeof draws / sizeof draws[0]; i++) {
        uint64_t draw = draws[i];
        bitgen_t bitgen = {.state = &draw, .next_uint64 = constant};
        pc_alias_draw(table, slots, &bitgen, 3, file_id);
        for (int j = 0; j < 3; j++)
            CHECK(share[file_id[j]] > 0.0);
    }
}

/* A coin equal to the threshold means the other file, one below it the own one. */
static void
the_coin_at_its_threshold(void)
{
    pc_alias_t table[1] = {{.accept = 1000, .file = {7, 9}}};
    int64_t file_id;
    for (uint64_t draw = 999; draw <= 1001; draw++) {
        bitgen_t bitgen = {.state = &draw, .next_uint64 = constant};
        pc_alias_draw(table, 1, &bitgen, 1, &file_id);
        CHECK_EQUAL(file_id, draw < 1000 ? 7 : 9);
    }
}

static void
wrong_shares(void)
{
    double share[3] = {1.0, 1.0, 1.0};
    pc_alias_t table[3];
    CHECK_EQUAL(pc_alias_build(share, PC_FILES_MAX + 1, table), PC_ERROR_ARGUMENT);
    share[2] = -1.0;
    CHECK_EQUAL(pc_alias_build(share, 3, table), PC_ERROR_SHARE);
    share[2] = NAN;
    CHECK_EQUAL(pc_alias_build(share, 3, table), PC_ERROR_SHARE);
    share[2] = HUGE_VAL;
    CHECK_EQUAL(pc_alias_build(share, 3, table), PC_ERROR_SHARE);
    share[1] = share[2] = 1e308;
    CHECK_EQUAL(pc_alias_build(share, 3, table), PC_ERROR_SHARE);
    share[0] = share[1] = share[2] = 0.0;
    CHECK_EQUAL(pc_alias_build(share, 3, table), 0);
    CHECK_EQUAL(pc_alias_build(share, 0, table), 0);
}

static void
traces_are_checked(void)
{
    static const int64_t size_bytes[] = {1, 1, 1};
    static const uint8_t read_only[] = {0, 1, 0};
    const pc_files_t files = {.count = 3, .size_bytes = size_bytes, .read_only = read_only};
    const int64_t trace[] = {0, 2, 0, 1, -1, 3};
    CHECK_EQUAL(pc_trace_check(trace, 3, &files), -1);
    CHECK_EQUAL(pc_trace_check(trace, 6, &files), 3);
    CHECK_EQUAL(pc_trace_check(trace + 4, 2, &files), 0);
    CHECK_EQUAL(pc_trace_check(trace + 5, 1, &files), 0);
    CHECK_EQUAL(pc_trace_check(trace, 0, &files), -1);
}

/* Drawn inside a run or before it: the same writes, one draw each. */
static void
a_run_draws_what_the_table_draws(random_t *random)
{
    static problem_t problem;
    int64_t curve[4][CYCLES_MOST];
    for (int times = 0; times < 30;) {
        problem_draw(&problem, random);
        if (problem.source.alias_count == 0)
            continue;
        times++;
        random_init(&problem.random, 5);
        int status = problem_run(&problem);
        int64_t writes = problem.record.cycles_run * problem.plan.writes_per_cycle;
        CHECK_EQUAL(problem.random.draws, writes);
        for (int i = 0; i < 4; i++) {
            for (int64_t c = 0; c < problem.record.cycles_run; c++)
                curve[i][c] = problem.curve[i][c];
        }
        random_init(&problem.random, 5);
        problem.source.trace_count = problem.plan.cycles * problem.plan.writes_per_cycle;
        pc_alias_draw(problem.alias, problem.source.alias_count, &problem.random.bitgen,
                      problem.source.trace_count, problem.trace);
        problem.source.trace = problem.trace;
        problem.source.alias_count = 0;
        CHECK_EQUAL(problem_run(&problem), status);
        for (int i = 0; i < 4; i++) {
            for (int64_t c = 0; c < problem.record.cycles_run; c++)
                CHECK_EQUAL(problem.curve[i][c], curve[i][c]);
        }
    }
}

void
test_writes(void)
{
    random_t random;
    random_init(&random, 7);
    for (int64_t count = 1; count <= FILES; count++) {
        for (int power = 0; power <= 16; power += 8)
            shares_add_up(&random, count, power);
    }
    every_draw_is_in_the_table();
    the_coin_at_its_threshold();
    wrong_shares();
    traces_are_checked();
    a_run_draws_what_the_table_draws(&random);
}
