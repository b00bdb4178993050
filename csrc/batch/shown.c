/* shown.c - what the tracker reads of a batch. */
#include "inside.h"

EXPORT uint64_t
pcb_records(const pcb_batch_t *self)
{
    return self->records;
}

EXPORT uint64_t
pcb_damaged(const pcb_batch_t *self)
{
    return self->damaged;
}

EXPORT uint64_t
pcb_foreign(const pcb_batch_t *self)
{
    return self->foreign;
}

EXPORT uint64_t
pcb_lost(const pcb_batch_t *self)
{
    return self->lost;
}

EXPORT uint64_t
pcb_count(const pcb_batch_t *self, int rows)
{
    return self->rows[rows].count;
}

EXPORT const void *
pcb_rows(const pcb_batch_t *self, int rows)
{
    return self->rows[rows].row;
}

EXPORT const char *
pcb_text(const pcb_batch_t *self)
{
    return self->text;
}

EXPORT uint64_t
pcb_text_size(const pcb_batch_t *self)
{
    return self->text_size;
}
