"""What the descriptors of a process stand for, from the calls that make, copy and close them.

Where strace shows the path behind every descriptor (``-y``), this only tells whether calls are
missing; without it, this is all there is.  Invariant: a number that was there before the trace, or
came out of a socket, is unknown rather than guessed.
"""

from __future__ import annotations

import re

from precopy.access.strace.lines import Call
from precopy.access.strace.replay import Handler, Replay
from precopy.access.strace.sizes import integer
from precopy.access.strace.state import Opened, Table

_CLOEXEC = 0x80000
_APPEND = 0x400
_FIOCLEX, _FIONCLEX = 0x5451, 0x5450
_CLOSE_RANGE_UNSHARE, _CLOSE_RANGE_CLOEXEC = 2, 4
_F_DUPFD, _F_SETFD, _F_DUPFD_CLOEXEC = 0, 2, 1030
_MOST = 1 << 30  # no descriptor has a larger number


def _closes(call: Call, argument: int) -> bool:
    """Return whether flags ask for close-on-exec, whatever prefix they have."""
    if len(call.arguments) <= argument:
        return False
    return b"CLOEXEC" in call.argument(argument) or call.names(argument, "O_CLOEXEC", _CLOEXEC)


def _table(replay: Replay, call: Call) -> Table:
    return replay.process(call).table


def opened(
    replay: Replay, call: Call, path: bytes | None, closes: bool, appends: bool = False
) -> None:
    """Note that an open returned a descriptor; one that was open tells that a close is missing."""
    table = _table(replay, call)
    if call.value in table.fresh and not table.shared:
        replay.missing = replay.missing or call.line
    table.put(call.value, path, closes, Opened(0, appends))
    table.fresh.add(call.value)


def _close(replay: Replay, call: Call) -> None:
    _table(replay, call).drop(call.number(0))


def _close_range(replay: Replay, call: Call) -> None:
    process = replay.process(call)
    if len(call.arguments) > 2 and call.names(2, "CLOSE_RANGE_UNSHARE", _CLOSE_RANGE_UNSHARE):
        process.table = process.table.copy()
    first, last = call.number(0), call.number(1)
    last = _MOST if last < 0 else last
    later = len(call.arguments) > 2 and call.names(2, "CLOSE_RANGE_CLOEXEC", _CLOSE_RANGE_CLOEXEC)
    for fd in [fd for fd in process.table.paths if first <= fd <= last]:
        if later:
            process.table.closes.add(fd)
        else:
            process.table.drop(fd)


def _copy(flags: int | None = None) -> Handler:
    def handle(replay: Replay, call: Call) -> None:
        closes = flags is not None and _closes(call, flags)
        _table(replay, call).copy_to(call.number(0), call.value, closes)

    return handle


def _control(replay: Replay, call: Call) -> None:
    table, fd = _table(replay, call), call.number(0)
    if call.names(1, "F_DUPFD_CLOEXEC", _F_DUPFD_CLOEXEC):
        table.copy_to(fd, call.value, True)
    elif call.argument(1) in (b"F_DUPFD", b"0", b"0x0", b"0 /* F_DUPFD */"):
        table.copy_to(fd, call.value, False)
    elif call.argument(1) in (b"F_SETFD", b"2", b"0x2", b"0x2 /* F_SETFD */"):
        flags = call.argument(2)
        table.closes.discard(fd)
        if b"FD_CLOEXEC" in flags or re.match(rb"(?:0x)?1\b", flags):
            table.closes.add(fd)
    elif call.argument(1) in (b"F_SETFL", b"4", b"0x4", b"0x4 /* F_SETFL */"):
        file = table.opened.setdefault(fd, Opened())
        file.appends = call.names(2, "O_APPEND", _APPEND)


def on_ioctl(replay: Replay, call: Call) -> None:
    """Note what an ioctl does to a descriptor."""
    request = call.argument(1)
    if b"FIONCLEX" in request or request == b"0x%x" % _FIONCLEX:
        _table(replay, call).closes.discard(call.number(0))
    elif b"FIOCLEX" in request or request == b"0x%x" % _FIOCLEX:
        _table(replay, call).closes.add(call.number(0))


