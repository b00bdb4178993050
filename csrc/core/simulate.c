/*
 * simulate.c -- a run: the cycles of the model, whatever the schedule and the order.
 *
 * One cycle is send, write, settle, record, in this order (rules cycle.*); schedules and orders differ only in the
 * kind of pending set.  Nothing is allocated inside the loop.
 */
#include "budget.h"
#include "pending.h"
#include "writes.h"

#include <math.h>
#include <stdlib.h>

/* Work (writes and files looked at) between two polls: some milliseconds. */
#define POLL_INTERVAL 1000000

typedef struct {
    pc_budget_t budget;
    pc_pending_t pending;
    pc_writes_t writes;
    uint32_t place[PC_WRITES_BLOCK];
    int64_t work, polled_at; /* at a step a nanosecond, 2^63 steps take 292 years */
} run_t;

static bool
known(int64_t value, int64_t last)
{
    return value >= 0 && value <= last;
}

typedef struct {
    int64_t total_bytes, smallest_bytes, largest_bytes, most_history;
} totals_t;

/* What a run must know of its files as a whole; false if sizes or history are not sound. */
static bool
add_up(totals_t *totals, const pc_files_t *files, const int64_t *history)
{
    *totals = (totals_t){.smallest_bytes = INT64_MAX};
    if (files->count < 1 || files->count > PC_FILES_MAX)
        return false;
    for (int64_t i = 0; i < files->count; i++) {
        int64_t size = files->size_bytes[i];
        if (size < 0 || size > INT64_MAX - totals->total_bytes)
            return false;
        totals->total_bytes += size;
        totals->smallest_bytes = size < totals->smallest_bytes ? size : totals->smallest_bytes;
        totals->largest_bytes = size > totals->largest_bytes ? size : totals->largest_bytes;
    }
    for (int64_t i = 0; history && i < files->count; i++) {
        if (history[i] < 0)
            return false;
        totals->most_history =
            history[i] > totals->most_history ? history[i] : totals->most_history;
    }
    return true;
}

/* Whether no update count can leave int64, whatever is written; cycles times writes does not. */
static bool
counts_fit(const totals_t *totals, const pc_plan_t *plan)
{
    return totals->most_history <= INT64_MAX - plan->cycles * plan->writes_per_cycle;
}

/* Whether update counts times sizes stay within 64 bits: they are unsigned, rounding is no harm. */
static bool
products_fit(const totals_t *totals, const pc_plan_t *plan)
{
    double writes = (double)plan->cycles * (double)plan->writes_per_cycle;
    return ((double)totals->most_history + writes) * (double)totals->largest_bytes < 0x1p63;
}

/* Python explains bad arguments; this keeps memory and arithmetic safe whoever calls. */
static bool
sound(const totals_t *totals, const pc_plan_t *plan)
{
    if (!known(plan->schedule, PC_SCHEDULE_ROUNDS) || !pc_policy_sound(&plan->policy) ||
        !known(plan->frequency, PC_FREQUENCY_EXPONENTIAL) || !known(plan->budget, PC_BUDGET_SKIP) ||
        !known(plan->dirty_tracking, PC_DIRTY_SENT))
        return false;
    if (plan->cycles < 1 || plan->rounds < 1 || plan->writes_per_cycle < 1 ||
        plan->budget_bytes < 0 || plan->cycles > INT64_MAX / plan->writes_per_cycle ||
        (plan->budget_bytes > 0 && plan->cycles > INT64_MAX / plan->budget_bytes))
        return false;
    if (!counts_fit(totals, plan))
        return false;
    if (plan->budget == PC_BUDGET_CARRY && plan->budget_bytes > INT64_MAX - totals->total_bytes)
        return false;
    unsigned uses = pc_orders[plan->policy.order].uses;
    if (uses & PC_USES_SIZE && uses & PC_USES_UPDATES && !products_fit(totals, plan))
        return false;
    return plan->frequency != PC_FREQUENCY_EXPONENTIAL ||
           (plan->half_life_cycles >= PC_HALF_LIFE_MIN && isfinite(plan->half_life_cycles));
}

