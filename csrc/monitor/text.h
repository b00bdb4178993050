/* text.h - words and numbers, as environment, names of files and hashes need them. */
#ifndef PCM_TEXT_H
#define PCM_TEXT_H

#include <stddef.h>
#include <stdint.h>

char *
pcm_append(char *out, const char *text, size_t size);
char *
pcm_append_number(char *out, uint64_t number);
char *
pcm_format_two(char *out, uint64_t a, char separator, uint64_t b);
uint64_t
pcm_parse_number(const char **text);
uint64_t
pcm_hash(uint64_t hash, const char *text, size_t size);

#endif
