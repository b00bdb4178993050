/* hooks_wide.c - what libc turns into bytes by itself: wide characters, entries of tables.
 *
 * Invariant: how many bytes they became shows in the file's position only; what is left in a
 * stream's buffer shows when the stream is flushed or closed, or when the process ends. */
#define _GNU_SOURCE
#include <grp.h>
#include <gshadow.h>
#include <pwd.h>
#include <shadow.h>
#include <stdarg.h>
#include <stdio.h>
#include <wchar.h>

#include "hooks.h"
#include "real.h"
#include "stream.h"

#include "rules.h"

/* Some are macros, too. */
#undef putwc
#undef putwchar
#undef fputwc_unlocked
#undef putwc_unlocked
#undef putwchar_unlocked

int
__vfwprintf_chk(FILE *stream, int flag, const wchar_t *format, va_list arguments);
int
__vwprintf_chk(int flag, const wchar_t *format, va_list arguments);
int
__fwprintf_chk(FILE *stream, int flag, const wchar_t *format, ...);
int
__wprintf_chk(int flag, const wchar_t *format, ...);

PCM_EXPORT wint_t
fputwc(wchar_t character,
       FILE *stream){PCM_ADVANCING(wint_t, stream, PCM_REAL(fputwc)(character, stream))}

PCM_ALIAS(putwc, fputwc)

    PCM_EXPORT wint_t
    putwchar(wchar_t character){PCM_ADVANCING(wint_t, stdout, PCM_REAL(putwchar)(character))}

PCM_EXPORT wint_t fputwc_unlocked(wchar_t character, FILE *stream){
    PCM_ADVANCING(wint_t, stream, PCM_REAL(fputwc_unlocked)(character, stream))}

PCM_ALIAS(putwc_unlocked, fputwc_unlocked)

    PCM_EXPORT wint_t putwchar_unlocked(wchar_t character){
        PCM_ADVANCING(wint_t, stdout, PCM_REAL(putwchar_unlocked)(character))}

PCM_EXPORT int fputws(const wchar_t *text,
                      FILE *stream){PCM_ADVANCING(int, stream, PCM_REAL(fputws)(text, stream))}

PCM_EXPORT int fputws_unlocked(const wchar_t *text, FILE *stream){
    PCM_ADVANCING(int, stream, PCM_REAL(fputws_unlocked)(text, stream))}

PCM_EXPORT int vfwprintf(FILE *stream, const wchar_t *format, va_list arguments){
    PCM_ADVANCING(int, stream, PCM_REAL(vfwprintf)(stream, format, arguments))}

PCM_EXPORT int __vfwprintf_chk(FILE *stream, int flag, const wchar_t *format, va_list arguments){
    PCM_ADVANCING(int, stream, PCM_REAL(__vfwprintf_chk)(stream, flag, format, arguments))}

PCM_EXPORT int vwprintf(const wchar_t *format, va_list arguments)
{
    return vfwprintf(stdout, format, arguments);
}

PCM_EXPORT int
__vwprintf_chk(int flag, const wchar_t *format, va_list arguments)
{
    return __vfwprintf_chk(stdout, flag, format, arguments);
}

/* Pass the arguments behind `format` to a function that takes a list. */
#define VARIADIC(call)                                                                             \
    va_list list;                                                                                  \
    va_start(list, format);                                                                        \
    int size = call;                                                                               \
    va_end(list);                                                                                  \
    return size;

PCM_EXPORT int
fwprintf(FILE *stream, const wchar_t *format, ...)
{
    VARIADIC(vfwprintf(stream, format, list))
}

PCM_EXPORT int
__fwprintf_chk(FILE *stream, int flag, const wchar_t *format, ...)
{
    VARIADIC(__vfwprintf_chk(stream, flag, format, list))
}

PCM_EXPORT int
wprintf(const wchar_t *format, ...)
{
    VARIADIC(vfwprintf(stdout, format, list))
}

PCM_EXPORT int
__wprintf_chk(int flag, const wchar_t *format, ...)
{
    VARIADIC(__vfwprintf_chk(stdout, flag, format, list))
}

/* Without a stream libc says EINVAL. */
#define ENTERED(name, entry, stream)                                                               \
    if ((stream) == NULL)                                                                          \
        return PCM_REAL(name)(entry, stream);                                                      \
    PCM_ADVANCING(int, stream, PCM_REAL(name)(entry, stream))

PCM_EXPORT int
putpwent(const struct passwd *entry, FILE *stream){ENTERED(putpwent, entry, stream)}

PCM_EXPORT int putgrent(const struct group *entry, FILE *stream){ENTERED(putgrent, entry, stream)}

PCM_EXPORT int putspent(const struct spwd *entry, FILE *stream){ENTERED(putspent, entry, stream)}

PCM_EXPORT int putsgent(const struct sgrp *entry, FILE *stream)
{
    ENTERED(putsgent, entry, stream)
}
