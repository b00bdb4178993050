/*
 * blake2b.c -- BLAKE2b after RFC 7693; four blocks at a time where there are 256-bit registers.
 *
 * Words are little-endian whatever the machine is.
 */
#include "blake2b.h"

#include <string.h>

enum { CHUNK = 128, WORDS = CHUNK / 8 };

static const uint64_t IV[8] = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};

/* The first word of the parameter block: digest length, no key, fan-out and depth 1. */
#define PARAMETERS (UINT64_C(0x01010000) ^ PCS_DIGEST_BYTES)

#define WORD uint64_t
#define NAME compress
#define TARGET
#include "blake2b_compress.h"

static inline uint64_t
word_at(const uint8_t *data)
{
    uint64_t word;
    memcpy(&word, data, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

static void
digest_of(const uint64_t h[8], uint8_t digest[PCS_DIGEST_BYTES])
{
    for (int i = 0; i < PCS_DIGEST_BYTES; i++)
        digest[i] = (uint8_t)(h[i / 8] >> (8 * (i % 8)));
}

void
pcs_blake2b(const uint8_t *data, size_t size, uint8_t digest[PCS_DIGEST_BYTES])
{
    uint64_t h[8], m[WORDS];
    uint8_t rest[CHUNK] = {0};
    size_t done = 0;
    memcpy(h, IV, sizeof h);
    h[0] ^= PARAMETERS;
    for (; size - done > CHUNK; done += CHUNK) {
        for (int i = 0; i < WORDS; i++)
            m[i] = word_at(data + done + 8 * i);
        compress(h, m, done + CHUNK, 0);
    }
    if (size > done)
        memcpy(rest, data + done, size - done);
    for (int i = 0; i < WORDS; i++)
        m[i] = word_at(rest + 8 * i);
    compress(h, m, size, ~UINT64_C(0));
    digest_of(h, digest);
}

#if defined(__x86_64__)

enum { LANES = 4 };
typedef uint64_t lanes_t __attribute__((vector_size(8 * LANES)));

#define WORD lanes_t
#define NAME compress_lanes
#define TARGET __attribute__((target("avx2")))
#include "blake2b_compress.h"

/* LANES blocks at once; their size is a positive multiple of CHUNK. */
__attribute__((target("avx2"))) static void
blake2b_lanes(const uint8_t *data, size_t block_bytes, uint8_t *digests)
{
    lanes_t h[8], m[WORDS];
    for (int i = 0; i < 8; i++)
        h[i] = (lanes_t){0} + IV[i];
    h[0] ^= PARAMETERS;
    for (size_t done = 0; done < block_bytes; done += CHUNK) {
        const uint8_t *chunk = data + done;
        for (int i = 0; i < WORDS; i++)
            m[i] = (lanes_t){word_at(chunk + 8 * i), word_at(chunk + block_bytes + 8 * i),
                             word_at(chunk + 2 * block_bytes + 8 * i),
                             word_at(chunk + 3 * block_bytes + 8 * i)};
        compress_lanes(h, m, done + CHUNK, done + CHUNK == block_bytes ? ~UINT64_C(0) : 0);
    }
    for (int lane = 0; lane < LANES; lane++) {
        uint64_t one[8];
        for (int i = 0; i < 8; i++)
            one[i] = h[i][lane];
        digest_of(one, digests + PCS_DIGEST_BYTES * lane);
    }
}

static size_t
some_at_once(const uint8_t *data, size_t block_bytes, size_t count, uint8_t *digests)
{
    size_t done = 0;
    if (block_bytes % CHUNK || !__builtin_cpu_supports("avx2"))
        return 0;
    for (; count - done >= LANES; done += LANES)
        blake2b_lanes(data + done * block_bytes, block_bytes, digests + done * PCS_DIGEST_BYTES);
    return done;
}

#else

static size_t
some_at_once(const uint8_t *data, size_t block_bytes, size_t count, uint8_t *digests)
{
    (void)data, (void)block_bytes, (void)count, (void)digests;
    return 0;
}

#endif

void
pcs_blake2b_blocks(const uint8_t *data, size_t block_bytes, size_t count, uint8_t *digests)
{
    for (size_t i = some_at_once(data, block_bytes, count, digests); i < count; i++)
        pcs_blake2b(data + i * block_bytes, block_bytes, digests + i * PCS_DIGEST_BYTES);
}
