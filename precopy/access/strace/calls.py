"""What each system call does to files, to names, and to the state of a process.

Every call of Linux has a handler here or in `precopy.access.strace.descriptors`, or stands among
those in `precopy.access.strace.harmless`.  A call that is in none of them is counted.
"""

from __future__ import annotations

import os
import re
import stat

from precopy.access.strace import descriptors
from precopy.access.strace.lines import STARTING, Call, Unreadable, unescape
from precopy.access.strace.names import Names, upwards
from precopy.access.strace.replay import Handler, Replay, start
from precopy.access.strace.sizes import integer, regular_size
from precopy.access.strace.state import Memory, Place, shares

_AT_REMOVEDIR, _AT_NOFOLLOW, _AT_FOLLOW = 0x200, 0x100, 0x400
_MAP_SHARED, _MAP_ANONYMOUS, _PROT_WRITE, _PROT_EXEC = 1, 0x20, 2, 4
_RENAME_EXCHANGE = 2
_PAGE = 4096
_MOST = 0x7FFFF000  # no call moves more bytes
_FICLONE = (0x40049409, 0x4020940D)
_SETFLAGS = (0x40086602, 0x40046602, 0x401C5820)
_AIO = re.compile(
    rb"aio_lio_opcode=(?:IOCB_CMD_)?(PWRITEV?|[18])\b.*?aio_fildes=(\d+(?:<[^>]*>(?:\(deleted\))?)?)"
    rb"(?:(?!aio_lio_opcode).)*?(?:aio_nbytes|iov_len)=(\d{1,20})",
    re.DOTALL,
)


def _nofollow(call: Call, flags: int) -> bool:
    return len(call.arguments) > flags and call.names(flags, "AT_SYMLINK_NOFOLLOW", _AT_NOFOLLOW)


def _open(flags: int | None, path: int | None = None, directory: int | None = None) -> Handler:
    """Handle an open: its flags' argument, and those that name the file."""

    def handle(replay: Replay, call: Call) -> None:
        def has(name: str) -> bool:
            return flags is not None and call.names(flags, name, getattr(os, name))

        how = call.argument(flags) if flags is not None else b""
        opened = call.value_path
        nofollow = has("O_NOFOLLOW") or (has("O_CREAT") and has("O_EXCL"))
        temporary = has("O_TMPFILE")
        found = None
        if path is not None and not temporary:
            beyond = b"RESOLVE_IN_ROOT" in how
            found = (
                None
                if beyond
                else replay.find(
                    call, path, directory, follow=not nofollow, sure=not call.value_described
                )
            )
            if beyond and not call.value_described:
                replay.unresolved += 1
        if not call.value_described and path is not None:
            # A descriptor that was gone before strace could look, or a trace without -y.
            opened = found.path if found else None
        elif opened is not None and found is not None and not _deleted(call):
            replay.learn(call, found, opened)
        descriptors.opened(
            replay, call, None if temporary else opened, has("O_CLOEXEC"), has("O_APPEND")
        )
        if temporary:
            return
        if has("O_PATH") or has("O_DIRECTORY"):
            replay.look(opened, call, "directory" if has("O_DIRECTORY") else "")
            return
        both = has("O_RDWR")
        write = both or has("O_WRONLY") or flags is None
        truncated = has("O_TRUNC") or flags is None
        creates = flags is None or has("O_CREAT")
        absent = replay.is_absent(opened)
        made = truncated and creates and absent
        known = opened in replay.files
        replay.touch(
            opened,
            call,
            opens=1,
            read=both or not write,
            write=write or truncated,
            changes=truncated and not made,
        )
        if opened in replay.files:
            if truncated or (creates and (has("O_EXCL") or absent)):
                # O_TRUNC alone leaves open whether the file was there: it has no bytes now.
                replay.sizes.made(opened, call, known=known or not creates, sure=True)
            elif creates and not known:
                replay.sizes.made(opened, call, known=False, sure=False)

    return handle


def _deleted(call: Call) -> bool:
    return b">(deleted)" in call.text[-20:]


