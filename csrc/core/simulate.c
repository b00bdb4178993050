/*
 * simulate.c -- runs: the cycles of the model, whatever the schedule and the order.
 *
 * One cycle is send, write, settle, record, in this order (rules cycle.*); schedules and orders differ only in the
 * kind of pending set.  Runs on the same writes share the drawing: a block of writes is drawn, and
 * each run advances until it has used up the block.  So between two blocks a run that goes on is
 * in the middle of a cycle's writes.  Nothing is allocated once the runs have begun.
 */
#include "budget.h"
#include "memory.h"
#include "pending.h"
#include "writes.h"

#include <math.h>
#include <stdlib.h>

/* Work (writes and files looked at) between two polls: some milliseconds. */
#define POLL_INTERVAL 1000000

/*
 * Writes that several runs draw at a time, from four per file on: each run in turn brings its files
 * back into the cache, which must be little beside the writes that it makes then.
 */
#define SHARED_LEAST (1 << 13)
#define SHARED_MOST (1 << 20)

typedef struct {
    const pc_plan_t *plan;
    pc_record_t *record;
    pc_budget_t budget;
    pc_pending_t pending;
    int64_t writes_per_cycle; /* 0 if nothing is ever written */
    int64_t left;             /* writes to come in this cycle */
    bool over;
} run_t;

typedef struct {
    run_t *run;
    int64_t count;
    pc_writes_t writes;
    uint32_t *file; /* the block that has been drawn */
    int64_t block;
    const pc_poll_t *poll;
    int64_t work, polled_at; /* at a step a nanosecond, 2^63 steps take 292 years */
    uint32_t place[PC_WRITES_BLOCK];
} group_t;

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
        !known(plan->frequency, PC_FREQUENCY_ORACLE) || !known(plan->budget, PC_BUDGET_SKIP) ||
        !known(plan->dirty_tracking, PC_DIRTY_SENT))
        return false;
    if (plan->cycles < 1 || plan->rounds < 1 || plan->writes_per_cycle < 1 ||
        plan->budget_bytes < 0 || plan->cycles > INT64_MAX / plan->writes_per_cycle ||
        (plan->budget_bytes > 0 && plan->cycles > INT64_MAX / plan->budget_bytes))
        return false;
    if (!counts_fit(totals, plan))
        return false;
    if (!known(plan->cost, PC_COST_DELTA) || plan->write_bytes < 0 || plan->overhead_bytes < 0)
        return false;
    bool rounds = plan->schedule == PC_SCHEDULE_ROUNDS;
    if (plan->max_sends < 0 || !(plan->max_update_rate >= 0.0) ||
        (rounds && pc_ledger_wanted(plan)))
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
run_init(run_t *run, const pc_files_t *files, const pc_source_t *source)
{
    const pc_plan_t *plan = run->plan;
    totals_t totals;
    if (!add_up(&totals, files, plan->history) || !sound(&totals, plan))
        return PC_ERROR_ARGUMENT;
    if (source->trace_count > 0 && source->trace_count < plan->cycles * plan->writes_per_cycle)
        return PC_ERROR_TRACE;
    if (plan->frequency == PC_FREQUENCY_ORACLE && source->phase_count < 1)
        return PC_ERROR_ARGUMENT;
    bool any = source->alias_count > 0 || source->trace_count > 0;
    run->writes_per_cycle = any ? plan->writes_per_cycle : 0;
    int64_t least = totals.smallest_bytes;
    if (plan->cost == PC_COST_DELTA && plan->overhead_bytes < least)
        least = plan->overhead_bytes;
    int status = pc_budget_init(&run->budget, plan, files->count, least);
    if (status >= 0)
        status = pc_pending_init(&run->pending, files, plan, totals.total_bytes);
    run->pending.source = source;
    if (status >= 0 && run->pending.ledger)
        run->pending.ledger->trace_bytes = source->trace_bytes;
    return status;
}

static void
run_free(run_t *run)
{
    pc_pending_free(&run->pending);
    pc_budget_free(&run->budget);
}

static void
run_stop(run_t *run, int why)
{
    run->record->stop = (pc_status_t)why;
    run->over = true;
    run_free(run);
}

static void
begin_cycle(group_t *self, run_t *run)
{
    int64_t examined = run->budget.examined;
    pc_budget_begin_cycle(&run->budget);
    int status = run->pending.kind->send(&run->pending, &run->budget);
    self->work += 1 + run->budget.examined - examined;
    run->left = run->writes_per_cycle;
    if (status != PC_STOP_CYCLES)
        run_stop(run, status);
}

/* Why the run is over after the cycle that has just been recorded, or -1 if it goes on. */
static int
stop_reason(const run_t *run)
{
    const pc_plan_t *plan = run->plan;
    if (plan->threshold_bytes >= 0 && pc_pending_final_copy(&run->pending) <= plan->threshold_bytes)
        return PC_STOP_THRESHOLD;
    if (plan->schedule == PC_SCHEDULE_ROUNDS && run->pending.rounds_completed == plan->rounds)
        return PC_STOP_ROUNDS;
    return run->record->cycles_run == plan->cycles ? PC_STOP_CYCLES : -1;
}

