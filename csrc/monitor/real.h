/* real.h - the functions that the hooks stand in front of.
 *
 * Invariant: after pcm_real_resolve() every pointer leads to the next definition of its name behind
 * this library, or is NULL because there is none. */
#ifndef PCM_REAL_H
#define PCM_REAL_H

#include <aio.h>
#include <dirent.h>
#include <fcntl.h>
#include <locale.h>
#include <nl_types.h>
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <link.h>
#include <semaphore.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <wchar.h>

struct group;
struct mntent;
struct passwd;
struct sgrp;
struct spwd;
struct termios;
struct utimbuf;
struct utmp;
struct utmpx;
struct winsize;
struct io_uring;
struct io_uring_params;

/* return type, name, parameters */
#define PCM_REAL_FUNCTIONS(X)                                                                      \
    X(int, open, (const char *, int, ...))                                                         \
    X(int, open64, (const char *, int, ...))                                                       \
    X(int, openat, (int, const char *, int, ...))                                                  \
    X(int, openat64, (int, const char *, int, ...))                                                \
    X(int, creat, (const char *, mode_t))                                                          \
    X(int, creat64, (const char *, mode_t))                                                        \
    X(int, mkstemp, (char *))                                                                      \
    X(int, mkstemp64, (char *))                                                                    \
    X(int, mkostemp, (char *, int))                                                                \
    X(int, mkostemp64, (char *, int))                                                              \
    X(int, mkstemps, (char *, int))                                                                \
    X(int, mkstemps64, (char *, int))                                                              \
    X(int, mkostemps, (char *, int, int))                                                          \
    X(int, mkostemps64, (char *, int, int))                                                        \
    X(int, shm_open, (const char *, int, mode_t))                                                  \
    X(int, shm_unlink, (const char *))                                                             \
    X(sem_t *, sem_open, (const char *, int, ...))                                                 \
    X(int, sem_unlink, (const char *))                                                             \
    X(int, open_by_handle_at, (int, struct file_handle *, int))                                    \
    X(int, mknod, (const char *, mode_t, dev_t))                                                   \
    X(int, mknodat, (int, const char *, mode_t, dev_t))                                            \
    X(FILE *, fopen, (const char *, const char *))                                                 \
    X(FILE *, fopen64, (const char *, const char *))                                               \
    X(FILE *, freopen, (const char *, const char *, FILE *))                                       \
    X(FILE *, freopen64, (const char *, const char *, FILE *))                                     \
    X(int, fstat, (int, struct stat *))                                                            \
    X(int, fstat64, (int, struct stat64 *))                                                        \
    X(int, __fxstat, (int, int, struct stat *))                                                    \
    X(int, __fxstat64, (int, int, struct stat64 *))                                                \
    X(struct dirent *, readdir, (DIR *))                                                           \
    X(struct dirent64 *, readdir64, (DIR *))                                                       \
    X(int, clone, (int (*)(void *), void *, int, void *, ...))                                     \
    X(int, close, (int))                                                                           \
    X(int, close_range, (unsigned, unsigned, int))                                                 \
    X(int, dup, (int))                                                                             \
    X(int, dup2, (int, int))                                                                       \
    X(int, dup3, (int, int, int))                                                                  \
    X(int, fcntl, (int, int, ...))                                                                 \
    X(int, fcntl64, (int, int, ...))                                                               \
    X(ssize_t, write, (int, const void *, size_t))                                                 \
    X(ssize_t, pwrite, (int, const void *, size_t, off_t))                                         \
    X(ssize_t, pwrite64, (int, const void *, size_t, off64_t))                                     \
    X(ssize_t, writev, (int, const struct iovec *, int))                                           \
    X(ssize_t, pwritev, (int, const struct iovec *, int, off_t))                                   \
    X(ssize_t, pwritev64, (int, const struct iovec *, int, off64_t))                               \
    X(ssize_t, pwritev2, (int, const struct iovec *, int, off_t, int))                             \
    X(ssize_t, pwritev64v2, (int, const struct iovec *, int, off64_t, int))                        \
    X(ssize_t, copy_file_range, (int, off64_t *, int, off64_t *, size_t, unsigned))                \
    X(ssize_t, sendfile, (int, int, off_t *, size_t))                                              \
    X(ssize_t, sendfile64, (int, int, off64_t *, size_t))                                          \
    X(ssize_t, splice, (int, off64_t *, int, off64_t *, size_t, unsigned))                         \
    X(int, truncate, (const char *, off_t))                                                        \
    X(int, truncate64, (const char *, off64_t))                                                    \
    X(int, ftruncate, (int, off_t))                                                                \
    X(int, ftruncate64, (int, off64_t))                                                            \
    X(int, fallocate, (int, int, off_t, off_t))                                                    \
    X(int, fallocate64, (int, int, off64_t, off64_t))                                              \
    X(int, posix_fallocate, (int, off_t, off_t))                                                   \
    X(int, posix_fallocate64, (int, off64_t, off64_t))                                             \
    X(int, aio_write, (struct aiocb *))                                                            \
    X(int, aio_write64, (struct aiocb64 *))                                                        \
    X(int, lio_listio, (int, struct aiocb *const *, int, struct sigevent *))                       \
    X(int, lio_listio64, (int, struct aiocb64 *const *, int, struct sigevent *))                   \
    X(int, ioctl, (int, unsigned long, ...))                                                       \
    X(void *, mmap, (void *, size_t, int, int, int, off_t))                                        \
    X(void *, mmap64, (void *, size_t, int, int, int, off64_t))                                    \
    X(int, chdir, (const char *))                                                                  \
    X(int, fchdir, (int))                                                                          \
    X(int, chroot, (const char *))                                                                 \
    X(int, rename, (const char *, const char *))                                                   \
    X(int, renameat, (int, const char *, int, const char *))                                       \
    X(int, renameat2, (int, const char *, int, const char *, unsigned))                            \
    X(int, unlink, (const char *))                                                                 \
    X(int, unlinkat, (int, const char *, int))                                                     \
    X(int, remove, (const char *))                                                                 \
    X(int, link, (const char *, const char *))                                                     \
    X(int, linkat, (int, const char *, int, const char *, int))                                    \
    X(int, symlink, (const char *, const char *))                                                  \
    X(int, symlinkat, (const char *, int, const char *))                                           \
    X(int, mkdir, (const char *, mode_t))                                                          \
    X(int, mkdirat, (int, const char *, mode_t))                                                   \
    X(char *, mkdtemp, (char *))                                                                   \
    X(int, rmdir, (const char *))                                                                  \
    X(DIR *, opendir, (const char *))                                                              \
    X(DIR *, fdopendir, (int))                                                                     \
    X(ssize_t, getdents64, (int, void *, size_t))                                                  \
    X(int, scandir,                                                                                \
      (const char *, struct dirent ***, int (*)(const struct dirent *),                            \
       int (*)(const struct dirent **, const struct dirent **)))                                   \
    X(int, scandir64,                                                                              \
      (const char *, struct dirent64 ***, int (*)(const struct dirent64 *),                        \
       int (*)(const struct dirent64 **, const struct dirent64 **)))                               \
    X(int, scandirat,                                                                              \
      (int, const char *, struct dirent ***, int (*)(const struct dirent *),                       \
       int (*)(const struct dirent **, const struct dirent **)))                                   \
    X(int, scandirat64,                                                                            \
      (int, const char *, struct dirent64 ***, int (*)(const struct dirent64 *),                   \
       int (*)(const struct dirent64 **, const struct dirent64 **)))                               \
    X(int, ftw, (const char *, __ftw_func_t, int))                                                 \
    X(int, ftw64, (const char *, __ftw64_func_t, int))                                             \
    X(int, nftw, (const char *, __nftw_func_t, int, int))                                          \
    X(int, nftw64, (const char *, __nftw64_func_t, int, int))                                      \
    X(FTSENT *, fts_read, (FTS *))                                                                 \
    X(FTSENT64 *, fts64_read, (FTS64 *))                                                           \
    X(int, glob, (const char *, int, int (*)(const char *, int), glob_t *))                        \
    X(int, glob64, (const char *, int, int (*)(const char *, int), glob64_t *))                    \
    X(int, stat, (const char *, struct stat *))                                                    \
    X(int, stat64, (const char *, struct stat64 *))                                                \
    X(int, lstat, (const char *, struct stat *))                                                   \
    X(int, lstat64, (const char *, struct stat64 *))                                               \
    X(int, fstatat, (int, const char *, struct stat *, int))                                       \
    X(int, fstatat64, (int, const char *, struct stat64 *, int))                                   \
    X(int, __xstat, (int, const char *, struct stat *))                                            \
    X(int, __xstat64, (int, const char *, struct stat64 *))                                        \
    X(int, __lxstat, (int, const char *, struct stat *))                                           \
    X(int, __lxstat64, (int, const char *, struct stat64 *))                                       \
    X(int, __fxstatat, (int, int, const char *, struct stat *, int))                               \
    X(int, __fxstatat64, (int, int, const char *, struct stat64 *, int))                           \
    X(int, statx, (int, const char *, int, unsigned, struct statx *))                              \
    X(int, access, (const char *, int))                                                            \
    X(int, faccessat, (int, const char *, int, int))                                               \
    X(int, euidaccess, (const char *, int))                                                        \
    X(int, eaccess, (const char *, int))                                                           \
    X(ssize_t, readlink, (const char *, char *, size_t))                                           \
    X(ssize_t, readlinkat, (int, const char *, char *, size_t))                                    \
    X(ssize_t, __readlink_chk, (const char *, char *, size_t, size_t))                             \
    X(ssize_t, __readlinkat_chk, (int, const char *, char *, size_t, size_t))                      \
    X(char *, realpath, (const char *, char *))                                                    \
    X(char *, __realpath_chk, (const char *, char *, size_t))                                      \
    X(char *, canonicalize_file_name, (const char *))                                              \
    X(int, inotify_add_watch, (int, const char *, uint32_t))                                       \
    X(int, statfs, (const char *, struct statfs *))                                                \
    X(int, statfs64, (const char *, struct statfs64 *))                                            \
    X(int, statvfs, (const char *, struct statvfs *))                                              \
    X(int, statvfs64, (const char *, struct statvfs64 *))                                          \
    X(ssize_t, getxattr, (const char *, const char *, void *, size_t))                             \
    X(ssize_t, lgetxattr, (const char *, const char *, void *, size_t))                            \
    X(ssize_t, listxattr, (const char *, char *, size_t))                                          \
    X(ssize_t, llistxattr, (const char *, char *, size_t))                                         \
    X(int, name_to_handle_at, (int, const char *, struct file_handle *, int *, int))               \
    X(void *, dlmopen, (Lmid_t, const char *, int))                                                \
    X(int, dl_iterate_phdr, (int (*)(struct dl_phdr_info *, size_t, void *), void *))              \
    X(int, execve, (const char *, char *const[], char *const[]))                                   \
    X(int, execvpe, (const char *, char *const[], char *const[]))                                  \
    X(int, fexecve, (int, char *const[], char *const[]))                                           \
    X(int, execveat, (int, const char *, char *const[], char *const[], int))                       \
    X(int, posix_spawn,                                                                            \
      (pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,       \
       char *const[], char *const[]))                                                              \
    X(int, posix_spawnp,                                                                           \
      (pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,       \
       char *const[], char *const[]))                                                              \
    X(int, posix_spawn_file_actions_addopen,                                                       \
      (posix_spawn_file_actions_t *, int, const char *, int, mode_t))                              \
    X(int, posix_spawn_file_actions_addchdir_np, (posix_spawn_file_actions_t *, const char *))     \
    X(int, posix_spawn_file_actions_addfchdir_np, (posix_spawn_file_actions_t *, int))             \
    X(int, login_tty, (int))                                                                       \
    X(pid_t, _Fork, (void))                                                                        \
    X(pid_t, forkpty, (int *, char *, const struct termios *, const struct winsize *))             \
    X(int, system, (const char *))                                                                 \
    X(FILE *, popen, (const char *, const char *))                                                 \
    X(void *, dlopen, (const char *, int))                                                         \
    X(pid_t, fork, (void))                                                                         \
    X(int, daemon, (int, int))                                                                     \
    X(int, setuid, (uid_t))                                                                        \
    X(int, setgid, (gid_t))                                                                        \
    X(int, seteuid, (uid_t))                                                                       \
    X(int, setegid, (gid_t))                                                                       \
    X(int, setreuid, (uid_t, uid_t))                                                               \
    X(int, setregid, (gid_t, gid_t))                                                               \
    X(int, setresuid, (uid_t, uid_t, uid_t))                                                       \
    X(int, setresgid, (gid_t, gid_t, gid_t))                                                       \
    X(int, setgroups, (size_t, const gid_t *))                                                     \
    X(int, initgroups, (const char *, gid_t))                                                      \
    X(int, setfsuid, (uid_t))                                                                      \
    X(int, setfsgid, (gid_t))                                                                      \
    X(int, capset, (void *, const void *))                                                         \
    X(int, unshare, (int))                                                                         \
    X(int, pivot_root, (const char *, const char *))                                               \
    X(int, setns, (int, int))                                                                      \
    X(int, prctl, (int, ...))                                                                      \
    X(long, syscall, (long, ...))                                                                  \
    X(int, pclose, (FILE *))                                                                       \
    X(int, fclose, (FILE *))                                                                       \
    X(int, fcloseall, (void))                                                                      \
    X(int, fflush, (FILE *))                                                                       \
    X(int, fflush_unlocked, (FILE *))                                                              \
    X(int, fseek, (FILE *, long, int))                                                             \
    X(int, fseeko, (FILE *, off_t, int))                                                           \
    X(int, fseeko64, (FILE *, off64_t, int))                                                       \
    X(int, fsetpos, (FILE *, const fpos_t *))                                                      \
    X(int, fsetpos64, (FILE *, const fpos64_t *))                                                  \
    X(void, rewind, (FILE *))                                                                      \
    X(void, perror, (const char *))                                                                \
    X(void, vwarn, (const char *, va_list))                                                        \
    X(void, vwarnx, (const char *, va_list))                                                       \
    X(size_t, fwrite, (const void *, size_t, size_t, FILE *))                                      \
    X(size_t, fwrite_unlocked, (const void *, size_t, size_t, FILE *))                             \
    X(int, fputs, (const char *, FILE *))                                                          \
    X(int, fputs_unlocked, (const char *, FILE *))                                                 \
    X(int, puts, (const char *))                                                                   \
    X(int, fputc, (int, FILE *))                                                                   \
    X(int, fputc_unlocked, (int, FILE *))                                                          \
    X(int, putc, (int, FILE *))                                                                    \
    X(int, _IO_putc, (int, FILE *))                                                                \
    X(int, putc_unlocked, (int, FILE *))                                                           \
    X(int, putchar, (int))                                                                         \
    X(int, putchar_unlocked, (int))                                                                \
    X(int, __overflow, (FILE *, int))                                                              \
    X(int, vfprintf, (FILE *, const char *, va_list))                                              \
    X(int, __vfprintf_chk, (FILE *, int, const char *, va_list))                                   \
    X(int, vdprintf, (int, const char *, va_list))                                                 \
    X(int, __vdprintf_chk, (int, int, const char *, va_list))                                      \
    X(int, vfwprintf, (FILE *, const wchar_t *, va_list))                                          \
    X(wint_t, fputwc, (wchar_t, FILE *))                                                           \
    X(int, chmod, (const char *, mode_t))                                                          \
    X(int, lchmod, (const char *, mode_t))                                                         \
    X(int, fchmod, (int, mode_t))                                                                  \
    X(int, fchmodat, (int, const char *, mode_t, int))                                             \
    X(int, chown, (const char *, uid_t, gid_t))                                                    \
    X(int, lchown, (const char *, uid_t, gid_t))                                                   \
    X(int, fchown, (int, uid_t, gid_t))                                                            \
    X(int, fchownat, (int, const char *, uid_t, gid_t, int))                                       \
    X(int, setxattr, (const char *, const char *, const void *, size_t, int))                      \
    X(int, lsetxattr, (const char *, const char *, const void *, size_t, int))                     \
    X(int, fsetxattr, (int, const char *, const void *, size_t, int))                              \
    X(int, removexattr, (const char *, const char *))                                              \
    X(int, lremovexattr, (const char *, const char *))                                             \
    X(int, fremovexattr, (int, const char *))                                                      \
    X(int, utime, (const char *, const struct utimbuf *))                                          \
    X(int, utimes, (const char *, const struct timeval *))                                         \
    X(int, lutimes, (const char *, const struct timeval *))                                        \
    X(int, futimes, (int, const struct timeval *))                                                 \
    X(int, futimesat, (int, const char *, const struct timeval *))                                 \
    X(int, utimensat, (int, const char *, const struct timespec *, int))                           \
    X(int, futimens, (int, const struct timespec *))                                               \
    X(ssize_t, recvmsg, (int, struct msghdr *, int))                                               \
    X(int, recvmmsg, (int, struct mmsghdr *, unsigned, int, struct timespec *))                    \
    X(int, pidfd_getfd, (int, int, unsigned))                                                      \
    X(int, io_uring_queue_init, (unsigned, struct io_uring *, unsigned))                           \
    X(int, io_uring_queue_init_params, (unsigned, struct io_uring *, struct io_uring_params *))    \
    X(int, io_uring_queue_init_mem,                                                                \
      (unsigned, struct io_uring *, struct io_uring_params *, void *, size_t))                     \
    X(int, io_uring_setup, (unsigned, struct io_uring_params *))                                   \
    X(FILE *, setmntent, (const char *, const char *))                                             \
    X(int, addmntent, (FILE *, const struct mntent *))                                             \
    X(int, endmntent, (FILE *))                                                                    \
    X(int, utmpname, (const char *))                                                               \
    X(struct utmp *, getutent, (void))                                                             \
    X(struct utmp *, getutid, (const struct utmp *))                                               \
    X(struct utmp *, getutline, (const struct utmp *))                                             \
    X(int, getutent_r, (struct utmp *, struct utmp **))                                            \
    X(int, getutid_r, (const struct utmp *, struct utmp *, struct utmp **))                        \
    X(int, getutline_r, (const struct utmp *, struct utmp *, struct utmp **))                      \
    X(struct utmpx *, getutxent, (void))                                                           \
    X(struct utmpx *, getutxid, (const struct utmpx *))                                            \
    X(struct utmpx *, getutxline, (const struct utmpx *))                                          \
    X(struct utmp *, pututline, (const struct utmp *))                                             \
    X(struct utmpx *, pututxline, (const struct utmpx *))                                          \
    X(void, updwtmp, (const char *, const struct utmp *))                                          \
    X(void, updwtmpx, (const char *, const struct utmpx *))                                        \
    X(void, logwtmp, (const char *, const char *, const char *))                                   \
    X(int, logout, (const char *))                                                                 \
    X(void, login, (const struct utmp *))                                                          \
    X(int, acct, (const char *))                                                                   \
    X(struct tm *, getdate, (const char *))                                                        \
    X(int, getdate_r, (const char *, struct tm *))                                                 \
    X(void, tzset, (void))                                                                         \
    X(struct tm *, localtime, (const time_t *))                                                    \
    X(struct tm *, localtime_r, (const time_t *, struct tm *))                                     \
    X(time_t, mktime, (struct tm *))                                                               \
    X(char *, bindtextdomain, (const char *, const char *))                                        \
    X(char *, setlocale, (int, const char *))                                                      \
    X(locale_t, newlocale, (int, const char *, locale_t))                                          \
    X(nl_catd, catopen, (const char *, int))                                                       \
    X(int, __open_2, (const char *, int))                                                          \
    X(int, __open64_2, (const char *, int))                                                        \
    X(int, __openat_2, (int, const char *, int))                                                   \
    X(int, __openat64_2, (int, const char *, int))                                                 \
    X(int, fputws, (const wchar_t *, FILE *))                                                      \
    X(wint_t, fputwc_unlocked, (wchar_t, FILE *))                                                  \
    X(wint_t, putwchar, (wchar_t))                                                                 \
    X(wint_t, putwchar_unlocked, (wchar_t))                                                        \
    X(int, fputws_unlocked, (const wchar_t *, FILE *))                                             \
    X(int, __vfwprintf_chk, (FILE *, int, const wchar_t *, va_list))                               \
    X(int, putw, (int, FILE *))                                                                    \
    X(int, putpwent, (const struct passwd *, FILE *))                                              \
    X(int, putgrent, (const struct group *, FILE *))                                               \
    X(int, putspent, (const struct spwd *, FILE *))                                                \
    X(int, putsgent, (const struct sgrp *, FILE *))

#define PCM_DECLARE(type, name, parameters) type(*name) parameters;

typedef struct {
    PCM_REAL_FUNCTIONS(PCM_DECLARE)
    void (*_exit)(int) __attribute__((noreturn));
    void (*quick_exit)(int) __attribute__((noreturn));
    void (*abort)(void) __attribute__((noreturn));
    int (*libc_clock_gettime)(clockid_t, struct timespec *);
} pcm_real_t;

extern pcm_real_t pcm_real;

void
pcm_real_resolve(void);

void
pcm_real_find(const char *name, void *pointer);

/* A hook may run before the library's constructor, out of another library's, or even inside it. */
#define PCM_REAL(name)                                                                             \
    (pcm_real.name != NULL ? (void)0 : pcm_real_find(#name, (void *)&pcm_real.name), pcm_real.name)

#endif
