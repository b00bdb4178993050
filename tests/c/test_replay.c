/*
 * test_replay.c -- recordings: unsound ones are refused, and whatever fails on the way leaves nothing.
 */
#include "harness.h"

#include <string.h>

/*
 * The small problem on a recording of four rows and two that lead back: file 0 is written, renamed
 * over file 2 and written anew, file 3 dies; then it is there again, and file 0 is as before.
 */
static void
recording_init(problem_t *p)
{
    static const int64_t rows[5][4] = {
        {0, 2, 0, 3}, {1, 0, 2, 1}, {5, 0, 9, 0}, {4, 4, 8, -1}, {-1, 0, -1, -1}};
    static const int64_t back[5][2] = {{0, 3}, {0, 0}, {5, 7}, {3, 7}, {-1, -1}};
    problem_init(p);
    for (int i = 0; i < 5; i++) {
        memcpy(p->column[0][i], rows[i], sizeof rows[i]);
        memcpy(p->column[1][i], back[i], sizeof back[i]);
    }
    memset(p->present, 1, sizeof p->present);
    int64_t (*column)[ROWS_MOST] = p->column[0], (*other)[ROWS_MOST] = p->column[1];
    p->recording = (pc_recording_t){
        p->present,
        {4, column[0], column[1], column[2], column[3], column[4]},
        {2, other[0], other[1], other[2], other[3], other[4]},
    };
    p->source.recording = &p->recording;
    for (int c = 0; c < 5; c++)
        p->cycle_end[c] = 3 * c;
    p->plan.cycle_end = p->cycle_end;
    p->plan.half_life_cycles = 1.0;
    p->plan.budget = PC_BUDGET_CARRY;
    p->plan.policy.key = p->key;
}

/* The status after one change. */
#define EXPECT(expected, change)                                                                   \
    do {                                                                                           \
        recording_init(p);                                                                         \
        change;                                                                                    \
        CHECK_EQUAL(problem_run(p), expected);                                                     \
        CHECK_EQUAL(p->record.cycles_run, (expected) < 0 ? 0 : p->plan.cycles);                    \
    } while (0)

static void
rows(problem_t *p)
{
    static const int64_t no_file[] = {-1, 4, 1, INT64_MAX, INT64_MIN, INT64_C(1) << 32};
    EXPECT(PC_STOP_CYCLES, (void)0);
    for (int part = 0; part < 2; part++) {
        for (size_t i = 0; i < sizeof no_file / sizeof no_file[0]; i++) {
            EXPECT(PC_ERROR_TRACE, p->column[part][0][1] = no_file[i]);
            EXPECT(no_file[i] == -1 ? PC_STOP_CYCLES : PC_ERROR_TRACE,
                   p->column[part][4][0] = no_file[i]);
        }
        EXPECT(PC_ERROR_TRACE, p->column[part][1][1] = -1);
        EXPECT(PC_ERROR_TRACE, p->column[part][2][1] = -1);
        EXPECT(PC_ERROR_TRACE, p->column[part][3][1] = -2);
        EXPECT(PC_ERROR_TRACE, p->column[part][4][1] = -2);
        EXPECT(PC_ERROR_TRACE, p->column[part][4][1] = p->column[part][0][1]);
        EXPECT(PC_ERROR_TRACE, p->column[part][4][1] = 0; p->column[part][3][1] = -1;
               p->column[part][0][1] = 2);
        EXPECT(PC_ERROR_ARGUMENT, p->column[part][1][0] = INT64_MAX; p->column[part][1][1] = 1);
        EXPECT(PC_STOP_CYCLES, p->column[part][2][0] = p->column[part][2][1] = INT64_MAX;
               p->plan.cost = PC_COST_DELTA; p->plan.overhead_bytes = INT64_MAX);
    }
}

/* Sums over all that may be replayed leave int64, or do not. */
static void
sums(problem_t *p)
{
    for (int order = 0; order < pc_order_count; order++) {
        for (int frequency = 0; frequency <= PC_FREQUENCY_EXPONENTIAL; frequency++) {
            bool products = uses(order, PC_USES_SIZE) && uses(order, PC_USES_UPDATES);
            for (int over = 0; over < 2; over++) {
                EXPECT(over || products ? PC_ERROR_ARGUMENT : PC_STOP_CYCLES,
                       p->plan.policy.order = order;
                       p->plan.frequency = (pc_frequency_t)frequency;
                       p->column[0][1][0] = INT64_MAX / 3 - 3 + over);
                EXPECT(over || products ? PC_ERROR_ARGUMENT : PC_STOP_CYCLES,
                       p->plan.policy.order = order;
                       p->plan.frequency = (pc_frequency_t)frequency;
                       p->column[0][3][1] = INT64_MAX / 4 + over; p->plan.budget_bytes = 3);
            }
        }
    }
    EXPECT(PC_ERROR_ARGUMENT, p->plan.history = p->history; p->history[0] = INT64_MAX - 10);
    EXPECT(PC_STOP_CYCLES, p->plan.history = p->history; p->history[0] = INT64_C(1) << 62);
}