static int
run_init(run_t *run, const pc_files_t *files, const pc_plan_t *plan, const pc_source_t *source)
{
    totals_t totals;
    if (!add_up(&totals, files, plan->history) || !sound(&totals, plan))
        return PC_ERROR_ARGUMENT;
    if (source->trace_count > 0 && source->trace_count < plan->cycles * plan->writes_per_cycle)
        return PC_ERROR_TRACE;
    int status = pc_budget_init(&run->budget, plan, files->count, totals.smallest_bytes);
    if (status >= 0)
        status = pc_pending_init(&run->pending, files, plan, totals.total_bytes);
    if (status >= 0)
        status = pc_writes_init(&run->writes, source, files, run->pending.place_of);
    return status;
}

static void
run_free(run_t *run)
{
    pc_pending_free(&run->pending);
    pc_budget_free(&run->budget);
}

static bool
interrupted(run_t *run, const pc_plan_t *plan)
{
    if (!plan->poll || run->work + run->budget.examined - run->polled_at < POLL_INTERVAL)
        return false;
    run->polled_at = run->work + run->budget.examined;
    return plan->poll(plan->poll_context) != 0;
}

static int
make_writes(run_t *run, const pc_plan_t *plan)
{
    int64_t left = pc_writes_any(&run->writes) ? plan->writes_per_cycle : 0;
    while (left > 0) {
        int64_t count = left < PC_WRITES_BLOCK ? left : PC_WRITES_BLOCK;
        pc_writes_next(&run->writes, count, run->place);
        run->pending.kind->write(&run->pending, run->place, count);
        run->work += count;
        left -= count;
        if (interrupted(run, plan))
            return PC_ERROR_INTERRUPTED;
    }
    run->pending.kind->settle(&run->pending);
    return 0;
}

/* Why the run is over after the cycle that has just been recorded, or -1 if it goes on. */
static int
stop_reason(const run_t *run, const pc_plan_t *plan, const pc_record_t *record)
{
    if (plan->threshold_bytes >= 0 && run->pending.bytes <= plan->threshold_bytes)
        return PC_STOP_THRESHOLD;
    if (plan->schedule == PC_SCHEDULE_ROUNDS && run->pending.rounds_completed == plan->rounds)
        return PC_STOP_ROUNDS;
    return record->cycles_run == plan->cycles ? PC_STOP_CYCLES : -1;
}

static int
run_cycles(run_t *run, const pc_plan_t *plan, pc_record_t *record)
{
    for (;;) {
        pc_budget_begin_cycle(&run->budget);
        int status = run->pending.kind->send(&run->pending, &run->budget);
        if (status != PC_STOP_CYCLES)
            return status;
        status = make_writes(run, plan);
        if (status < 0)
            return status;
        int64_t cycle = record->cycles_run++;
        record->final_copy_bytes[cycle] = run->pending.bytes;
        record->precopy_bytes[cycle] = run->budget.sent_bytes;
        record->resent_bytes[cycle] = run->budget.resent_bytes;
        if (plan->schedule == PC_SCHEDULE_ROUNDS)
            record->rounds_completed[cycle] = run->pending.rounds_completed;
        status = stop_reason(run, plan, record);
        if (status >= 0)
            return status;
        run->work++;
        if (interrupted(run, plan))
            return PC_ERROR_INTERRUPTED;
    }
}

int
pc_simulate(const pc_files_t *files, const pc_plan_t *plan, const pc_source_t *source,
            pc_record_t *record)
{
    record->cycles_run = 0;
    run_t *run = calloc(1, sizeof *run);
    if (!run)
        return PC_ERROR_MEMORY;
    int status = run_init(run, files, plan, source);
    if (status >= 0)
        status = run_cycles(run, plan, record);
    run_free(run);
    free(run);
    return status;
}
