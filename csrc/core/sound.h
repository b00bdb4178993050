/*
 * sound.h -- whether a run may be made: numbers in their ranges, and no sum that leaves int64.
 *
 * Python explains bad arguments; this keeps memory and arithmetic safe whoever calls.
 */
#ifndef PC_SOUND_H
#define PC_SOUND_H

#include "replay.h"

/* What a run must know of its files as a whole. */
typedef struct {
    int64_t total_bytes; /* of all files at any time, at most */
    int64_t smallest_bytes, largest_bytes;
    int64_t most_history;
    int64_t updates; /* that the run makes, at most */
} pc_totals_t;

/* Whether a plan is sound; `recorded` belongs to the recording of the source, if it has one. */
bool
pc_plan_sound(const pc_plan_t *plan, const pc_files_t *files, const pc_source_t *source,
              const pc_recording_totals_t *recorded, pc_totals_t *totals);

#endif
