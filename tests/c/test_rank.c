/*
 * test_rank.c -- rank and take on their own: what they refuse, and what they answer.
 */
#include "harness.h"

#include <math.h>
#include <string.h>

static int64_t id[FILES_MOST];

/* Rank a problem's files by the order of its plan. */
static int64_t
rank(const problem_t *p, const int64_t *count, const double *score, const uint8_t *pending)
{
    pc_updates_t updates = {.count = count, .score = score};
    return pc_rank(&p->files, &p->plan.policy, &updates, pending, id);
}

static void
expect_ids(int64_t ranked, const int64_t *expected, int64_t count)
{
    CHECK_EQUAL(ranked, count);
    for (int64_t i = 0; i < count; i++)
        CHECK_EQUAL(id[i], expected[i]);
}

/* Sizes 3, 5, 2, 7; file 1 is read-only. */
static void
answers(problem_t *p)
{
    static const int64_t count[] = {4, 0, 6, 2};
    static const double score[] = {0.5, 0.0, 0.5, 0.25};
    static const uint8_t pending[] = {255, 2, 0, 1};
    problem_init(p);
    p->plan.policy.order = order_named("size-descending");
    expect_ids(rank(p, NULL, NULL, NULL), (int64_t[]){3, 1, 0, 2}, 4);
    p->plan.policy.read_only_first = true;
    expect_ids(rank(p, NULL, NULL, pending), (int64_t[]){1, 3, 0}, 3);
    p->read_only[1] = 2; /* any other byte than 0 is true */
    expect_ids(rank(p, NULL, NULL, NULL), (int64_t[]){1, 3, 0, 2}, 4);
    p->plan.policy.order = order_named("update-frequency");
    expect_ids(rank(p, count, NULL, NULL), (int64_t[]){1, 3, 0, 2}, 4);
    expect_ids(rank(p, NULL, score, NULL), (int64_t[]){1, 3, 0, 2}, 4);
    expect_ids(rank(p, NULL, NULL, NULL), (int64_t[]){1, 0, 2, 3}, 4);
    p->plan.policy.order = order_named("expected-update");
    p->plan.policy.read_only_first = false;
    expect_ids(rank(p, count, NULL, NULL), (int64_t[]){1, 0, 2, 3}, 4);
    expect_ids(rank(p, NULL, score, NULL), (int64_t[]){1, 2, 0, 3}, 4);
    p->files.count = 0;
    CHECK_EQUAL(rank(p, NULL, NULL, NULL), 0);
}

static void
refusals(problem_t *p)
{
    int64_t count[] = {1, 1, 1, 1};
    double score[] = {1.0, 1.0, 1.0, 1.0};
    problem_init(p);
    for (p->plan.policy.order = -1; p->plan.policy.order <= pc_order_count;
         p->plan.policy.order++) {
        int order = p->plan.policy.order;
        bool known = order >= 0 && order < pc_order_count && !uses(order, PC_USES_OWN_KEY);
        CHECK_EQUAL(rank(p, count, NULL, NULL), known ? 4 : PC_ERROR_ARGUMENT);
    }
    p->plan.policy.order = order_named("expected-update");
    count[3] = INT64_MAX / 7;
    CHECK_EQUAL(rank(p, count, NULL, NULL), 4);
    count[3]++;
    CHECK_EQUAL(rank(p, count, NULL, NULL), PC_ERROR_ARGUMENT);
    count[3] = -1;
    CHECK_EQUAL(rank(p, count, NULL, NULL), PC_ERROR_ARGUMENT);
    for (int i = 0; i < 3; i++) {
        score[2] = ((double[]){NAN, HUGE_VAL, -1.0})[i];
        CHECK_EQUAL(rank(p, NULL, score, NULL), PC_ERROR_ARGUMENT);
    }
    p->plan.policy.order = order_named("key");
    p->plan.policy.key = p->key;
    CHECK_EQUAL(rank(p, NULL, NULL, NULL), 4);
    p->key[0] = NAN;
    CHECK_EQUAL(rank(p, NULL, NULL, NULL), PC_ERROR_ARGUMENT);
    p->size_bytes[0] = -1;
    p->plan.policy.order = 0;
    CHECK_EQUAL(rank(p, NULL, NULL, NULL), PC_ERROR_ARGUMENT);
    p->files.count = PC_FILES_MAX + 1;
    CHECK_EQUAL(rank(p, NULL, NULL, NULL), PC_ERROR_ARGUMENT);
}

static void
allocations(problem_t *p)
{
    problem_init(p);
    for (int64_t k = 1, failed = true; failed; k++) {
        allocations_fail_at(k);
        int64_t ranked = rank(p, NULL, NULL, NULL);
        failed = allocations_fail_at(0) >= k;
        CHECK_EQUAL(ranked, failed ? PC_ERROR_MEMORY : 4);
    }
}

static void
takes(void)
{
    static const int64_t cost[] = {4, 5, 9, 1, 0};
    static const struct {
        pc_budget_rule_t rule;
        int64_t left_bytes, left_after, carried;
        uint8_t taken[5];
    } cases[] = {
        {PC_BUDGET_WHOLE, 10, 1, 0, {1, 1, 0, 0, 0}}, {PC_BUDGET_CARRY, 10, 1, 1, {1, 1, 0, 0, 0}},
        {PC_BUDGET_SKIP, 10, 0, 0, {1, 1, 0, 1, 1}},  {PC_BUDGET_CARRY, 30, 11, 0, {1, 1, 1, 1, 1}},
        {PC_BUDGET_SKIP, 0, 0, 0, {0, 0, 0, 0, 1}},   {PC_BUDGET_WHOLE, 3, 3, 0, {0, 0, 0, 0, 0}},
    };
    uint8_t taken[5];
    int64_t left = 5, carried;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        left = cases[i].left_bytes;
        CHECK_EQUAL(pc_take(cost, 5, cases[i].rule, taken, &left, &carried), 0);
        CHECK_EQUAL(left, cases[i].left_after);
        CHECK_EQUAL(carried, cases[i].carried);
        CHECK(memcmp(taken, cases[i].taken, sizeof taken) == 0);
    }
    CHECK_EQUAL(pc_take(cost, 0, PC_BUDGET_CARRY, taken, &left, &carried), 0);
    CHECK_EQUAL(pc_take((int64_t[]){-1}, 1, PC_BUDGET_CARRY, taken, &left, &carried),
                PC_ERROR_ARGUMENT);
    CHECK_EQUAL(pc_take(cost, -1, PC_BUDGET_CARRY, taken, &left, &carried), PC_ERROR_ARGUMENT);
    CHECK_EQUAL(pc_take(cost, 5, (pc_budget_rule_t)-1, taken, &left, &carried), PC_ERROR_ARGUMENT);
    left = -1;
    CHECK_EQUAL(pc_take(cost, 5, PC_BUDGET_CARRY, taken, &left, &carried), PC_ERROR_ARGUMENT);
}

void
test_rank(void)
{
    static problem_t problem;
    answers(&problem);
    refusals(&problem);
    allocations(&problem);
    takes();
}
