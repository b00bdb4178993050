/*
 * replay.c -- the rows of a recording: see replay.h.
 */
#include "replay.h"

static inline bool
writable(const pc_files_t *files, int64_t id)
{
    return (uint64_t)id < (uint64_t)files->count && !files->read_only[id];
}

static inline bool
row_sound(const pc_rows_t *rows, int64_t i, const pc_files_t *files)
{
    int64_t id = rows->file_id[i], from = rows->from_id[i], size = rows->size_bytes[i];
    if (!writable(files, id) || rows->updates[i] < 0 || rows->write_bytes[i] < 0 || size < -1)
        return false;
    return from == -1 || (from != id && size >= 0 && writable(files, from));
}

int64_t
pc_rows_check(const pc_rows_t *rows, const pc_files_t *files)
{
    for (int64_t i = 0; i < rows->count; i++) {
        if (!row_sound(rows, i, files))
            return i;
    }
    return -1;
}

/* Sound rows, whose updates have a sum. */
static int
add_up_rows(pc_recording_totals_t *self, const pc_rows_t *rows, const pc_files_t *files)
{
    int64_t largest = self->largest_bytes, updates = self->updates;
    for (int64_t i = 0; i < rows->count; i++) {
        if (!row_sound(rows, i, files))
            return PC_ERROR_TRACE;
        if (__builtin_add_overflow(updates, rows->updates[i], &updates))
            return PC_ERROR_ARGUMENT;
        largest = rows->size_bytes[i] > largest ? rows->size_bytes[i] : largest;
    }
    self->largest_bytes = largest;
    self->updates = updates;
    return 0;
}

int
pc_recording_add_up(pc_recording_totals_t *self, const pc_recording_t *recording,
                    const pc_files_t *files)
{
    *self = (pc_recording_totals_t){0};
    for (int64_t i = 0; i < files->count; i++) {
        int64_t size = files->size_bytes[i];
        self->largest_bytes = size > self->largest_bytes ? size : self->largest_bytes;
    }
    int status = add_up_rows(self, &recording->rows, files);
    return status < 0 ? status : add_up_rows(self, &recording->back, files);
}

int64_t
pc_recording_updates(const pc_recording_totals_t *self, const pc_recording_t *recording,
                     const pc_plan_t *plan)
{
    int64_t lap = recording->rows.count + recording->back.count, before = 0, updates, end;
    if (!plan->cycle_end || plan->cycles < 1 || plan->first_row < 0 ||
        plan->first_row > recording->rows.count)
        return -1;
    for (int64_t c = 0; c < plan->cycles; c++) {
        if (plan->cycle_end[c] < before)
            return -1;
        before = plan->cycle_end[c];
    }
    if (lap == 0)
        return before == 0 ? 0 : -1;
    if (__builtin_add_overflow(plan->first_row, before, &end) ||
        __builtin_mul_overflow(end / lap + 1, self->updates, &updates))
        return -1;
    return updates;
}

int
pc_recording_sizes(const pc_recording_t *recording, const pc_files_t *files, int64_t row,
                   int64_t *size_bytes)
{
    const pc_rows_t *rows = &recording->rows;
    if (row < 0 || row > rows->count)
        return PC_ERROR_ARGUMENT;
    for (int64_t id = 0; id < files->count; id++)
        size_bytes[id] = recording->present[id] ? files->size_bytes[id] : -1;
    for (int64_t i = 0; i < row; i++) {
        if (!row_sound(rows, i, files))
            return PC_ERROR_TRACE;
        if (rows->from_id[i] >= 0)
            size_bytes[rows->from_id[i]] = -1;
        size_bytes[rows->file_id[i]] = rows->size_bytes[i];
    }
    return 0;
}
