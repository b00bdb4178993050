/*
 * found.c -- the list of blocks that differ: columns that grow together, and the data of the first of
 * them.
 */
#include "source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "blake2b.h"

static int
grow(void **memory, int64_t *capacity, int64_t needed, size_t unit)
{
    int64_t wanted = *capacity ? *capacity : 64;
    if (needed <= *capacity)
        return 0;
    while (wanted < needed)
        wanted *= 2;
    void *grown = realloc(*memory, (size_t)wanted * unit);
    if (!grown)
        return -ENOMEM;
    *memory = grown;
    *capacity = wanted;
    return 0;
}

/* Three columns that grow together. */
static int
grow_columns(pcs_found_t *found)
{
    int64_t needed = found->count + 1, index = found->capacity, digest = found->capacity,
            zero = found->capacity;
    void *columns[3] = {found->index, found->digest, found->zero};
    int error = grow(&columns[0], &index, needed, sizeof *found->index);
    error = error ? error : grow(&columns[1], &digest, needed, PCS_DIGEST_BYTES);
    error = error ? error : grow(&columns[2], &zero, needed, 1);
    found->index = columns[0];
    found->digest = columns[1];
    found->zero = columns[2];
    if (!error)
        found->capacity = zero;
    return error;
}

/* Keep the data of a block; only a leading part of the list has any. */
static int
keep_data(pcs_found_t *found, const uint8_t *data, int64_t bytes, int64_t limit)
{
    if (found->data_count != found->count || bytes > limit - found->data_bytes)
        return 0;
    if (bytes) {
        void *memory = found->data;
        int error = grow(&memory, &found->data_capacity, found->data_bytes + bytes, 1);
        if (error)
            return error;
        found->data = memory;
        memcpy(found->data + found->data_bytes, data, (size_t)bytes);
        found->data_bytes += bytes;
    }
    found->data_count++;
    return 0;
}

int
pcs_found_add(pcs_found_t *found, int64_t block, const uint8_t *digest, bool zero,
              const uint8_t *data, int64_t bytes, int64_t data_limit)
{
    int error = grow_columns(found);
    if (!error && data_limit > 0)
        error = keep_data(found, data, bytes, data_limit);
    if (error)
        return error;
    found->index[found->count] = block;
    found->zero[found->count] = zero;
    memcpy(found->digest + found->count * PCS_DIGEST_BYTES, digest, PCS_DIGEST_BYTES);
    found->count++;
    return 0;
}

void
pcs_found_free(pcs_found_t *found)
{
    free(found->index);
    free(found->digest);
    free(found->zero);
    free(found->data);
    memset(found, 0, sizeof *found);
}
