/* string.c - the few string functions that the monitor and its compiler's code need.
 *
 * Invariant: the library never calls the process's own memcpy and friends.  A sanitizer replaces
 * those, and its versions need a thread of its own making, which the flusher's is not. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

void *
memcpy(void *restrict to, const void *restrict from, size_t size)
{
    char *out = to;
    const char *in = from;
    uint64_t word;

    for (; size >= sizeof(word); size -= sizeof(word), in += sizeof(word), out += sizeof(word)) {
        __builtin_memcpy(&word, in, sizeof(word));
        __builtin_memcpy(out, &word, sizeof(word));
    }
    for (; size > 0; size--)
        *out++ = *in++;
    return to;
}

void *
memset(void *to, int byte, size_t size)
{
    char *out = to;

    for (; size > 0; size--)
        *out++ = (char)byte;
    return to;
}

int
memcmp(const void *left, const void *right, size_t size)
{
    const unsigned char *a = left, *b = right;
    uint64_t x, y;

    for (; size >= sizeof(x); size -= sizeof(x), a += sizeof(x), b += sizeof(x)) {
        __builtin_memcpy(&x, a, sizeof(x));
        __builtin_memcpy(&y, b, sizeof(y));
        if (x != y)
            break;
    }
    for (; size > 0; size--, a++, b++)
        if (*a != *b)
            return *a < *b ? -1 : 1;
    return 0;
}

size_t
strlen(const char *text)
{
    size_t size = 0;

    while (text[size] != '\0')
        size++;
    return size;
}

int
strcmp(const char *left, const char *right)
{
    return strncmp(left, right, PTRDIFF_MAX);
}

int
strncmp(const char *left, const char *right, size_t size)
{
    for (; size > 0; size--, left++, right++)
        if (*left != *right || *left == '\0')
            return (unsigned char)*left - (unsigned char)*right;
    return 0;
}

char *
strchr(const char *text, int letter)
{
    for (; *text != (char)letter; text++)
        if (*text == '\0')
            return NULL;
    return (char *)(uintptr_t)text;
}

char *
strstr(const char *text, const char *part)
{
    size_t size = strlen(part);

    for (; strncmp(text, part, size) != 0; text++)
        if (*text == '\0')
            return NULL;
    return (char *)(uintptr_t)text;
}