def _write(descriptor: int, offset: int | None = None) -> Handler:
    """Handle a write: which argument is the descriptor, and which says where (-1, NULL: it)."""

    def handle(replay: Replay, call: Call) -> None:
        if call.value > 0:  # copy_file_range and sendfile say with 0 that the source has ended
            if call.value > _MOST:
                raise Unreadable
            path = _behind(replay, call, descriptor)
            replay.touch(path, call, write=True, writes=1, written=call.value)
            if path is not None and path in replay.files:
                given = offset is not None and offset < len(call.arguments)
                at = integer(call.argument(offset)) if given and offset is not None else None
                file = descriptors.at(replay, call, descriptor)
                replay.sizes.write(path, call, file, at if at is not None and at >= 0 else None)

    return handle


def _behind(replay: Replay, call: Call, argument: int) -> bytes | None:
    """Return the path behind a descriptor, and count one that strace could not tell."""
    replay.unknown_descriptors += not replay.knows(call, argument)
    return replay.path(call, argument)


def _submit(replay: Replay, call: Call) -> None:
    """Handle io_submit: what it hands over is written, unless the disk fails."""
    for match in _AIO.finditer(call.text):
        if int(match[3]) > _MOST:
            raise Unreadable
        part = Call(call.pid, call.time_ns, b"", b"(" + match[2] + b") = 0", call.line)
        replay.touch(_behind(replay, part, 0), call, write=True, writes=1, written=int(match[3]))


def _change(
    path: int, directory: int | None = None, flags: int | None = None, *, follow: bool = False
) -> Handler:
    """Handle what makes or changes the file that the arguments name."""

    def handle(replay: Replay, call: Call) -> None:
        if call.argument(path) == b"NULL" and directory is not None:
            replay.touch(replay.path(call, directory), call, changes=1)  # futimens
            return
        through = follow and not (flags is not None and _nofollow(call, flags))
        replay.touch(replay.resolve(call, path, directory, follow=through), call, changes=1)

    return handle


def _remove(path: int, directory: int | None = None, flags: int | None = None) -> Handler:
    def handle(replay: Replay, call: Call) -> None:
        name = replay.resolve(call, path, directory)
        whole = flags is not None and call.names(flags, "AT_REMOVEDIR", _AT_REMOVEDIR)
        if name is not None and (whole or call.name == b"rmdir"):
            replay.directories.add(name)
        replay.remove(name, call)

    return handle


def _link(old: int, new: int, flags: int | None = None) -> Handler:
    def handle(replay: Replay, call: Call) -> None:
        directories = (old - 1, new - 1) if old == 1 else (None, None)
        follow = flags is not None and call.names(flags, "AT_SYMLINK_FOLLOW", _AT_FOLLOW)
        spelled = call.string(old) or b""
        nameless = spelled.startswith(b"/proc/") or not spelled  # O_TMPFILE gets its name
        source = None
        if not nameless:
            source = replay.resolve(call, old, directories[0], follow=follow)
            replay.look(source, call)
        target = replay.resolve(call, new, directories[1])
        if target is not None:
            replay.give_name(call, source, target)

    return handle


def _symlink(target: int, path: int, directory: int | None = None) -> Handler:
    def handle(replay: Replay, call: Call) -> None:
        name = replay.resolve(call, path, directory)
        if name is not None:
            replay.touch(name, call, changes=1)
            replay.links.add(name)
            replay.names.link(name, call.string(target))

    return handle


def _rename(old: int, new: int, flags: int | None = None) -> Handler:
    def handle(replay: Replay, call: Call) -> None:
        directories = (old - 1, new - 1) if old == 1 else (None, None)
        before = replay.resolve(call, old, directories[0])
        after = replay.resolve(call, new, directories[1])
        swap = flags is not None and call.names(flags, "RENAME_EXCHANGE", _RENAME_EXCHANGE)
        if before is None or after is None:
            replay.remove(before, call)
            replay.touch(after, call, changes=1)
        elif before != after:
            replay.rename(call, before, after, exchange=swap)

    return handle


def _change_open(replay: Replay, call: Call) -> None:
    replay.touch(_behind(replay, call, 0), call, changes=1)


