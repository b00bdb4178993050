/*
 * test_shared.c -- runs that share the drawing of their writes leave what each leaves alone.
 */
#include "harness.h"

#include <string.h>

#define RUNS 6
#define PROBLEMS 60

static problem_t problem;
static int64_t curve[RUNS][4][CYCLES_MOST];
static pc_plan_t plan[RUNS];
static pc_record_t record[RUNS];

static void
connect(int run)
{
    record[run] = (pc_record_t){
        .final_copy_bytes = curve[run][0],
        .precopy_bytes = curve[run][1],
        .resent_bytes = curve[run][2],
        .rounds_completed = curve[run][3],
    };
}

static int
run_together(void)
{
    random_init(&problem.random, 5);
    return pc_simulate(&problem.files, &problem.source, plan, record, RUNS, NULL);
}

static void
check_alone(int run)
{
    random_init(&problem.random, 5);
    problem.plan = plan[run];
    CHECK_EQUAL(problem_run(&problem), record[run].stop);
    CHECK_EQUAL(problem.record.cycles_run, record[run].cycles_run);
    size_t bytes = sizeof(int64_t) * (size_t)record[run].cycles_run;
    int curves = plan[run].schedule == PC_SCHEDULE_ROUNDS ? 4 : 3;
    for (int i = 0; i < curves; i++)
        CHECK(memcmp(problem.curve[i], curve[run][i], bytes) == 0);
}

/* Shorten a plan to what there is of a trace. */
static void
fit_trace(pc_plan_t *self)
{
    int64_t count = problem.source.trace_count;
    if (self->writes_per_cycle > count)
        self->writes_per_cycle = count;
    if (self->cycles > count / self->writes_per_cycle)
        self->cycles = count / self->writes_per_cycle;
}

/* Of all lengths, from drawn writes, from a trace, and from nothing; most of several blocks. */
static void
equal_to_single_runs(random_t *random)
{
    int64_t most = 0;
    for (int p = 0; p < PROBLEMS; p++) {
        problem_draw(&problem, random);
        for (int run = 0; run < RUNS; run++) {
            problem_draw_plan(&problem, random);
            plan[run] = problem.plan;
            connect(run);
            if (problem.source.trace_count > 0)
                fit_trace(&plan[run]);
        }
        CHECK_EQUAL(run_together(), 0);
        most = problem.random.draws > most ? problem.random.draws : most;
        for (int run = 0; run < RUNS; run++)
            check_alone(run);
    }
    CHECK(most > 8192);
}

/* One plan that is not sound, or one allocation that fails, and no run is made. */
static void
one_fails_all(void)
{
    problem_init(&problem);
    for (int run = 0; run < RUNS; run++) {
        plan[run] = problem.plan;
        connect(run);
    }
    for (int64_t k = 1, failed = true; failed; k++) {
        allocations_fail_at(k);
        int status = run_together();
        failed = allocations_fail_at(0) >= k;
        CHECK_EQUAL(status, failed ? PC_ERROR_MEMORY : 0);
        for (int run = 0; run < RUNS; run++)
            CHECK_EQUAL(record[run].cycles_run, failed ? 0 : problem.plan.cycles);
    }
    plan[RUNS - 1].cycles = 0;
    CHECK_EQUAL(run_together(), PC_ERROR_ARGUMENT);
    CHECK_EQUAL(problem.random.draws, 0);
    CHECK_EQUAL(pc_simulate(&problem.files, &problem.source, plan, record, 0, NULL),
                PC_ERROR_ARGUMENT);
}

static int
yes(void *context)
{
    (void)context;
    return 1;
}

static void
asked_while_they_run(void)
{
    const pc_poll_t poll = {yes, NULL};
    problem_init(&problem);
    problem.plan.writes_per_cycle = 1000000000;
    problem.plan.cycles = 1;
    for (int run = 0; run < RUNS; run++) {
        plan[run] = problem.plan;
        connect(run);
    }
    int status = pc_simulate(&problem.files, &problem.source, plan, record, RUNS, &poll);
    CHECK_EQUAL(status, PC_ERROR_INTERRUPTED);
    CHECK(problem.random.draws < 1000000);
}

void
test_shared(void)
{
    random_t random;
    random_init(&random, 11);
    equal_to_single_runs(&random);
    one_fails_all();
    asked_while_they_run();
}
