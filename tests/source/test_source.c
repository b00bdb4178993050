/*
 * test_source.c -- csrc/source without Python: reads that are short, interrupted or fail, memory that
 * is refused, files that change under the reader.  Linked with --wrap for pread, malloc and realloc.
 *
 * Usage: test_source GROUP DIRECTORY
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blake2b.h"
#include "source.h"

enum { BLOCK = 4096, BLOCKS = 700 };

#define CHECK(holds)                                                                               \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #holds);                    \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static char path[4096];
static uint8_t content[BLOCK * BLOCKS + 100];
static struct stat status;

static long allocations_left = -1; /* negative: no limit */
static long reads, interrupt_every, short_every, fail_at = -1, cut_at = -1;

void *
__real_malloc(size_t size);
void *
__real_realloc(void *memory, size_t size);
ssize_t
__real_pread(int fd, void *buffer, size_t size, off_t offset);

static bool
refused(void)
{
    if (allocations_left == 0)
        return true;
    if (allocations_left > 0)
        allocations_left--;
    return false;
}

void *
__wrap_malloc(size_t size)
{
    return refused() ? NULL : __real_malloc(size);
}

void *
__wrap_realloc(void *memory, size_t size)
{
    return refused() ? NULL : __real_realloc(memory, size);
}

ssize_t
__wrap_pread(int fd, void *buffer, size_t size, off_t offset)
{
    reads++;
    if (interrupt_every && reads % interrupt_every == 0) {
        errno = EINTR;
        return -1;
    }
    if (reads == fail_at) {
        errno = EIO;
        return -1;
    }
    if (reads == cut_at)
        CHECK(truncate(path, BLOCK * 300 + 17) == 0);
    if (short_every && reads % short_every == 0 && size > 1000)
        size = 1000;
    return __real_pread(fd, buffer, size, offset);
}

static void
make_file(const char *directory)
{
    int fd;
    snprintf(path, sizeof path, "%s/file", directory);
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (uint8_t)((i * 2654435761U) >> 11);
    memset(content + 5 * BLOCK, 0, BLOCK); /* a block of zeros that is no hole */
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, content, sizeof content) == (ssize_t)sizeof content);
    CHECK(fstat(fd, &status) == 0);
    close(fd);
}

static pcs_look_t
whole_file(void)
{
    return (pcs_look_t){
        .path = path, .dev = status.st_dev, .ino = status.st_ino, .block_bytes = BLOCK};
}

static void
check_block(const pcs_found_t *found, int64_t at, int64_t index, size_t bytes)
{
    uint8_t digest[PCS_DIGEST_BYTES];
    pcs_blake2b(content + index * BLOCK, bytes, digest);
    CHECK(found->index[at] == index);
    CHECK(memcmp(found->digest + at * PCS_DIGEST_BYTES, digest, sizeof digest) == 0);
    CHECK(found->zero[at] == (index == 5));
}

static void
check_whole(const pcs_found_t *found)
{
    CHECK(found->count == BLOCKS + 1 && found->size == (int64_t)sizeof content);
    for (int64_t i = 0; i <= BLOCKS; i++)
        check_block(found, i, i, i < BLOCKS ? BLOCK : 100);
}

static void
reads_that_are_not_whole(void)
{
    pcs_found_t found;
    pcs_look_t look = whole_file();
    interrupt_every = 3;
    short_every = 2;
    CHECK(pcs_look(&look, &found) == 0);
    check_whole(&found);
    CHECK(found.read_bytes == (int64_t)sizeof content && reads > 2 * 3);
    pcs_found_free(&found);
}

static void
a_read_that_fails(void)
{
    pcs_found_t found;
    pcs_look_t look = whole_file();
    fail_at = 2;
    CHECK(pcs_look(&look, &found) == -EIO);
    pcs_found_free(&found);
}

static void
a_file_that_is_cut(void)
{
    pcs_found_t found;
    pcs_look_t look = whole_file();
    cut_at = 2;
    CHECK(pcs_look(&look, &found) == 0);
    CHECK(found.size == BLOCK * 300 + 17 && found.count == 301);
    check_block(&found, 300, 300, 17);
    pcs_found_free(&found);
}

