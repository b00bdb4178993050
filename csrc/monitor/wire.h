/* wire.h - the record that a monitored process reports through the named pipe.
 *
 * Invariant: every record stands alone.  It names its process, application and path, and what it
 * carries is only ever added up, so records may arrive in any order and through either way (pipe or
 * spill file).  A record is a pcm_record_t, the application's name and the path, without padding,
 * in the machine's byte order.  At most PIPE_BUF bytes go through the pipe, in one write; a longer
 * record goes to the spill file.  precopy/access/tracking/wire.py is the same format in Python. */
#ifndef PCM_WIRE_H
#define PCM_WIRE_H

#include <stddef.h>
#include <stdint.h>

#define PCM_MAGIC 0x33504350u /* "PCP3" in a little-endian file */

/* Both libraries hold this text, by which it is seen that they were built for each other. */
#define PCM_WIRE_TEXT "precopy wire format 3"

enum pcm_kind {
    PCM_KIND_ACCESS = 1,  /* path: what was accessed */
    PCM_KIND_PROCESS = 2, /* path: the executable; sent once per process and exec */
    PCM_KIND_RENAMED = 3, /* path: a directory's old name, '\0', its new name */
    PCM_KIND_TOLD = 4,    /* path: a directory, '/' at its end, and names in it, each behind '\0' */
    PCM_KIND_MOVED = 5,   /* path: a file's old name, '\0', its new name; counts are each one's */
};

enum pcm_use {
    PCM_READ = 1,       /* opened so that it can be read */
    PCM_WRITE = 2,      /* opened so that it can be written, or changed in any way */
    PCM_MAPPED = 4,     /* mapped shared and writable */
    PCM_LOOKED = 8,     /* looked at by its name only, or passed through */
    PCM_LISTED = 16,    /* its entries were read */
    PCM_DIRECTORY = 32, /* the path is a directory's */
    PCM_LINK = 64,      /* the path is a symbolic link's */
    PCM_LOADED = 128,   /* read by the dynamic loader */
    PCM_REMOVED = 256,  /* its name was removed, at last_ns */
    PCM_LINKED = 512,   /* moved: the old name has stayed */
};

typedef struct {
    uint32_t magic;
    uint32_t check;      /* Adler-32 of everything behind this field */
    uint32_t size;       /* whole record, bytes */
    uint16_t path_size;  /* bytes */
    uint8_t app_size;    /* bytes */
    uint8_t kind;        /* enum pcm_kind */
    uint32_t use;        /* enum pcm_use, or-ed */
    uint32_t pid;        /* as the process itself sees it */
    uint64_t start_time; /* clock ticks since boot; 0: unknown */
    uint64_t first_ns;   /* since the epoch; span of what is counted */
    uint64_t last_ns;
    uint64_t bytes;    /* written by `writes` calls */
    uint64_t identity; /* of the file behind the path, from pcm_identity(); 0: unknown */
    uint64_t born_ns;  /* when that file was made; 0: unknown */
    uint64_t length;   /* its size plus one when it was opened, or moved; 0: unknown */
    uint32_t opens;    /* successful calls */
    uint32_t writes;   /* successful calls */
    uint32_t changes;  /* replaced, removed, truncated, extended */
    uint32_t lost;     /* reports that this process could not deliver so far */
} pcm_record_t;

_Static_assert(sizeof(pcm_record_t) == 96, "the record's header has no padding");

/* Adler-32 continued over `size` more bytes; `sum` starts as 1.  Eight bytes at once: their sum, and
 * their sum weighted by how many bytes follow, are two products of four 16-bit lanes each, which
 * cannot overflow (8 * 255 * 8 < 65536).  Deferring the division is right up to 5552 bytes, which a
 * record (96 + 255 + 2 paths of 4096 at most) can exceed: hence the blocks. */
static inline uint32_t
pcm_adler32(uint32_t sum, const void *data, size_t size)
{
    const uint64_t lanes = 0x00ff00ff00ff00ffu, ones = 0x0001000100010001u;
    const unsigned char *byte = data;
    uint32_t a = sum & 0xffff, b = sum >> 16;
    uint64_t word;

    while (size > 0) {
        size_t block = size < 4096 ? size : 4096;
        size -= block;
        for (; block >= sizeof(word); block -= sizeof(word), byte += sizeof(word)) {
            __builtin_memcpy(&word, byte, sizeof(word));
            uint64_t even = word & lanes, odd = word >> 8 & lanes;
            b += 8 * a + (uint32_t)((even * 0x0008000600040002u + odd * 0x0007000500030001u) >> 48);
            a += (uint32_t)((even + odd) * ones >> 48);
        }
        for (; block > 0; block--) {
            a += *byte++;
            b += a;
        }
        a %= 65521;
        b %= 65521;
    }
    return b << 16 | a;
}

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "pcm_adler32 takes a word's first byte from its low end"
#endif

/* What two paths have in common exactly when one file is behind both (hard links, bind mounts): its
 * device, inode and birth (nanoseconds since the epoch; 0: the file system keeps none), mixed.  The
 * birth tells a file from an earlier one whose inode it got.  Never 0. */
static inline uint64_t
pcm_identity(uint64_t device, uint64_t inode, uint64_t birth_ns)
{
    const uint64_t parts[] = {device, inode, birth_ns};
    uint64_t mix = 0;

    for (int i = 0; i < 3; i++) {
        mix = (mix ^ parts[i]) + 0x9e3779b97f4a7c15u;
        mix = (mix ^ mix >> 30) * 0xbf58476d1ce4e5b9u;
        mix = (mix ^ mix >> 27) * 0x94d049bb133111ebu;
        mix ^= mix >> 31;
    }
    return mix == 0 ? 1 : mix;
}

#endif
