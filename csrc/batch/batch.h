/* batch.h - adds up the monitor's records, for the tracker.
 *
 * A batch is what a stretch of journal amounts to: per application and path one row of sums, per
 * such row and time bucket one row of writes, and one row per process.  The tracker then needs one
 * SQL statement per row instead of one per record.  Plain C behind ctypes;
 * precopy/access/tracking/batch.py declares the same rows. */
#ifndef PCB_BATCH_H
#define PCB_BATCH_H

#include <stddef.h>
#include <stdint.h>

typedef struct pcb_batch pcb_batch_t;

/* A stretch of the batch's text: names, one behind the other. */
typedef struct {
    uint64_t offset;
    uint64_t size;
} pcb_text_t;

enum pcb_size { PCB_GONE = -1, PCB_NO_FILE = -2 };

typedef struct {
    pcb_text_t path;
    uint64_t app; /* index of an application row */
    uint64_t use;
    uint64_t opens, writes, changes, bytes;
    uint64_t first_ns, last_ns;
    uint64_t identity, identity_ns; /* the latest that was told, and when; 0: none was */
    uint64_t born_ns;               /* the latest birth that was told, or found; 0: none was */
    uint64_t length, length_ns;     /* the first that was told, and when; 0: none was */
    uint64_t length_born_ns;        /* when the file was made that had it; 0: unknown */
    int64_t size;                   /* what pcb_look found: bytes, or one of these */
    uint64_t looked_ns;             /* when; 0: it did not look */
} pcb_access_t;

typedef struct {
    uint64_t access; /* index of an access row */
    uint64_t bucket; /* time_ns / bucket_ns */
    uint64_t writes, changes, bytes;
    uint64_t last_ns;    /* of the last of them */
    uint64_t removed_ns; /* when the name was last removed; 0: it was not */
} pcb_bucket_t;

typedef struct {
    pcb_text_t command;
    uint64_t app;
    uint64_t pid, start_time;
    uint64_t first_ns, last_ns;
} pcb_process_t;

typedef struct {
    pcb_text_t names; /* old, '\0', new */
    uint64_t app;
    uint64_t time_ns;
} pcb_rename_t;

typedef struct {
    uint64_t old_access, new_access; /* indexes of access rows */
    uint64_t time_ns;
    uint64_t linked; /* 1: the old name has stayed */
    uint64_t length; /* size plus one; 0: unknown */
} pcb_move_t;

enum pcb_rows {
    PCB_APPS,
    PCB_ACCESSES,
    PCB_BUCKETS,
    PCB_PROCESSES,
    PCB_RENAMES,
    PCB_MOVES,
    PCB_KINDS
};

/* NULL: no memory. */
pcb_batch_t *
pcb_new(uint64_t bucket_ns);
void
pcb_free(pcb_batch_t *self);

/* Add the complete records at the beginning of `data`; returns how many bytes they take, or -1 if
 * there is no memory, after which the batch is only good for pcb_free.  What is no record is
 * skipped up to the next one and counted as damage. */
int64_t
pcb_add(pcb_batch_t *self, const unsigned char *data, size_t size);

/* Ask how large the files are that were written, and when they were made. */
void
pcb_look(pcb_batch_t *self);
int64_t
pcb_find(const char *path, size_t size, uint64_t *born_ns);

uint64_t
pcb_records(const pcb_batch_t *self);
uint64_t
pcb_damaged(const pcb_batch_t *self);
/* Records of another version of the format; they are skipped. */
uint64_t
pcb_foreign(const pcb_batch_t *self);
/* The greatest number of undelivered reports that a record spoke of. */
uint64_t
pcb_lost(const pcb_batch_t *self);
uint64_t
pcb_count(const pcb_batch_t *self, int rows);
const void *
pcb_rows(const pcb_batch_t *self, int rows);
const char *
pcb_text(const pcb_batch_t *self);
uint64_t
pcb_text_size(const pcb_batch_t *self);

#endif
