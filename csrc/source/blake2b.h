/*
 * blake2b.h -- BLAKE2b (RFC 7693) with a digest of 16 bytes and no key: what names a block.
 *
 * Both functions are pure.  A digest of all zero bytes stands elsewhere for "unknown": nobody will
 * ever see one.
 */
#ifndef PCS_BLAKE2B_H
#define PCS_BLAKE2B_H

#include <stddef.h>
#include <stdint.h>

enum { PCS_DIGEST_BYTES = 16 };

/* The digest of `size` bytes, any number of them. */
void
pcs_blake2b(const uint8_t *data, size_t size, uint8_t digest[PCS_DIGEST_BYTES]);

/* The digests of `count` blocks of `block_bytes` each (a positive number), which lie one after
 * another; the same as pcs_blake2b of each, several at a time where the processor can. */
void
pcs_blake2b_blocks(const uint8_t *data, size_t block_bytes, size_t count, uint8_t *digests);

#endif
