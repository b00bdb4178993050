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
#include "pending_replay.h"
#include "replay.h"
#include "sound.h"
#include "writes.h"

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
    pc_cursor_t cursor;       /* in a recording */
    int64_t writes_per_cycle; /* 0 if nothing is ever written */
    int64_t left;             /* writes, or rows, to come in this cycle */
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

static int
run_init(run_t *run, const pc_files_t *files, const pc_source_t *source,
         const pc_recording_totals_t *recorded)
{
    const pc_plan_t *plan = run->plan;
    pc_totals_t totals;
    if (!pc_plan_sound(plan, files, source, recorded, &totals))
        return PC_ERROR_ARGUMENT;
    if (source->trace_count > 0 && source->trace_count < plan->cycles * plan->writes_per_cycle)
        return PC_ERROR_TRACE;
    bool any = source->alias_count > 0 || source->trace_count > 0;
    run->writes_per_cycle = any ? plan->writes_per_cycle : 0;
    run->cursor = (pc_cursor_t){.recording = source->recording, .row = plan->first_row};
    int64_t least = totals.smallest_bytes;
    if (plan->cost == PC_COST_DELTA && plan->overhead_bytes < least)
        least = plan->overhead_bytes;
    int status = pc_budget_init(&run->budget, plan, files->count, least);
    if (status >= 0)
        status = pc_pending_init(&run->pending, files, source, plan, totals.total_bytes);
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
    if (run->cursor.recording) {
        int64_t c = run->record->cycles_run;
        run->left = run->plan->cycle_end[c] - (c > 0 ? run->plan->cycle_end[c - 1] : 0);
    }
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
    if (run->cursor.recording)
        record->present_bytes[cycle] = run->pending.present_bytes;
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

/* All writes of a cycle are made: record it, and begin the next one, if there is one. */
static void
next_cycle(group_t *self, run_t *run)
{
    end_cycle(run);
    if (!run->over)
        begin_cycle(self, run);
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
        if (run->left == 0)
            next_cycle(self, run);
        if (interrupted(self))
            return PC_ERROR_INTERRUPTED;
    } while (!run->over && (count > 0 || run->left == 0));
    return 0;
}

/* Make a whole run on a recording, which it shares with others, but not the place where it is. */
static int
replay(group_t *self, run_t *run)
{
    while (!run->over) {
        const pc_rows_t *rows;
        int64_t most = run->left < POLL_INTERVAL ? run->left : POLL_INTERVAL, first;
        int64_t part = pc_cursor_next(&run->cursor, most, &rows, &first);
        pc_replay_rows(&run->pending, rows, first, part);
        self->work += part;
        run->left -= part;
        if (run->left == 0)
            next_cycle(self, run);
        if (interrupted(self))
            return PC_ERROR_INTERRUPTED;
    }
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
    for (int64_t i = 0; i < self->count; i++) {
        begin_cycle(self, &self->run[i]);
        int status = self->run[i].cursor.recording ? replay(self, &self->run[i]) : 0;
        if (status < 0)
            return status;
    }
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
    pc_recording_totals_t recorded;
    if (files->count < 1 || files->count > PC_FILES_MAX)
        return PC_ERROR_ARGUMENT;
    self->run = calloc((size_t)self->count, sizeof *self->run);
    self->file = pc_allocate(self->block, sizeof *self->file);
    int status = self->run && self->file ? 0 : PC_ERROR_MEMORY;
    if (status >= 0 && source->recording)
        status = pc_recording_add_up(&recorded, source->recording, files);
    for (int64_t i = 0; i < self->count && status >= 0; i++) {
        self->run[i].plan = &plan[i];
        self->run[i].record = &record[i];
        status = run_init(&self->run[i], files, source, &recorded);
    }
    return status < 0 || source->recording ? status : pc_writes_init(&self->writes, source, files);
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
