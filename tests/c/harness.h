/*
 * harness.h -- what the tests of the C core share: checks, a bit generator, and a problem to solve.
 *
 * A failed check prints where and what, and the program goes on; main() returns nonzero in the end.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include "precopy.h"

#define FILES_MOST 5000
#define CYCLES_MOST 40
#define WRITES_MOST 400
#define ROWS_MOST 2000

#define CHECK(condition) check((condition), #condition, __FILE__, __LINE__)
#define CHECK_EQUAL(a, b) check_equal((int64_t)(a), (int64_t)(b), #a " == " #b, __FILE__, __LINE__)

void
check(bool condition, const char *text, const char *file, int line);

void
check_equal(int64_t a, int64_t b, const char *text, const char *file, int line);

/* Let the k-th allocation from now on fail, k >= 1; 0: none. Returns how many the last k has seen.
 */
int64_t
allocations_fail_at(int64_t k);

/* splitmix64 behind NumPy's interface; counts its draws. */
typedef struct {
    uint64_t state;
    int64_t draws;
    bitgen_t bitgen;
} random_t;

void
random_init(random_t *self, uint64_t seed);

uint64_t
random_next(random_t *self);

/* One of 0 ... below - 1. */
int64_t
random_below(random_t *self, int64_t below);

/* A run and room for all that it needs. */
typedef struct {
    pc_files_t files;
    pc_plan_t plan;
    pc_source_t source;
    pc_record_t record;
    const pc_poll_t *poll;
    random_t random; /* behind source.bitgen */
    int64_t size_bytes[FILES_MOST];
    uint8_t read_only[FILES_MOST];
    uint32_t by_size[FILES_MOST];
    double key[FILES_MOST];
    int64_t history[FILES_MOST];
    pc_alias_t alias[FILES_MOST];
    int64_t trace[CYCLES_MOST * WRITES_MOST];
    int64_t curve[5][CYCLES_MOST];
    pc_recording_t recording;
    uint8_t present[FILES_MOST];
    int64_t column[2][5][ROWS_MOST]; /* of rows, and of those that lead back */
    int64_t cycle_end[CYCLES_MOST];
} problem_t;

/* Four files, one of them read-only, five cycles of six drawn writes, a budget of 10 bytes. */
void
problem_init(problem_t *self);

/* Spread the writes of a problem evenly over its read-write files. */
void
problem_uniform(problem_t *self);

/* Everything drawn from `random`, within the problem's room. */
void
problem_draw(problem_t *self, random_t *random);

/* Only the plan drawn anew, but for its history. */
void
problem_draw_plan(problem_t *self, random_t *random);

/* A recording in place of the writes, with rows drawn, and a plan for it. */
void
problem_record(problem_t *self, random_t *random);

/* Why the run stopped, or an error. */
int
problem_run(problem_t *self);

/* Whether the key of an order uses this. */
bool
uses(int order, unsigned what);

int
order_named(const char *name);

void
test_arguments(void);

void
test_allocations(void);

void
test_invariants(void);

void
test_interrupts(void);

void
test_writes(void);

void
test_rank(void);

void
test_shared(void);

void
test_replay(void);

#endif
