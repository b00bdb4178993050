/*
 * bitset.h -- an ordered set of small integers: a bitmap under two levels of summary.
 *
 * Invariant: bit b of summary word s is set exactly when word 64 s + b of the level below is not
 * zero.  So the first member is found with three count-trailing-zeros, whatever the size, and an
 * insertion touches one word unless that word was empty.
 */
#ifndef PC_BITSET_H
#define PC_BITSET_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    uint64_t *word;  /* 64 members each */
    uint64_t *block; /* a bit per word */
    uint64_t *top;   /* a bit per block, scanned from the front */
    int64_t top_count;
} pc_bitset_t;

static inline int64_t
pc_words_for(int64_t bits)
{
    return (bits + 63) / 64;
}

static inline int
pc_lowest_bit(uint64_t word)
{
    return __builtin_ctzll(word);
}

static inline uint64_t
pc_bit(int64_t member)
{
    return (uint64_t)1 << (member & 63);
}

/* Which byte of a bitmap holds a member's bit.  Where members are marked one by one, by byte, few
 * of them have to wait until the store of the one before has come through. */
static inline int64_t
pc_byte(int64_t member)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return (member >> 3) ^ 7;
#else
    return member >> 3;
#endif
}

/* Words of memory that a set over 0 ... capacity - 1 needs. */
static inline int64_t
pc_bitset_words(int64_t capacity)
{
    int64_t words = pc_words_for(capacity), blocks = pc_words_for(words);
    return words + blocks + pc_words_for(blocks);
}

/* An empty set in zeroed memory of pc_bitset_words() words; returns the memory behind it. */
static inline uint64_t *
pc_bitset_init(pc_bitset_t *self, int64_t capacity, uint64_t *memory)
{
    int64_t words = pc_words_for(capacity), blocks = pc_words_for(words);
    self->word = memory;
    self->block = self->word + words;
    self->top = self->block + blocks;
    self->top_count = pc_words_for(blocks);
    return self->top + self->top_count;
}

/* Tell the summaries that word w is no longer empty. */
static inline void
pc_bitset_raise(pc_bitset_t *self, int64_t w)
{
    self->block[w >> 6] |= pc_bit(w);
    self->top[w >> 12] |= pc_bit(w >> 6);
}

/* Tell the summaries that word w has become empty. */
static inline void
pc_bitset_lower(pc_bitset_t *self, int64_t w)
{
    self->block[w >> 6] &= ~pc_bit(w);
    if (!self->block[w >> 6])
        self->top[w >> 12] &= ~pc_bit(w >> 6);
}

static inline bool
pc_bitset_has(const pc_bitset_t *self, int64_t member)
{
    return (self->word[member >> 6] >> (member & 63)) & 1;
}

static inline void
pc_bitset_insert(pc_bitset_t *self, int64_t member)
{
    self->word[member >> 6] |= pc_bit(member);
    pc_bitset_raise(self, member >> 6);
}

static inline void
pc_bitset_remove(pc_bitset_t *self, int64_t member)
{
    self->word[member >> 6] &= ~pc_bit(member);
    if (!self->word[member >> 6])
        pc_bitset_lower(self, member >> 6);
}

/* The first word that is not empty, or -1. */
static inline int64_t
pc_bitset_first_word(const pc_bitset_t *self)
{
    for (int64_t t = 0; t < self->top_count; t++) {
        if (self->top[t]) {
            int64_t b = 64 * t + pc_lowest_bit(self->top[t]);
            return 64 * b + pc_lowest_bit(self->block[b]);
        }
    }
    return -1;
}

/* The first word behind word w that is not empty, or -1. */
static inline int64_t
pc_bitset_next_word(const pc_bitset_t *self, int64_t w)
{
    int64_t b = w >> 6, t = b >> 6;
    uint64_t rest = self->block[b] & ~(pc_bit(w) | (pc_bit(w) - 1));
    if (rest)
        return 64 * b + pc_lowest_bit(rest);
    rest = self->top[t] & ~(pc_bit(b) | (pc_bit(b) - 1));
    while (!rest) {
        if (++t == self->top_count)
            return -1;
        rest = self->top[t];
    }
    b = 64 * t + pc_lowest_bit(rest);
    return 64 * b + pc_lowest_bit(self->block[b]);
}

/* The smallest member, or -1. */
static inline int64_t
pc_bitset_first(const pc_bitset_t *self)
{
    int64_t w = pc_bitset_first_word(self);
    return w < 0 ? -1 : 64 * w + pc_lowest_bit(self->word[w]);
}

/* Whether the invariant holds over 0 ... capacity - 1. */
static inline bool
pc_bitset_verify(const pc_bitset_t *self, int64_t capacity)
{
    int64_t words = pc_words_for(capacity), blocks = pc_words_for(words);
    bool sound = capacity % 64 == 0 || self->word[words - 1] >> (capacity % 64) == 0;
    for (int64_t w = 0; w < words; w++)
        sound &= ((self->block[w >> 6] >> (w & 63)) & 1) == (self->word[w] != 0);
    for (int64_t b = 0; b < blocks; b++)
        sound &= ((self->top[b >> 6] >> (b & 63)) & 1) == (self->block[b] != 0);
    return sound;
}

#endif
