/*
 * look.c -- which blocks of a file differ from what is known: find the data, read, hash, compare.
 *
 * A file may change, shrink or grow while it is read; that is no error, since its status was taken
 * before and will have moved.  Whatever is reported was computed from bytes that were read once.
 */
#define _GNU_SOURCE
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blake2b.h"
#include "open.h"

enum { BUFFER_BYTES = 1 << 20 };

static const uint8_t UNKNOWN[PCS_DIGEST_BYTES];

/* A look under way. */
typedef struct {
    const pcs_look_t *look;
    pcs_found_t *found;
    int fd;
    int64_t size;                   /* of the file, when it was opened */
    int64_t data_begin, data_end;   /* data that is known to be there: the latest answer */
    bool has_holes;                 /* whether it is worth asking */
    uint8_t hole[PCS_DIGEST_BYTES]; /* the digest of a whole block of zeros */
    uint8_t *buffer, *digest;       /* [buffer_blocks] blocks and their digests */
    int64_t buffer_blocks;
} state_t;

static int64_t
least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static bool
is_zero(const uint8_t *data, int64_t size)
{
    return size == 0 || (data[0] == 0 && memcmp(data, data + 1, (size_t)size - 1) == 0);
}

/* Compare a block with what is known and list it if it differs; `data` is NULL for a hole. */
static int
settle(state_t *s, int64_t block, const uint8_t *digest, bool zero, const uint8_t *data,
       int64_t bytes)
{
    const pcs_look_t *look = s->look;
    const uint8_t *known =
        block < look->known_count ? look->known + block * PCS_DIGEST_BYTES : UNKNOWN;
    if (memcmp(known, digest, PCS_DIGEST_BYTES) == 0 && memcmp(known, UNKNOWN, sizeof UNKNOWN) != 0)
        return 0;
    if (zero)
        bytes = 0;
    return pcs_found_add(s->found, block, digest, zero, data, bytes, look->data_limit);
}

/* Where data begins at or after `at`, and where it ends; what cannot be asked is data. */
static void
find_data(state_t *s, int64_t at)
{
    if (at >= s->data_begin && at < s->data_end)
        return;
    s->data_begin = s->has_holes ? lseek(s->fd, at, SEEK_DATA) : at;
    if (s->data_begin < 0 && errno == ENXIO) {
        s->data_begin = s->data_end = INT64_MAX; /* the rest is a hole */
        return;
    }
    s->data_end = s->data_begin >= 0 && s->has_holes ? lseek(s->fd, s->data_begin, SEEK_HOLE) : -1;
    if (s->data_begin < at)
        s->data_begin = at;
    if (s->data_end <= s->data_begin)
        s->data_end = INT64_MAX;
}

