/*
 * source.h -- what the migration asks the source's file system: statuses of many names, and which
 * blocks of a file differ from what is known of them.
 *
 * Nothing here changes a file, its times or its place.  No FIFO or device is ever opened, no link is
 * followed at the end of a path, and what was opened is checked to be what was scanned.  Functions
 * return 0 or a negative errno; they need no Python and hold no lock.
 */
#ifndef PCS_SOURCE_H
#define PCS_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The signature of a name.  `mode` is 0 where there is none; `size` is a negative errno then. */
typedef struct {
    int64_t size;
    int64_t mtime_ns, ctime_ns;
    int64_t birth_ns; /* 0: the file system does not say */
    uint64_t ino, dev;
    uint32_t mode, uid, gid, nlink;
} pcs_status_t;

/* The status of a name relative to a directory (or AT_FDCWD); `status` is filled in any case. */
int
pcs_status_of(int directory, const char *name, pcs_status_t *status);

/* One name that is not as it was. */
typedef struct {
    int64_t index;
    pcs_status_t status;
} pcs_moved_t;

/* A list that grows; zeroed at first, freed by pcs_moved_free. */
typedef struct {
    pcs_moved_t *entry;
    int64_t count, capacity;
} pcs_moved_list_t;

/* How long a change may stay unseen, since it bears the time stamp of one before it. */
typedef struct {
    const int64_t *older_ns; /* [count] a change time not older than this is young; NULL: none is */
    int64_t under_way_ns;    /* of files: longer by this, */
    int64_t write_rate; /* and by the time to write one at so many bytes per second, a second at
                                most (0: no longer): the times move when a write begins, and the
                                data come later */
} pcs_young_t;

/*
 * Take the status of `count` names and list those that differ from `known`, and those that are young:
 * a later change of them need not show.  A name that is NULL is passed over.
 */
int
pcs_statuses(const char *const *name, int64_t count, const pcs_status_t *known,
             const pcs_young_t *young, pcs_moved_list_t *moved);

void
pcs_moved_free(pcs_moved_list_t *moved);

/* More than anybody needs: a file of 256 GiB then has 262,144 blocks. */
enum { PCS_BLOCK_BYTES_MAX = 1 << 20 };

/* What to look at in a file. */
typedef struct {
    const char *path;
    uint64_t dev, ino; /* of the file that was scanned */
    int64_t block_bytes;
    const uint8_t *known; /* digests of the blocks 0..known_count-1; all zero: unknown */
    int64_t known_count;
    const int64_t (*range)[2]; /* begin and end in bytes, or NULL for the whole file */
    int64_t range_count;
    bool clean;         /* write dirty pages out before reading */
    bool lazy;          /* list blocks of which nothing is known without reading them */
    int64_t data_limit; /* keep the data of differing blocks up to so many bytes */
} pcs_look_t;

/* What was found: the blocks that differ, ascending.  Zeroed at first, freed by pcs_found_free. */
typedef struct {
    int64_t *index;
    uint8_t *digest; /* all zero for a block that was not read */
    uint8_t *zero;   /* 1 for a block that is all zero */
    int64_t count, capacity;
    uint8_t *data; /* of the first `data_count` blocks, without those that are zero */
    int64_t data_bytes, data_capacity, data_count;
    int64_t size;       /* of the file when it was read */
    int64_t read_bytes; /* how much was read */
} pcs_found_t;

/* Ranges must be ascending and must not overlap once widened to whole blocks.  -ESTALE: there is
 * another file. */
int
pcs_look(const pcs_look_t *look, pcs_found_t *found);

/* Note a block that differs; `bytes` of data are kept as far as `data_limit` allows.  -ENOMEM, or 0. */
int
pcs_found_add(pcs_found_t *found, int64_t block, const uint8_t *digest, bool zero,
              const uint8_t *data, int64_t bytes, int64_t data_limit);

void
pcs_found_free(pcs_found_t *found);

#endif