static void
plans(problem_t *p)
{
    EXPECT(PC_ERROR_ARGUMENT, p->plan.cycle_end = NULL);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.cycle_end = p->cycle_end; p->source.recording = NULL);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.first_row = -1);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.first_row = 5);
    EXPECT(PC_STOP_CYCLES, p->plan.first_row = 4);
    EXPECT(PC_ERROR_ARGUMENT, p->cycle_end[0] = -1);
    EXPECT(PC_ERROR_ARGUMENT, p->cycle_end[3] = p->cycle_end[2] - 1);
    EXPECT(PC_ERROR_ARGUMENT, p->cycle_end[4] = INT64_MAX; p->plan.first_row = 1);
    EXPECT(PC_ERROR_ARGUMENT, p->cycle_end[4] = INT64_MAX - 9; p->column[0][1][0] = 9);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.cycles = 0);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.cycles = -1);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.schedule = PC_SCHEDULE_ROUNDS);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.max_sends = 1);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.max_update_rate = 1.0);
    EXPECT(PC_ERROR_ARGUMENT, p->plan.frequency = PC_FREQUENCY_ORACLE);
    EXPECT(PC_STOP_CYCLES, p->plan.writes_per_cycle = -5);
    EXPECT(PC_ERROR_ARGUMENT, p->recording.rows.count = p->recording.back.count = 0);
    EXPECT(PC_STOP_CYCLES, p->recording.rows.count = p->recording.back.count = 0;
           memset(p->cycle_end, 0, sizeof p->cycle_end));
    EXPECT(PC_ERROR_ARGUMENT, p->files.count = 0);
    EXPECT(PC_ERROR_ARGUMENT, p->files.count = PC_FILES_MAX + 1);
}

/* Worked by hand: what exists before each row. */
static void
sizes(problem_t *p)
{
    static const int64_t expected[5][4] = {
        {3, 5, 2, 7}, {9, 5, 2, 7}, {9, 5, 0, 7}, {9, 5, 8, 7}, {9, 5, 8, -1}};
    int64_t size_bytes[4];
    recording_init(p);
    /* Row 0 writes file 0, row 1 file 2, row 2 is a write to 0: the names of the test's columns. */
    int64_t ids[] = {0, 2, 2, 3}, after[] = {9, 0, 8, -1};
    memcpy(p->column[0][0], ids, sizeof ids);
    memcpy(p->column[0][3], after, sizeof after);
    p->column[0][4][1] = -1;
    for (int64_t row = 0; row < 5; row++) {
        CHECK_EQUAL(pc_recording_sizes(&p->recording, &p->files, row, size_bytes), 0);
        CHECK(memcmp(size_bytes, expected[row], sizeof size_bytes) == 0);
    }
    CHECK_EQUAL(pc_recording_sizes(&p->recording, &p->files, -1, size_bytes), PC_ERROR_ARGUMENT);
    CHECK_EQUAL(pc_recording_sizes(&p->recording, &p->files, 5, size_bytes), PC_ERROR_ARGUMENT);
    CHECK_EQUAL(pc_rows_check(&p->recording.rows, &p->files), -1);
    p->column[0][0][3] = 4;
    CHECK_EQUAL(pc_rows_check(&p->recording.rows, &p->files), 3);
    CHECK_EQUAL(pc_recording_sizes(&p->recording, &p->files, 4, size_bytes), PC_ERROR_TRACE);
    p->present[2] = 0;
    CHECK_EQUAL(pc_recording_sizes(&p->recording, &p->files, 0, size_bytes), 0);
    CHECK_EQUAL(size_bytes[2], -1);
}

static void
allocations(problem_t *p)
{
    for (int rule = 0; rule <= PC_BUDGET_SKIP; rule++) {
        for (int64_t k = 1, failed = true; failed; k++) {
            recording_init(p);
            p->plan.budget = (pc_budget_rule_t)rule;
            allocations_fail_at(k);
            int status = problem_run(p);
            failed = allocations_fail_at(0) >= k;
            CHECK_EQUAL(status, failed ? PC_ERROR_MEMORY : PC_STOP_CYCLES);
            CHECK_EQUAL(p->record.cycles_run, failed ? 0 : p->plan.cycles);
            CHECK(failed || k > 6);
        }
    }
}

static int
count_calls(void *context)
{
    int *left = context;
    return --*left == 0;
}

/* Rows by the million, in one cycle, or as good as none in any. */
static void
interrupts(problem_t *p)
{
    for (int calls = 1; calls < 4; calls++) {
        int left = calls;
        const pc_poll_t poll = {count_calls, &left};
        EXPECT(PC_ERROR_INTERRUPTED, p->cycle_end[4] = 100000000; p->poll = &poll;
               p->plan.cycles = 5; p->record.cycles_run = 0;
               CHECK_EQUAL(problem_run(p), PC_ERROR_INTERRUPTED); CHECK(p->record.cycles_run == 4);
               p->plan.cycles = 1; p->cycle_end[0] = 100000000; left = calls);
    }
}

/* Nothing that is drawn does any harm, as rows of any numbers. */
static void
any_rows(problem_t *p)
{
    random_t random;
    random_init(&random, 8);
    for (int i = 0; i < 3000; i++) {
        problem_draw(p, &random);
        problem_record(p, &random);
        int64_t part = random_below(&random, 2), column = random_below(&random, 5);
        p->column[part][column][random_below(&random, ROWS_MOST)] =
            (int64_t)(random_next(&random) >> random_below(&random, 64));
        p->cycle_end[random_below(&random, CYCLES_MOST)] += random_below(&random, 3) - 1;
        int status = problem_run(p);
        CHECK(status >= 0 || status == PC_ERROR_TRACE || status == PC_ERROR_ARGUMENT);
    }
}

void
test_replay(void)
{
    static problem_t problem;
    rows(&problem);
    sums(&problem);
    plans(&problem);
    sizes(&problem);
    allocations(&problem);
    interrupts(&problem);
    any_rows(&problem);
}
