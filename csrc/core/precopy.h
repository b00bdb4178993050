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
    PC_FREQUENCY_COUNT,
    PC_FREQUENCY_LAST_CYCLE,
    PC_FREQUENCY_EXPONENTIAL,
    PC_FREQUENCY_ORACLE /* the true shares of the writes */
} pc_frequency_t;

/* What the key of an order is made of.  One that uses the updates, or the cycle of the last write in
 * their place, is dynamic: it moves with every write; all others are static. */
typedef enum {
    PC_USES_SIZE = 1,
    PC_USES_UPDATES = 2,
    PC_USES_OWN_KEY = 4,
    PC_USES_LAST_WRITE = 8,
} pc_uses_t;

/* What is known of one file when it is ranked. */
typedef struct {
    uint64_t size_bytes;
    bool scored;    /* its updates are a score, not a count */
    uint64_t count; /* updates, or the cycle of the last write */
    double score;   /* updates, exponentially weighted */
    double own_key; /* the caller's */
} pc_terms_t;

/* An order; all there are stand in one table, in orders.c. */
typedef struct {
    const char *name;                         /* as users write it */
    unsigned uses;                            /* pc_uses_t, or-ed */
    uint64_t (*key)(const pc_terms_t *terms); /* smaller goes first */
} pc_order_t;

extern const pc_order_t pc_orders[];
extern const int pc_order_count;

typedef enum { PC_BUDGET_WHOLE, PC_BUDGET_CARRY, PC_BUDGET_SKIP } pc_budget_rule_t;

/* What a pending file costs on the link: its size, or what was written since it was sent. */
typedef enum { PC_COST_WHOLE, PC_COST_DELTA } pc_cost_t;

typedef enum { PC_DIRTY_ROUND_START, PC_DIRTY_SENT } pc_dirty_tracking_t;

typedef struct {
    int64_t count;
    const int64_t *size_bytes; /* [count], >= 0, sum within int64_t */
    const uint8_t *read_only;  /* [count], any value but 0 means yes */
    const uint32_t *by_size;   /* [count] of pc_rank_by_size(), or NULL: sort in every run */
} pc_files_t;

/* What ranks the files. */
typedef struct {
    int order;         /* index into pc_orders */
    const double *key; /* [files], for an order that uses the caller's own key */
    bool read_only_first;
} pc_policy_t;

/* How often each file was updated, as it stands when files are ranked: one of the two, or neither,
 * which means never. */
typedef struct {
    const int64_t *count; /* [files], >= 0 */
    const double *score;  /* [files], >= 0, finite */
} pc_updates_t;

/* Everything that a run depends on besides its files and its writes. */
typedef struct {
    pc_schedule_t schedule;
    pc_policy_t policy;
    pc_frequency_t frequency;
    double half_life_cycles; /* only for PC_FREQUENCY_EXPONENTIAL */
    const int64_t *history;  /* [files] writes seen before the start, or NULL; with all writes of
                                the run they stay within int64_t */
    int64_t max_sends;       /* of each file; 0: no limit; only for PC_SCHEDULE_CYCLES, as is: */
    double max_update_rate;  /* writes per cycle above which a file is held out; 0: no limit */
    pc_cost_t cost;          /* PC_COST_DELTA only for PC_SCHEDULE_CYCLES, with: */
    int64_t write_bytes;     /* of each write, where the trace does not say */
    int64_t overhead_bytes;  /* of each delta */
    pc_budget_rule_t budget;
    pc_dirty_tracking_t dirty_tracking;
    int64_t cycles;
    int64_t rounds;
    int64_t writes_per_cycle;
    int64_t budget_bytes;
    int64_t threshold_bytes; /* negative: none */
    /* Only on a recording, which has no writes_per_cycle: */
    int64_t first_row; /* where the replay begins; the state before it is what rows below left */
    const int64_t *cycle_end; /* [cycles] rows from there to each cycle's end, all laps; or NULL */
} pc_plan_t;

/* One slot of an alias table: file[0] with probability accept / 2^64, otherwise file[1]. */
typedef struct {
    uint64_t accept;
    uint32_t file[2];
} pc_alias_t;

