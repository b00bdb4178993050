/*
 * precopy.h -- the whole public interface of the C core.
 *
 * The core simulates pre-copy migration at file granularity: files wait in the order of a rank, a
 * link sends them cycle by cycle, the application writes meanwhile, and what it writes waits again.
 * It knows no Python, has no globals, prints nothing and never exits.  The caller owns every array;
 * the core only borrows them for the length of a call.
 *
 * Units: sizes, budgets and limits are bytes (int64_t); a file's id is its index in the arrays.
 */
#ifndef PRECOPY_H
#define PRECOPY_H

#include <stdbool.h>
#include <stdint.h>

#include <numpy/random/bitgen.h>

/* Files are numbered in 32 bits inside the core; the last number means "none". */
#define PC_FILES_MAX ((int64_t)UINT32_MAX - 1)

/* In cycles: below this the newest cycle outweighs all others anyway. */
#define PC_HALF_LIFE_MIN 0.01

/* Negative: the call failed.  Otherwise: why the run stopped. */
typedef enum {
    PC_ERROR_INTERRUPTED = -5,
    PC_ERROR_TRACE = -4,
    PC_ERROR_SHARE = -3,
    PC_ERROR_ARGUMENT = -2,
    PC_ERROR_MEMORY = -1,
    PC_STOP_CYCLES = 0,    /* all cycles that were asked for have run */
    PC_STOP_THRESHOLD = 1, /* the final copy fits under the threshold */
    PC_STOP_ROUNDS = 2,    /* all rounds that were asked for are complete */
    PC_STOP_CLEAN = 3,     /* a round began with nothing to send */
} pc_status_t;

typedef enum { PC_SCHEDULE_CYCLES, PC_SCHEDULE_ROUNDS } pc_schedule_t;

typedef enum {
    PC_ORDER_SIZE_ASCENDING,
    PC_ORDER_SIZE_DESCENDING,
    PC_ORDER_UPDATE_FREQUENCY,
    PC_ORDER_EXPECTED_UPDATE,
    PC_ORDER_KEY, /* the caller's own key, one double per file */
} pc_order_t;

typedef enum {
    PC_FREQUENCY_COUNT,
    PC_FREQUENCY_LAST_CYCLE,
    PC_FREQUENCY_EXPONENTIAL
} pc_frequency_t;

typedef enum { PC_BUDGET_WHOLE, PC_BUDGET_CARRY, PC_BUDGET_SKIP } pc_budget_rule_t;

typedef enum { PC_DIRTY_ROUND_START, PC_DIRTY_SENT } pc_dirty_tracking_t;

typedef struct {
    int64_t count;
    const int64_t *size_bytes; /* [count], >= 0, sum within int64_t */
    const uint8_t *read_only;  /* [count], any value but 0 means yes */
    const uint32_t *by_size;   /* [count] of pc_rank_by_size(), or NULL: sort in every run */
} pc_files_t;

/* Everything that a run depends on besides its files and its writes. */
typedef struct {
    pc_schedule_t schedule;
    pc_order_t order;
    const double *key; /* [files], only for PC_ORDER_KEY */
    bool read_only_first;
    pc_frequency_t frequency;
    double half_life_cycles; /* only for PC_FREQUENCY_EXPONENTIAL */
    const int64_t *history;  /* [files] writes seen before the start, or NULL; with all writes of
                                the run they stay within int64_t */
    pc_budget_rule_t budget_rule;
    pc_dirty_tracking_t dirty_tracking;
    int64_t cycles;
    int64_t rounds;
    int64_t writes_per_cycle;
    int64_t budget_bytes;
    int64_t threshold_bytes;    /* negative: none */
    int (*poll)(void *context); /* called now and then; nonzero ends the run; may be NULL */
    void *poll_context;
} pc_plan_t;

/* One slot of an alias table: file[0] with probability accept / 2^64, otherwise file[1]. */
typedef struct {
    uint64_t accept;
    uint32_t file[2];
} pc_alias_t;

/* Where the writes come from: a trace, an alias table and a bit generator, or nowhere. */
typedef struct {
    const int64_t *trace; /* [trace_count] file ids */
    int64_t trace_count;
    const pc_alias_t *alias; /* [alias_count] */
    int64_t alias_count;
    bitgen_t *bitgen;
} pc_source_t;

/* What a run leaves behind; every array holds plan.cycles entries. */
typedef struct {
    int64_t *final_copy_bytes;
    int64_t *precopy_bytes;
    int64_t *resent_bytes;
    int64_t *rounds_completed; /* only written by PC_SCHEDULE_ROUNDS */
    int64_t cycles_run;
} pc_record_t;

/* Run one simulation.  MODEL: "One cycle" and "Classic rounds". */
int
pc_simulate(const pc_files_t *files, const pc_plan_t *plan, const pc_source_t *source,
            pc_record_t *record);

/* The ids by size, then by id. */
int
pc_rank_by_size(const int64_t *size_bytes, int64_t count, uint32_t *id_at);

/* Build the alias table of the files with a positive share; returns its slots, or an error. */
int64_t
pc_alias_build(const double *share, int64_t count, pc_alias_t *table);

/* Draw the next `count` writes, one 64-bit draw each. */
void
pc_alias_draw(const pc_alias_t *table, int64_t slots, bitgen_t *bitgen, int64_t count,
              int64_t *file_id);

/* The index of the first entry of a trace that is no read-write file, or -1. */
int64_t
pc_trace_check(const int64_t *trace, int64_t count, const pc_files_t *files);

/* One line for a person, for any value of pc_status_t. */
const char *
pc_status_message(int status);

#endif