static void
end_cycle(run_t *run)
{
    pc_record_t *record = run->record;
    run->pending.kind->settle(&run->pending);
    int64_t cycle = record->cycles_run++;
    record->final_copy_bytes[cycle] = pc_pending_final_copy(&run->pending);
    record->precopy_bytes[cycle] = run->budget.sent_bytes;
    record->resent_bytes[cycle] = run->budget.resent_bytes;
    if (run->plan->schedule == PC_SCHEDULE_ROUNDS)
        record->rounds_completed[cycle] = run->pending.rounds_completed;
    int why = stop_reason(run);
    if (why >= 0)
        run_stop(run, why);
}

static bool
interrupted(group_t *self)
{
    if (!self->poll || self->work - self->polled_at < POLL_INTERVAL)
        return false;
    self->polled_at = self->work;
    return self->poll->ask(self->poll->context) != 0;
}

/* Let a run make `count` writes, or end before. */
static int
advance(group_t *self, run_t *run, const uint32_t *file, int64_t count)
{
    do {
        int64_t part = run->left < count ? run->left : count;
        part = part < PC_WRITES_BLOCK ? part : PC_WRITES_BLOCK;
        const uint32_t *place = pc_writes_places(file, part, run->pending.place_of, self->place);
        if (run->pending.ledger)
            pc_ledger_write(run->pending.ledger, place, part);
        run->pending.kind->write(&run->pending, place, part);
        self->work += part;
        file += part;
        count -= part;
        run->left -= part;
        if (run->left == 0) {
            end_cycle(run);
            if (!run->over)
                begin_cycle(self, run);
        }
        if (interrupted(self))
            return PC_ERROR_INTERRUPTED;
    } while (!run->over && (count > 0 || run->left == 0));
    return 0;
}

/*
 * How many writes to draw now, or -1 if all runs are over.  A single run is sure to make them all,
 * so its generator ends where the run does; several runs may leave some of the last block.
 */
static int64_t
wanted(const group_t *self)
{
    int64_t most = -1;
    for (int64_t i = 0; i < self->count; i++) {
        const run_t *run = &self->run[i];
        int64_t behind = run->plan->cycles - run->record->cycles_run - 1;
        int64_t count = run->left + (self->count > 1 ? behind * run->writes_per_cycle : 0);
        most = !run->over && count > most ? count : most;
    }
    return most < self->block ? most : self->block;
}

static int
run_all(group_t *self)
{
    int64_t count;
    for (int64_t i = 0; i < self->count; i++)
        begin_cycle(self, &self->run[i]);
    while ((count = wanted(self)) >= 0) {
        pc_writes_next(&self->writes, count, self->file);
        for (int64_t i = 0; i < self->count; i++) {
            int status = self->run[i].over ? 0 : advance(self, &self->run[i], self->file, count);
            if (status < 0)
                return status;
        }
    }
    return 0;
}

static int
group_init(group_t *self, const pc_files_t *files, const pc_source_t *source, const pc_plan_t *plan,
           pc_record_t *record)
{
    int64_t shared = 4 * files->count < SHARED_MOST ? 4 * files->count : SHARED_MOST;
    shared = shared > SHARED_LEAST ? shared : SHARED_LEAST;
    self->block = self->count > 1 ? shared : PC_WRITES_BLOCK;
    self->run = calloc((size_t)self->count, sizeof *self->run);
    self->file = pc_allocate(self->block, sizeof *self->file);
    int status = self->run && self->file ? 0 : PC_ERROR_MEMORY;
    for (int64_t i = 0; i < self->count && status >= 0; i++) {
        self->run[i].plan = &plan[i];
        self->run[i].record = &record[i];
        status = run_init(&self->run[i], files, source);
    }
    return status < 0 ? status : pc_writes_init(&self->writes, source, files);
}

int
pc_simulate(const pc_files_t *files, const pc_source_t *source, const pc_plan_t *plan,
            pc_record_t *record, int64_t count, const pc_poll_t *poll)
{
    if (count < 1)
        return PC_ERROR_ARGUMENT;
    for (int64_t i = 0; i < count; i++)
        record[i].cycles_run = 0;
    group_t *self = calloc(1, sizeof *self);
    if (!self)
        return PC_ERROR_MEMORY;
    self->count = count;
    self->poll = poll;
    int status = group_init(self, files, source, plan, record);
    if (status >= 0)
        status = run_all(self);
    for (int64_t i = 0; self->run && i < count; i++) {
        if (!self->run[i].over)
            run_free(&self->run[i]);
    }
    free(self->run);
    free(self->file);
    free(self);
    return status;
}