def _resize_open(replay: Replay, call: Call) -> None:
    _change_open(replay, call)
    path, numbers = replay.path(call, 0), [integer(text) for text in call.arguments[1:]]
    if path is None or path not in replay.files or not numbers or None in numbers[-1:]:
        return
    if call.name.startswith(b"ftruncate"):
        replay.sizes.set(path, call, numbers[0] or 0)
    elif len(numbers) == 3 and numbers[1] is not None and numbers[2] is not None:
        mode = call.argument(1)
        if b"COLLAPSE_RANGE" in mode or mode in (b"0x8", b"8"):
            replay.sizes.resize(path, call, -numbers[2])
        elif b"INSERT_RANGE" in mode or mode in (b"0x20", b"32"):
            replay.sizes.resize(path, call, numbers[2])
        elif not call.names(1, "FALLOC_FL_KEEP_SIZE", 1):
            replay.sizes.reach(path, call, numbers[1] + numbers[2])


def _resize(replay: Replay, call: Call) -> None:
    path = replay.resolve(call, 0, follow=True)
    replay.touch(path, call, changes=1)
    size = integer(call.argument(1))
    if path is not None and path in replay.files and size is not None:
        replay.sizes.set(path, call, size)


def _ioctl(replay: Replay, call: Call) -> None:
    descriptors.on_ioctl(replay, call)
    request = call.argument(1)
    number = re.match(rb"0x[0-9a-f]{1,16}\b", request)
    value = int(number[0], 16) if number else -1
    if b"FICLONE" in request or b"_SETFLAGS" in request or value in (*_FICLONE, *_SETFLAGS):
        replay.touch(replay.path(call, 0), call, changes=1)


def _number(call: Call, argument: int) -> int:
    try:
        return int(call.argument(argument), 0)
    except ValueError:
        raise Unreadable from None


def _map(replay: Replay, call: Call) -> None:
    if call.names(3, "MAP_ANONYMOUS", _MAP_ANONYMOUS):
        return
    path = replay.path(call, 4)
    if path is None:
        return
    if call.names(2, "PROT_EXEC", _PROT_EXEC):
        replay.touch(path, call, read=True, loaded=True)
    if call.names(3, "MAP_SHARED", _MAP_SHARED) or call.names(3, "MAP_SHARED_VALIDATE", 3):
        if call.names(2, "PROT_WRITE", _PROT_WRITE):
            replay.touch(path, call, write=True, mapped=True)
        else:
            length = _number(call, 1)
            entry = (call.value, call.value + length, path)
            replay.process(call).memory.maps.append(entry)


def _protect(replay: Replay, call: Call) -> None:
    maps = replay.process(call).memory.maps
    if maps and call.names(2, "PROT_WRITE", _PROT_WRITE):
        first = _number(call, 0)
        last = first + _number(call, 1)
        for begin, end, path in maps:
            if begin < last and first < end:
                replay.touch(path, call, write=True, mapped=True)