/* Read up to `bytes` at `offset`; less only at the end of the file. */
static int64_t
read_fully(state_t *s, int64_t offset, int64_t bytes)
{
    int64_t done = 0;
    while (done < bytes) {
        ssize_t got = pread(s->fd, s->buffer + done, (size_t)(bytes - done), offset + done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        done += got;
    }
    s->found->read_bytes += done;
    return done;
}

/* A run of holes: whole blocks, and perhaps the file's last one, which may be short. */
static int
settle_holes(state_t *s, int64_t block, int64_t end)
{
    const int64_t size = s->look->block_bytes;
    for (; block < end; block++) {
        int64_t bytes = least(size, s->size - block * size);
        const uint8_t *digest = s->hole;
        if (bytes < size) {
            memset(s->buffer, 0, (size_t)bytes);
            pcs_blake2b(s->buffer, (size_t)bytes, s->digest);
            digest = s->digest;
        }
        int error = settle(s, block, digest, true, NULL, bytes);
        if (error)
            return error;
    }
    return 0;
}

/* A run of blocks with data that fits the buffer.  Returns how many were settled: fewer only if the
 * file has become shorter. */
static int64_t
settle_data(state_t *s, int64_t block, int64_t count)
{
    const int64_t size = s->look->block_bytes, offset = block * size;
    int64_t bytes = read_fully(s, offset, least(count * size, s->size - offset));
    if (bytes < 0)
        return bytes;
    int64_t whole = bytes / size, last = bytes % size;
    pcs_blake2b_blocks(s->buffer, (size_t)size, (size_t)whole, s->digest);
    if (last)
        pcs_blake2b(s->buffer + whole * size, (size_t)last, s->digest + whole * PCS_DIGEST_BYTES);
    for (int64_t i = 0; i < whole + (last > 0); i++) {
        const uint8_t *data = s->buffer + i * size;
        int64_t length = i < whole ? size : last;
        int error = settle(s, block + i, s->digest + i * PCS_DIGEST_BYTES, is_zero(data, length),
                           data, length);
        if (error)
            return error;
    }
    if (offset + bytes < least(offset + count * size, s->size))
        s->size = offset + bytes; /* cut meanwhile */
    return whole + (last > 0);
}

static bool
is_known(const pcs_look_t *look, int64_t block)
{
    return block < look->known_count &&
           memcmp(look->known + block * PCS_DIGEST_BYTES, UNKNOWN, sizeof UNKNOWN) != 0;
}

/* List blocks from `block` on of which nothing is known, without reading them; return how many. */
static int64_t
list_unknown(state_t *s, int64_t block, int64_t end)
{
    int64_t count = 0;
    while (block + count < end && !is_known(s->look, block + count)) {
        int error = settle(s, block + count, UNKNOWN, false, NULL, 0);
        if (error)
            return error;
        count++;
    }
    return count;
}

static int64_t
count_known(const state_t *s, int64_t block, int64_t end)
{
    int64_t count = 0;
    while (block + count < end && is_known(s->look, block + count))
        count++;
    return count;
}

/* Look at blocks with data; return how many. */
static int64_t
look_at_data(state_t *s, int64_t begin, int64_t end)
{
    end = least(end, begin + s->buffer_blocks);
    if (s->look->lazy) {
        int64_t listed = list_unknown(s, begin, end);
        if (listed)
            return listed;
        end = begin + count_known(s, begin, end);
    }
    int64_t settled = settle_data(s, begin, end - begin);
    return settled < 0 ? settled : end - begin;
}

/* Look at the blocks begin..end-1. */
static int
look_at(state_t *s, int64_t begin, int64_t end)
{
    const int64_t size = s->look->block_bytes;
    while (begin < end && begin * size < s->size) {
        find_data(s, begin * size);
        int64_t first = least(s->data_begin / size, end);
        if (first > begin) {
            int error = settle_holes(s, begin, first);
            if (error)
                return error;
            begin = first;
            continue;
        }
        int64_t stop = s->data_end > s->size ? end : (s->data_end + size - 1) / size;
        int64_t done = look_at_data(s, begin, least(stop, end));
        if (done < 0)
            return (int)done;
        begin += done;
    }
    return 0;
}

static int
look_at_ranges(state_t *s)
{
    const pcs_look_t *look = s->look;
    const int64_t size = look->block_bytes, blocks = s->size / size + (s->size % size > 0);
    int error = 0;
    if (!look->range)
        return look_at(s, 0, blocks);
    int64_t done = 0; /* neighbours may share a block */
    for (int64_t i = 0; i < look->range_count && !error; i++) {
        int64_t begin = look->range[i][0] / size;
        int64_t end = least(look->range[i][1] / size + (look->range[i][1] % size > 0), blocks);
        begin = begin < done ? done : begin;
        if (begin < end) {
            error = look_at(s, begin, end);
            done = end;
        }
    }
    return error;
}

static int
prepare(state_t *s)
{
    struct stat status;
    const int64_t size = s->look->block_bytes;
    if (fstat(s->fd, &status) != 0)
        return -errno;
    s->size = status.st_size;
    s->has_holes = (int64_t)status.st_blocks * 512 < status.st_size;
    if (s->look->clean &&
        sync_file_range(s->fd, 0, 0,
                        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                            SYNC_FILE_RANGE_WAIT_AFTER) != 0 &&
        errno != ENOSYS && errno != EINVAL && errno != ESPIPE)
        return -errno;
    s->buffer_blocks = BUFFER_BYTES > size ? BUFFER_BYTES / size : 1;
    if (s->buffer_blocks > s->size / size + 1)
        s->buffer_blocks = s->size / size + 1;
    s->buffer = malloc((size_t)(s->buffer_blocks * size));
    s->digest = malloc((size_t)s->buffer_blocks * PCS_DIGEST_BYTES);
    if (!s->buffer || !s->digest)
        return -ENOMEM;
    if (s->has_holes) {
        memset(s->buffer, 0, (size_t)size);
        pcs_blake2b(s->buffer, (size_t)size, s->hole);
    }
    return 0;
}

int
pcs_look(const pcs_look_t *look, pcs_found_t *found)
{
    state_t s = {.look = look, .found = found};
    memset(found, 0, sizeof *found);
    s.fd = pcs_open(look->path, look->dev, look->ino);
    if (s.fd < 0)
        return s.fd;
    int error = prepare(&s);
    if (!error)
        error = look_at_ranges(&s);
    found->size = s.size;
    free(s.buffer);
    free(s.digest);
    close(s.fd);
    return error;
}
