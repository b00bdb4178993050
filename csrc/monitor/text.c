/* text.c - words and numbers, as environment, names of files and hashes need them.
 *
 * Invariant: the caller has made sure of the room; what was written ends with '\0'. */

#include "text.h"

#include <string.h>

#include "rules.h"

char *
pcm_append(char *out, const char *text, size_t size)
{
    memcpy(out, text, size);
    out[size] = '\0';
    return out + size;
}

char *
pcm_append_number(char *out, uint64_t number)
{
    char digits[20];
    size_t count = 0;

    do
        digits[sizeof(digits) - ++count] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    return pcm_append(out, digits + sizeof(digits) - count, count);
}

/* "a<separator>b" in decimal; returns the end. */
char *
pcm_format_two(char *out, uint64_t a, char separator, uint64_t b)
{
    out = pcm_append_number(out, a);
    out = pcm_append(out, &separator, 1);
    return pcm_append_number(out, b);
}

/* The number that a text begins with; `*text` is then behind it, and behind a colon there. */
uint64_t
pcm_parse_number(const char **text)
{
    uint64_t number = 0;

    for (; **text >= '0' && **text <= '9'; ++*text)
        number = number * 10 + (uint64_t)(**text - '0');
    if (**text == ':')
        ++*text;
    return number;
}

uint64_t
pcm_hash(uint64_t hash, const char *path, size_t size)
{
    uint64_t word;

    /* Seeds that differ in a bit or two must not make up for names that do. */
    hash = (hash ^ size) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 32;
    for (; size >= 8; size -= 8, path += 8) {
        memcpy(&word, path, 8);
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    word = 0;
    memcpy(&word, path, size);
    hash = (hash ^ word) * 0xff51afd7ed558ccdu;
    return hash ^ hash >> 29;
}