static void
every_allocation_fails_once(void)
{
    pcs_found_t found;
    pcs_look_t look = whole_file();
    int error = -ENOMEM;
    look.data_limit = 1 << 30;
    for (long left = 0; error == -ENOMEM; left++) {
        allocations_left = left;
        error = pcs_look(&look, &found);
        allocations_left = -1;
        CHECK(error == 0 || error == -ENOMEM);
        if (!error) {
            check_whole(&found);
            CHECK(found.data_count == found.count);
            CHECK(found.data_bytes == (int64_t)sizeof content - BLOCK);
        }
        pcs_found_free(&found);
        CHECK(left < 100);
    }
    const char *name[100];
    pcs_status_t known[100] = {0};
    pcs_young_t young = {0};
    for (int i = 0; i < 100; i++)
        name[i] = path;
    for (long left = 0; left < 3; left++) {
        pcs_moved_list_t moved = {0};
        allocations_left = left;
        error = pcs_statuses(name, 100, known, &young, &moved);
        allocations_left = -1;
        CHECK(error == (left < 2 ? -ENOMEM : 0));
        pcs_moved_free(&moved);
    }
}

static void
ranges_and_data(void)
{
    pcs_found_t found;
    pcs_look_t look = whole_file();
    const int64_t range[4][2] = {
        {1, 2}, {BLOCK, BLOCK}, {BLOCK * 5, BLOCK * 7}, {1 << 30, 1 << 30}};
    look.range = range;
    look.range_count = 4;
    look.data_limit = BLOCK + 5;
    CHECK(pcs_look(&look, &found) == 0);
    CHECK(found.count == 3);
    check_block(&found, 0, 0, BLOCK);
    check_block(&found, 1, 5, BLOCK);
    check_block(&found, 2, 6, BLOCK);
    CHECK(found.data_count == 2 && found.data_bytes == BLOCK); /* the third is beyond the limit */
    CHECK(memcmp(found.data, content, BLOCK) == 0);
    pcs_found_free(&found);
}

static void
what_is_known(void)
{
    pcs_found_t first, found;
    pcs_look_t look = whole_file();
    CHECK(pcs_look(&look, &first) == 0);
    memset(first.digest + 9 * PCS_DIGEST_BYTES, 0, PCS_DIGEST_BYTES);
    first.digest[20 * PCS_DIGEST_BYTES] ^= 1;
    look.known = first.digest;
    look.known_count = 600;
    CHECK(pcs_look(&look, &found) == 0);
    CHECK(found.count == 2 + BLOCKS + 1 - 600);
    check_block(&found, 0, 9, BLOCK);
    check_block(&found, 1, 20, BLOCK);
    check_block(&found, 2, 600, BLOCK);
    int64_t read_bytes = found.read_bytes;
    pcs_found_free(&found);
    look.lazy = true; /* the unknown ones are listed unread */
    CHECK(pcs_look(&look, &found) == 0);
    CHECK(found.count == 2 + BLOCKS + 1 - 600 && found.read_bytes == (600 - 1) * BLOCK);
    CHECK(found.read_bytes < read_bytes);
    pcs_found_free(&found);
    pcs_found_free(&first);
}

static void
other_files(void)
{
    char other[5000];
    pcs_found_t found;
    pcs_look_t look = whole_file();
    look.ino++;
    CHECK(pcs_look(&look, &found) == -ESTALE);
    snprintf(other, sizeof other, "%s.fifo", path);
    CHECK(mkfifo(other, 0600) == 0 && stat(other, &status) == 0);
    look = whole_file();
    look.path = other;
    CHECK(pcs_look(&look, &found) == -ESTALE);
    snprintf(other, sizeof other, "%s.link", path);
    CHECK(symlink(path, other) == 0 && stat(path, &status) == 0);
    look = whole_file();
    look.path = other;
    CHECK(pcs_look(&look, &found) == -ESTALE);
    snprintf(other, sizeof other, "%s.none", path);
    CHECK(pcs_look(&look, &found) == -ENOENT);
    pcs_found_free(&found);
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } groups[] = {
        {"short", reads_that_are_not_whole},
        {"fails", a_read_that_fails},
        {"cut", a_file_that_is_cut},
        {"memory", every_allocation_fails_once},
        {"ranges", ranges_and_data},
        {"known", what_is_known},
        {"other", other_files},
    };
    CHECK(argc == 3);
    make_file(argv[2]);
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (strcmp(argv[1], groups[i].name) == 0) {
            groups[i].run();
            return 0;
        }
    return 2;
}