/* From which write on writes are drawn from a table, and what shares that gives to the files. */
typedef struct {
    int64_t first_write; /* 0 for the first phase, then ascending */
    const pc_alias_t *alias;
    int64_t alias_count;
    const double *share; /* [files], >= 0, finite; for PC_FREQUENCY_ORACLE */
} pc_phase_t;

/* Rows of a trace in time, in its order; of times the core knows nothing.  Rules replay.*. */
typedef struct {
    int64_t count;
    const int64_t *file_id;     /* [count] */
    const int64_t *updates;     /* [count] how many the row stands for, >= 0 */
    const int64_t *write_bytes; /* [count] of them all, >= 0 */
    const int64_t *size_bytes;  /* [count] of the file afterwards, or -1: it is gone */
    const int64_t *from_id;     /* [count] the name that the file had before, or -1; not its own */
} pc_rows_t;

/* A recording, which is replayed again and again: what happened, then what leads back to its begin. */
typedef struct {
    const uint8_t *present; /* [files] nonzero where a file exists at the begin */
    pc_rows_t rows, back;
} pc_recording_t;

/* Where the writes come from: a trace, an alias table and a bit generator, a recording, or nowhere. */
typedef struct {
    const int64_t *trace; /* [trace_count] file ids */
    int64_t trace_count;
    const int64_t *trace_bytes; /* [trace_count] how much each write writes, >= 0, or NULL */
    const pc_alias_t *alias;    /* [alias_count] */
    int64_t alias_count;
    const pc_phase_t *phase; /* [phase_count], of which the first has the table above; or none */
    int64_t phase_count;
    bitgen_t *bitgen;
    const pc_recording_t *recording; /* or NULL; it takes the place of all the others */
} pc_source_t;

/* What a run leaves behind; every array holds plan.cycles entries. */
typedef struct {
    int64_t *final_copy_bytes;
    int64_t *precopy_bytes;
    int64_t *resent_bytes;
    int64_t *rounds_completed; /* only written by PC_SCHEDULE_ROUNDS */
    int64_t *present_bytes;    /* of all files that exist; only written on a recording */
    int64_t cycles_run;
    pc_status_t stop; /* why it ended */
} pc_record_t;

/* Asked now and then while runs go on. */
typedef struct {
    int (*ask)(void *context); /* nonzero ends the runs */
    void *context;
} pc_poll_t;

/*
 * Simulate `count` >= 1 runs, each with its plan and its record, all on the same writes.  A single
 * run takes as many draws from the generator as it makes writes; where several share them, it ends
 * somewhere behind.  Returns 0, or an error, which concerns them all.  `poll` may be NULL.  Rules
 * cycle.*, rounds.* of docs/model.md.
 */
int
pc_simulate(const pc_files_t *files, const pc_source_t *source, const pc_plan_t *plan,
            pc_record_t *record, int64_t count, const pc_poll_t *poll);

/*
 * Rank the pending files (`pending`: [count], nonzero where pending; NULL: all): read-only first if
 * the policy says so, then by the order's key, then by id.  Writes the ids, as many as are pending,
 * and returns how many, or an error.  Rule rank.
 */
int64_t
pc_rank(const pc_files_t *files, const pc_policy_t *policy, const pc_updates_t *updates,
        const uint8_t *pending, int64_t *id);

/*
 * Take what goes now, given the costs of the pending files in rank order (>= 0): sets taken[i] to 0
 * or 1.  `left_bytes` is what this cycle may send, all that was carried over included, and becomes
 * what is left of it; `carried_bytes` becomes what the next cycle may send on top of its own.  Rule take.
 */
int
pc_take(const int64_t *cost_bytes, int64_t count, pc_budget_rule_t rule, uint8_t *taken,
        int64_t *left_bytes, int64_t *carried_bytes);

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

/*
 * The index of the first row that is not sound, or -1.  It names a file that is none or is read-only,
 * or as its own former name, or one that goes and is renamed at once, or a number out of its range.
 */
int64_t
pc_rows_check(const pc_rows_t *rows, const pc_files_t *files);

/* The size of each file ([files.count]) before row `row` of a recording, -1 where none exists. */
int
pc_recording_sizes(const pc_recording_t *recording, const pc_files_t *files, int64_t row,
                   int64_t *size_bytes);

/* One line for a person, for any value of pc_status_t. */
const char *
pc_status_message(int status);

#endif
