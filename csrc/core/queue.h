/*
 * queue.h -- files that wait in the order of their places, with the bytes of every 64 of them.
 *
 * Invariant: word_bytes[w] is the sum of the sizes of the members in word w.  So 64 neighbours that
 * fit together are sent in one step, without looking at any of them.
 */
#ifndef PC_QUEUE_H
#define PC_QUEUE_H

#include "bitset.h"

typedef struct {
    pc_bitset_t waiting;
    int64_t *word_bytes;
} pc_queue_t;

/* Words of memory that a queue of 0 ... capacity - 1 needs. */
static inline int64_t
pc_queue_words(int64_t capacity)
{
    return pc_bitset_words(capacity) + pc_words_for(capacity);
}

/* An empty queue in zeroed memory of pc_queue_words() words; returns the memory behind it. */
static inline uint64_t *
pc_queue_init(pc_queue_t *self, int64_t capacity, uint64_t *memory)
{
    memory = pc_bitset_init(&self->waiting, capacity, memory);
    self->word_bytes = (int64_t *)memory;
    return memory + pc_words_for(capacity);
}

static inline bool
pc_queue_is_empty(const pc_queue_t *self)
{
    return pc_bitset_first_word(&self->waiting) < 0;
}

/* Account for a member whose bit has been set already. */
static inline void
pc_queue_admit(pc_queue_t *self, int64_t place, int64_t size_bytes)
{
    pc_bitset_raise(&self->waiting, place >> 6);
    self->word_bytes[place >> 6] += size_bytes;
}

static inline void
pc_queue_insert(pc_queue_t *self, int64_t place, int64_t size_bytes)
{
    self->waiting.word[place >> 6] |= pc_bit(place);
    pc_queue_admit(self, place, size_bytes);
}

/* All of 0 ... capacity - 1, in place of an empty queue. */
static inline void
pc_queue_fill(pc_queue_t *self, int64_t capacity, const int64_t *size_bytes)
{
    for (int64_t w = 0; w < pc_words_for(capacity); w++) {
        int64_t count = capacity - 64 * w < 64 ? capacity - 64 * w : 64, bytes = 0;
        for (int64_t i = 0; i < count; i++)
            bytes += size_bytes[64 * w + i];
        self->word_bytes[w] = bytes;
        self->waiting.word[w] = ~(uint64_t)0 >> (64 - count);
        pc_bitset_raise(&self->waiting, w);
    }
}

/* Whether the invariant holds. */
static inline bool
pc_queue_verify(const pc_queue_t *self, int64_t capacity, const int64_t *size_bytes)
{
    bool sound = pc_bitset_verify(&self->waiting, capacity);
    for (int64_t w = 0; w < pc_words_for(capacity); w++) {
        int64_t bytes = 0;
        for (int64_t p = 64 * w; p < 64 * w + 64 && p < capacity; p++)
            bytes += pc_bitset_has(&self->waiting, p) ? size_bytes[p] : 0;
        sound &= bytes == self->word_bytes[w];
    }
    return sound;
}

#endif