def at(replay: Replay, call: Call, argument: int) -> Opened:
    """Return the open file behind a descriptor argument; where it is may be unknown."""
    return _table(replay, call).opened.setdefault(call.number(argument), Opened())


def _seek(replay: Replay, call: Call) -> None:
    far = call.name == b"_llseek"
    position = integer(call.argument(3)) if far else call.value
    file = at(replay, call, 0)
    file.position = position
    whence, offset = call.argument(4 if far else 2), None if far else integer(call.argument(1))
    if whence not in (b"SEEK_END", b"2", b"0x2 /* SEEK_END */"):
        return
    path = replay.path(call, 0)
    if path in replay.files and position is not None and offset is not None:
        replay.sizes.tell(path, call, position - offset)


def _read(replay: Replay, call: Call) -> None:
    """Follow a read: where it leaves the descriptor, and what it tells of the size."""
    fd = call.number(0)
    file = _table(replay, call).opened.get(fd)
    if file is None or file.position is None:
        return
    path = replay.path(call, 0)
    file.position += call.value
    if path is None or path not in replay.files or path.startswith((b"/proc/", b"/sys/")):
        return
    if call.value:
        replay.sizes.reach(path, call, file.position)
    elif (
        call.name == b"read"
        and call.argument(2) not in (b"0", b"0x0")
        and (path in replay.sizes.least)
    ):
        replay.sizes.tell(path, call, file.position)


def _makes(flags: int | None = None, *, closes: bool = False) -> Handler:
    """Handle what makes a descriptor of something that is no file."""

    def handle(replay: Replay, call: Call) -> None:
        close = closes or (flags is not None and _closes(call, flags))
        _table(replay, call).put(call.value, None, close)

    return handle


def _pair(argument: int, flags: int | None) -> Handler:
    def handle(replay: Replay, call: Call) -> None:
        closes = flags is not None and _closes(call, flags)
        found = re.match(rb"\[(\d{1,9})\b.*?, (\d{1,9})\b", call.argument(argument), re.DOTALL)
        for fd in found.groups() if found else ():
            _table(replay, call).put(int(fd), None, closes)

    return handle


def _receive(replay: Replay, call: Call) -> None:
    for received in re.finditer(rb"SCM_RIGHTS, cmsg_data=\[([^\]]*)\]", call.text):
        for fd in re.findall(rb"(?:^|, )(\d{1,9})(?=[<,\s]|$)", received[1]):
            _table(replay, call).drop(int(fd))


def _take(replay: Replay, call: Call) -> None:
    _table(replay, call).drop(call.value)


def _all(handler: Handler, names: str) -> dict[bytes, Handler]:
    return dict.fromkeys(names.encode().split(), handler)


HANDLERS: dict[bytes, Handler] = {
    **_all(_seek, "lseek _llseek"),
    **_all(_read, "read readv"),
    b"close": _close,
    b"close_range": _close_range,
    **_all(_copy(), "dup dup2"),
    b"dup3": _copy(2),
    **_all(_control, "fcntl fcntl64"),
    **_all(_makes(), "epoll_create eventfd inotify_init signalfd"),
    **_all(_makes(0), "epoll_create1 inotify_init1 userfaultfd memfd_secret fanotify_init"),
    **_all(_makes(1), "eventfd2 socket timerfd_create memfd_create mq_open fsopen"),
    **_all(_makes(3), "accept4 signalfd4"),
    b"accept": _makes(),
    b"perf_event_open": _makes(4),
    **_all(_makes(closes=True), "pidfd_open landlock_create_ruleset"),
    b"pipe": _pair(0, None),
    b"pipe2": _pair(0, 1),
    b"socketpair": _pair(3, 1),
    **_all(_receive, "recvmsg recvmmsg"),
    b"pidfd_getfd": _take,
}
"""What each call does to the descriptors of a process."""
