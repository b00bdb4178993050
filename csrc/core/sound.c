/*
 * sound.c -- whether a run may be made: see sound.h.
 */
#include "sound.h"
#include "ledger.h"
#include "ranking.h"

#include <math.h>

static bool
known(int64_t value, int64_t last)
{
    return value >= 0 && value <= last;
}

/* What a run must know of its files as a whole; false if sizes or history are not sound. */
static bool
add_up(pc_totals_t *totals, const pc_files_t *files, const int64_t *history)
{
    *totals = (pc_totals_t){.smallest_bytes = INT64_MAX};
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

/* The same of a recording; false if no sum of sizes or updates is sure to fit, or the plan is for none. */
static bool
add_up_replay(pc_totals_t *totals, const pc_files_t *files, const pc_recording_totals_t *recorded,
              const pc_recording_t *recording, const pc_plan_t *plan)
{
    int64_t updates = pc_recording_updates(recorded, recording, plan);
    if (updates < 0 || plan->schedule != PC_SCHEDULE_CYCLES || plan->max_sends != 0 ||
        plan->max_update_rate != 0.0 || plan->frequency == PC_FREQUENCY_ORACLE ||
        recorded->largest_bytes > INT64_MAX / files->count)
        return false;
    totals->largest_bytes = recorded->largest_bytes;
    totals->total_bytes = recorded->largest_bytes * files->count;
    totals->smallest_bytes = 0;
    totals->updates = updates;
    return true;
}

/* Whether update counts times sizes stay within 64 bits: they are unsigned, rounding is no harm. */
static bool
products_fit(const pc_totals_t *totals)
{
    double most = (double)totals->most_history + (double)totals->updates;
    return most * (double)totals->largest_bytes < 0x1p63;
}

static bool
sound(const pc_totals_t *totals, const pc_plan_t *plan)
{
    if (!known(plan->schedule, PC_SCHEDULE_ROUNDS) || !pc_policy_sound(&plan->policy) ||
        !known(plan->frequency, PC_FREQUENCY_ORACLE) || !known(plan->budget, PC_BUDGET_SKIP) ||
        !known(plan->dirty_tracking, PC_DIRTY_SENT))
        return false;
    if (plan->cycles < 1 || plan->rounds < 1 || plan->budget_bytes < 0 ||
        (plan->budget_bytes > 0 && plan->cycles > INT64_MAX / plan->budget_bytes))
        return false;
    if (totals->most_history > INT64_MAX - totals->updates)
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
    if (uses & PC_USES_SIZE && uses & PC_USES_UPDATES && !products_fit(totals))
        return false;
    return plan->frequency != PC_FREQUENCY_EXPONENTIAL ||
           (plan->half_life_cycles >= PC_HALF_LIFE_MIN && isfinite(plan->half_life_cycles));
}

bool
pc_plan_sound(const pc_plan_t *plan, const pc_files_t *files, const pc_source_t *source,
              const pc_recording_totals_t *recorded, pc_totals_t *totals)
{
    bool fits = add_up(totals, files, plan->history);
    if (fits && source->recording)
        fits = add_up_replay(totals, files, recorded, source->recording, plan);
    else if (fits)
        fits = plan->writes_per_cycle > 0 && plan->cycles > 0 && !plan->cycle_end &&
               !__builtin_mul_overflow(plan->cycles, plan->writes_per_cycle, &totals->updates);
    bool oracle = plan->frequency == PC_FREQUENCY_ORACLE;
    return fits && sound(totals, plan) && !(oracle && source->phase_count < 1);
}
