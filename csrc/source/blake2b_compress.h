/*
 * blake2b_compress.h -- the compression function F of RFC 7693, section 3.2, for one message or for
 * several at a time: WORD is a uint64_t or a vector of them, and the arithmetic is the same.
 *
 * Included once per kind by blake2b.c, which defines WORD, NAME and TARGET before.
 */

#define ROTATE_RIGHT(x, n) (((x) >> (n)) | ((x) << (64 - (n))))

#define MIX(a, b, c, d, x, y)                                                                      \
    do {                                                                                           \
        v[a] = v[a] + v[b] + (x);                                                                  \
        v[d] = ROTATE_RIGHT(v[d] ^ v[a], 32);                                                      \
        v[c] = v[c] + v[d];                                                                        \
        v[b] = ROTATE_RIGHT(v[b] ^ v[c], 24);                                                      \
        v[a] = v[a] + v[b] + (y);                                                                  \
        v[d] = ROTATE_RIGHT(v[d] ^ v[a], 16);                                                      \
        v[c] = v[c] + v[d];                                                                        \
        v[b] = ROTATE_RIGHT(v[b] ^ v[c], 63);                                                      \
    } while (0)

/* One round with its row of SIGMA written out, so that every word's place is known to the compiler:
 * the state then stays in registers. */
#define ROUND(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15)                \
    do {                                                                                           \
        MIX(0, 4, 8, 12, m[s0], m[s1]);                                                            \
        MIX(1, 5, 9, 13, m[s2], m[s3]);                                                            \
        MIX(2, 6, 10, 14, m[s4], m[s5]);                                                           \
        MIX(3, 7, 11, 15, m[s6], m[s7]);                                                           \
        MIX(0, 5, 10, 15, m[s8], m[s9]);                                                           \
        MIX(1, 6, 11, 12, m[s10], m[s11]);                                                         \
        MIX(2, 7, 8, 13, m[s12], m[s13]);                                                          \
        MIX(3, 4, 9, 14, m[s14], m[s15]);                                                          \
    } while (0)

/* h: the state; m: the message block; bytes: how many of the message there are up to here; last: all
 * ones in the last block, else 0. */
TARGET static void
NAME(WORD h[8], const WORD m[16], uint64_t bytes, uint64_t last)
{
    WORD v[16];
    for (int i = 0; i < 8; i++) {
        v[i] = h[i];
        v[i + 8] = (WORD){0} + IV[i];
    }
    v[12] ^= bytes; /* its upper half is 0: nobody has 2^64 bytes */
    v[14] ^= last;
    ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3);
    ROUND(11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4);
    ROUND(7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8);
    ROUND(9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13);
    ROUND(2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9);
    ROUND(12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11);
    ROUND(13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10);
    ROUND(6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5);
    ROUND(10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0);
    ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3);
    for (int i = 0; i < 8; i++)
        h[i] ^= v[i] ^ v[i + 8];
}

#undef ROUND
#undef MIX
#undef ROTATE_RIGHT
#undef WORD
#undef NAME
#undef TARGET
