/* journal.h - adds up the monitor's records, for the tracker.
 *
 * A batch is what a stretch of journal amounts to: per application and path one row of sums, per
 * such row and time bucket one row of writes, and one row per process.  The tracker then needs one
 * SQL statement per row instead of one per record.  Plain C behind ctypes;
 * precopy/access/journal.py declares the same rows. */
#ifndef PCJ_JOURNAL_H
#define PCJ_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

typedef struct pcj_batch pcj_batch_t;

/* A stretch of the batch's text: names, one behind the other. */
typedef struct {
    uint64_t offset;
    uint64_t size;
} pcj_text_t;

typedef struct {
    pcj_text_t path;
    uint64_t app; /* index of an application row */
    uint64_t use;
    uint64_t opens, writes, changes, bytes;
    uint64_t first_ns, last_ns;
    uint64_t identity, identity_ns; /* the latest that was told, and when; 0: none was */
} pcj_access_t;

typedef struct {
    uint64_t access; /* index of an access row */
    uint64_t bucket; /* time_ns / bucket_ns */
    uint64_t writes, changes, bytes;
} pcj_bucket_t;

typedef struct {
    pcj_text_t command;
    uint64_t app;
    uint64_t pid, start_time;
    uint64_t first_ns, last_ns;
} pcj_process_t;

typedef struct {
    pcj_text_t names; /* old, '\0', new */
    uint64_t app;
    uint64_t time_ns;
} pcj_rename_t;

enum pcj_rows { PCJ_APPS, PCJ_ACCESSES, PCJ_BUCKETS, PCJ_PROCESSES, PCJ_RENAMES, PCJ_KINDS };

/* NULL: no memory. */
pcj_batch_t *
pcj_new(uint64_t bucket_ns);
void
pcj_free(pcj_batch_t *self);

/* Add the complete records at the beginning of `data`; returns how many bytes they take, or -1 if
 * there is no memory, after which the batch is only good for pcj_free.  What is no record is
 * skipped up to the next one and counted as damage. */
int64_t
pcj_add(pcj_batch_t *self, const unsigned char *data, size_t size);

uint64_t
pcj_records(const pcj_batch_t *self);
uint64_t
pcj_damaged(const pcj_batch_t *self);
/* The greatest number of undelivered reports that a record spoke of. */
uint64_t
pcj_lost(const pcj_batch_t *self);
uint64_t
pcj_count(const pcj_batch_t *self, int rows);
const void *
pcj_rows(const pcj_batch_t *self, int rows);
const char *
pcj_text(const pcj_batch_t *self);
uint64_t
pcj_text_size(const pcj_batch_t *self);

#endif