def _unmap(replay: Replay, call: Call) -> None:
    memory = replay.process(call).memory
    if memory.maps:
        first = _number(call, 0)
        last = first + -(-_number(call, 1) // _PAGE) * _PAGE
        memory.maps = [m for m in memory.maps if not (first <= m[0] and m[1] <= last)]


def _chdir(replay: Replay, call: Call) -> None:
    path = replay.resolve(call, 0, follow=True)
    replay.look(path, call, "directory")
    replay.move_to(call, path)


def _fchdir(replay: Replay, call: Call) -> None:
    replay.move_to(call, replay.path(call, 0))


def _getcwd(replay: Replay, call: Call) -> None:
    place = replay.process(call).place
    if place.root == b"/" and call.argument(0).startswith(b'"/'):
        path = call.argument(0)
        if not path.endswith(b"..."):
            place.cwd, place.guessed = unescape(path[1:-1]), False
            replay.names.show(unescape(path[1:-1]))


def _chroot(replay: Replay, call: Call) -> None:
    path = replay.resolve(call, 0, follow=True)
    if path is None:
        replay.blind.setdefault("chroot into an unknown directory", call.line)
        return
    replay.look(path, call, "directory")
    replay.process(call).place.root = path


def _pivot(replay: Replay, call: Call) -> None:
    path = replay.resolve(call, 0, follow=True, sure=False)
    if path is not None:
        replay.process(call).place.root = path
    _blind(replay, call)


def _blind(replay: Replay, call: Call) -> None:
    """Note a call after which files may be used that no later line shows, or under other names."""
    replay.blind.setdefault(call.name.decode("ascii", "replace"), call.line)


def _unshare(replay: Replay, call: Call) -> None:
    text = b"flags=" + call.argument(0)
    if shares(text, b"CLONE_FS", 0x200) or shares(text, b"CLONE_NEWNS", 0x20000):
        process = replay.process(call)
        place = process.place
        process.place = Place(place.cwd, place.root, place.guessed)
    if shares(text, b"CLONE_FILES", 0x400):
        process = replay.process(call)
        process.table = process.table.copy()
    replay.processes.namespaces |= shares(text, b"CLONE_NEWPID", 0x20000000)


def _setns(replay: Replay, call: Call) -> None:
    text = b"flags=" + call.argument(1)
    replay.processes.namespaces = True
    if b"mnt" in call.argument(0) or shares(text, b"CLONE_NEWNS", 0x20000) or text == b"flags=0":
        _blind(replay, call)


def _kind(text: bytes) -> str:
    if b"_mode=S_IFDIR" in text:
        return "directory"
    if b"_mode=S_IFLNK" in text:
        return "link"
    mode = re.search(rb"stx?_mode=0?([0-7]{1,6})\b", text)
    bits = stat.S_IFMT(int(mode[1], 8)) if mode else 0
    return {stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}.get(bits, "")


def _status(
    path: int, directory: int | None = None, flags: int | None = None, *, follow: bool = True
) -> Handler:
    """Handle what tells the status of a file by its name."""

    def handle(replay: Replay, call: Call) -> None:
        name = call.string(path)
        kind = _kind(call.text)
        if not name:  # AT_EMPTY_PATH: that of a descriptor
            if directory is not None:
                _of_open(replay, call, directory, kind)
            return
        through = follow and not (flags is not None and _nofollow(call, flags))
        found = replay.find(call, path, directory, follow=through, sure=False)
        if found is None:
            return
        certain = not [doubt for doubt in found.doubts if doubt != found.path]
        if kind == "link":
            replay.look(found.path, call, kind)
            replay.names.link(found.path, None)
            return
        replay.look(found.path, call, kind)
        if certain and not through and _upright(found.path, replay.names):
            replay.names.show(found.path)
        size = regular_size(call)
        if size is not None and replay.names.known(found.path) and found.path in replay.files:
            replay.sizes.tell(found.path, call, size)

    return handle


def _upright(path: bytes, names: Names) -> bool:
    """Return whether all directories above a path are known to be no links."""
    return all(names.known(above) for above in list(upwards(path))[1:])


def _is_directory(replay: Replay, path: bytes | None) -> None:
    if path is not None:
        replay.directories.add(path)


def _of_open(replay: Replay, call: Call, argument: int, kind: str) -> None:
    """Note what the status of an open file tells."""
    path = replay.path(call, argument)
    if kind == "directory":
        _is_directory(replay, path)
    elif path is not None and path in replay.files:
        size = regular_size(call)
        if size is not None:
            replay.sizes.tell(path, call, size)


def _fstat(replay: Replay, call: Call) -> None:
    _of_open(replay, call, 0, _kind(call.text))


def _list(replay: Replay, call: Call) -> None:
    path = replay.path(call, 0)
    _is_directory(replay, path)
    replay.touch(path, call, read=True, listed=True)


def _look(
    path: int, directory: int | None = None, flags: int | None = None, *, follow: bool = True
) -> Handler:
    def handle(replay: Replay, call: Call) -> None:
        if call.string(path):
            through = follow and not (flags is not None and _nofollow(call, flags))
            replay.look(replay.resolve(call, path, directory, follow=through, sure=False), call)

    return handle


def _readlink(path: int, directory: int | None = None) -> Handler:
    def handle(replay: Replay, call: Call) -> None:
        name = replay.resolve(call, path, directory, sure=False)
        if name is None or name.startswith((b"/proc/", b"/dev/", b"/sys/")):
            return
        replay.look(name, call, "link")
        try:
            target = call.string(path + 1)
        except Unreadable:
            target = None  # cut off by strace -s
        if target is not None and _upright(name, replay.names):
            replay.names.link(name, target)

    return handle


def _make_directory(path: int, directory: int | None = None) -> Handler:
    def handle(replay: Replay, call: Call) -> None:
        name = replay.resolve(call, path, directory)
        if name is not None:
            replay.make_directory(name, call)
            if _upright(name, replay.names):
                replay.names.show(name)

    return handle


def _exec(path: int, directory: int | None = None) -> Handler:
    def handle(replay: Replay, call: Call) -> None:
        program = replay.resolve(call, path, directory, follow=True, sure=False)
        process = replay.process(call)
        process.memory, process.table = Memory(), process.table.after_exec()
        if program:
            replay.run(call, program)

    return handle


def _all(handler: Handler, names: str) -> dict[bytes, Handler]:
    return dict.fromkeys(names.encode().split(), handler)


HANDLERS: dict[bytes, Handler] = {
    b"open": _open(1, 0),
    **_all(_open(2, 1, 0), "openat openat2"),
    b"open_by_handle_at": _open(2),
    b"creat": _open(None, 0),
    **_all(_write(0), "write writev sendfile sendfile64 vmsplice"),
    **_all(_write(0, 3), "pwrite64 pwrite pwritev pwritev2"),
    **_all(_write(2, 3), "splice copy_file_range"),
    b"io_submit": _submit,
    **_all(_resize_open, "ftruncate ftruncate64 fallocate"),
    **_all(_change_open, "fchmod fchown fchown32 fsetxattr"),
    **_all(_change_open, "fremovexattr"),
    **_all(_resize, "truncate truncate64"),
    **_all(_change(0, follow=True), "chmod chown chown32 utime utimes"),
    **_all(_change(0, follow=True), "setxattr removexattr acct swapon"),
    **_all(_change(0), "mknod lchown lchown32 lsetxattr lremovexattr"),
    b"mknodat": _change(1, 0),
    b"fchmodat": _change(1, 0, follow=True),
    b"fchmodat2": _change(1, 0, 3, follow=True),
    b"fchownat": _change(1, 0, 4, follow=True),
    b"futimesat": _change(1, 0, follow=True),
    **_all(_change(1, 0, 3, follow=True), "utimensat utimensat_time64"),
    **_all(_change(1, 0, 2, follow=True), "setxattrat removexattrat"),
    b"file_setattr": _change(1, 0, 4, follow=True),
    **_all(_remove(0), "unlink rmdir"),
    b"unlinkat": _remove(1, 0, 2),
    b"link": _link(0, 1),
    b"linkat": _link(1, 3, 4),
    b"symlink": _symlink(0, 1),
    b"symlinkat": _symlink(0, 2, 1),
    b"rename": _rename(0, 1),
    b"renameat": _rename(1, 3),
    b"renameat2": _rename(1, 3, 4),
    b"ioctl": _ioctl,
    **_all(_map, "mmap mmap2"),
    **_all(_protect, "mprotect pkey_mprotect"),
    b"munmap": _unmap,
    b"mkdir": _make_directory(0),
    b"mkdirat": _make_directory(1, 0),
    **_all(_list, "getdents getdents64 readdir"),
    **_all(_fstat, "fstat fstat64 oldfstat"),
    **_all(_status(0), "stat stat64 oldstat"),
    **_all(_status(0, follow=False), "lstat lstat64 oldlstat"),
    **_all(_status(1, 0, 3), "newfstatat fstatat64"),
    b"statx": _status(1, 0, 2),
    **_all(_look(0), "access getxattr listxattr statfs statfs64 uselib"),
    **_all(_look(0, follow=False), "lgetxattr llistxattr"),
    **_all(_look(1, 0, 3), "faccessat faccessat2"),
    **_all(_look(1, 0, 2), "getxattrat listxattrat"),
    b"name_to_handle_at": _look(1, 0, follow=False),
    b"inotify_add_watch": _look(1),
    b"fanotify_mark": _look(4, 3),
    b"readlink": _readlink(0),
    b"readlinkat": _readlink(1, 0),
    b"chdir": _chdir,
    b"fchdir": _fchdir,
    b"getcwd": _getcwd,
    b"chroot": _chroot,
    b"pivot_root": _pivot,
    b"unshare": _unshare,
    b"setns": _setns,
    b"execve": _exec(0),
    b"execveat": _exec(1, 0),
    **_all(_blind, "mount umount umount2 move_mount open_tree open_tree_attr fsmount fspick"),
    **_all(_blind, "mount_setattr io_uring_setup remap_file_pages"),
    **descriptors.HANDLERS,
    **dict.fromkeys(STARTING, start),
}
"""What each call does that succeeded."""
