"""Runs a command as if nobody watched, and waits for everything it started, daemons included.

``precopy record`` becomes this script (the same process: whoever started it sees no other), and
`precopy.access.tracking.recording` starts it for programs::

    python runner.py OPTIONS -- COMMAND ARGUMENT …

`OPTIONS` is a JSON object, see `main`.  Three processes: this one, the *runner*, is the command's
parent and passes on what concerns the command; a *witness* in the same process group knows which
signals went to all of it, and starts the supervisor of the log (with ``precopy record``); and the
command.

Invariants: standard library only; every signal is blocked from before the first process until the
end and fetched in one place, so there is no moment at which one is lost or meets a process that is
gone; the command inherits exactly what this process was given, its variables apart; it ends as the
command did.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

_PR_SET_PDEATHSIG, _PR_GET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 2, 4, 36
_SYS_CLONE = {"x86_64": 56, "aarch64": 220, "riscv64": 220}
_WALL = 0x40000000
_ALL = signal.valid_signals()
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
_OF_A_PROCESS = ("LISTEN_PID", "WATCHDOG_PID", "SYSTEMD_EXEC_PID")
"""Variables by which service managers name the process that they are for."""

_WAKE_EVERY_S = 0.05
_LOOK_EVERY_S = 0.2
_RESTARTS, _MOST_FAILURES = 50, 5
_START, _FINISH, _KILLED, _WATCH, _YES, _NO = b"s", b"f", b"k", b"w", b"1", b"0"
_LONGEST_S = {_START: 120.0, _FINISH: 900.0, _KILLED: 900.0}
"""How long a supervisor may take to begin, and to write what has been reported."""

_OFTEN_SENT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL)

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, argument: Any) -> None:
    _libc.prctl(option, argument, 0, 0, 0)


def _say(text: str) -> None:
    with suppress(OSError):
        os.write(2, f"precopy: {text}\n".encode(errors="replace"))


# --- the command ---------------------------------------------------------------------------------


def raw_environment() -> list[bytes]:
    """Return this process's environment as it was given, odd entries and order included.

    Python's own has a ``LC_CTYPE`` more in the C locale, and leaves out what has no ``=``.
    """
    with suppress(OSError), open("/proc/self/environ", "rb") as file:
        return file.read().split(b"\0")[:-1]
    return [name + b"=" + value for name, value in os.environb.items()]


def _with_variables(entries: Sequence[bytes], variables: dict[str, str]) -> list[bytes]:
    """Return the environment with variables set, each where it was, or at the end."""
    new = {os.fsencode(name): os.fsencode(value) for name, value in variables.items()}
    result = []
    for entry in entries:
        name = entry.partition(b"=")[0]
        if name not in new:
            result.append(entry)
        elif new[name] is not None and not any(e.startswith(name + b"=") for e in result):
            result.append(name + b"=" + new[name])
    present = {entry.partition(b"=")[0] for entry in result}
    result += [name + b"=" + value for name, value in new.items() if name not in present]
    return result


def _for_process(entries: Sequence[bytes], before: int, now: int) -> list[bytes]:
    """Return the environment with the variables that name process `before` naming `now`."""
    old = {b"%s=%d" % (name.encode(), before): name.encode() for name in _OF_A_PROCESS}
    return [b"%s=%d" % (old[entry], now) if entry in old else entry for entry in entries]


def _array(strings: Sequence[bytes]) -> Any:
    return (ctypes.c_char_p * (len(strings) + 1))(*strings, None)


def _candidates(program: bytes, entries: Sequence[bytes]) -> list[bytes]:
    if b"/" in program:
        return [program]
    paths = [entry[5:] for entry in entries if entry.startswith(b"PATH=")]
    search = paths[0] if paths else os.defpath.encode()
    return [os.path.join(directory, program) for directory in search.split(b":")]


def _execute(command: Sequence[bytes], entries: Sequence[bytes]) -> int:
    """Become the command, found as execvp finds it; return the error number if that fails."""
    environment, worst = _array(entries), errno.ENOENT
    for path in _candidates(command[0], entries):
        _libc.execve(path, _array(command), environment)
        number = ctypes.get_errno()
        if number == errno.ENOEXEC:  # a script that does not say whose: the shell's
            _libc.execve(b"/bin/sh", _array([b"/bin/sh", path, *command[1:]]), environment)
            number = ctypes.get_errno()
        if number not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            return number
        worst = errno.EACCES if number == errno.EACCES else worst
    return worst


class _Inherited:
    """What this process was given and Python, or we, have changed."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.mask = {signal.Signals(n) if n < 32 else n for n in options["mask"]}
        self.closed: list[int] = options["closed"]
        ignored = {n for n in _ALL if signal.getsignal(n) == signal.SIG_IGN}
        self.ignored = ignored - set(_IGNORED_BY_PYTHON) | set(options["ignored"])
        death = ctypes.c_int(0)
        _prctl(_PR_GET_PDEATHSIG, ctypes.byref(death))
        self.death_signal = death.value

    def restore(self) -> None:
        """Give it to the command: called in its process, the mask last."""
        _prctl(_PR_SET_PDEATHSIG, self.death_signal)
        for number in (*_IGNORED_BY_PYTHON, signal.SIGINT, signal.SIGCHLD):
            kind = signal.SIG_IGN if number in self.ignored else signal.SIG_DFL
            signal.signal(number, kind)
        for fd in self.closed:
            os.close(fd)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)


class _Command:
    """The command's process: it waits until everything else is ready, and then becomes it."""

    def __init__(self, command: Sequence[bytes], entries: Sequence[bytes], inherited: _Inherited):
        before = os.getpid()
        wait, self._release = os.pipe()
        self._told, tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._release)
                self._take_over(os.read(wait, 256))
                entries = _for_process(entries, before, os.getpid())
                inherited.restore()
                os.write(tell, b"%d" % _execute(command, entries))
            finally:
                os._exit(127)
        os.close(tell)
        os.close(wait)

    @staticmethod
    def _take_over(numbers: bytes) -> None:
        """Get the signals that the runner got before there was anybody to tell; all are blocked."""
        if not numbers:  # the runner is gone
            os._exit(127)
        for number in set(numbers[1:]) - signal.sigpending():
            os.kill(os.getpid(), number)

    def release(self, early: set[int]) -> None:
        """Let it begin.

        Raises
        ------
        OSError
            If the command cannot be executed.
        """
        os.write(self._release, bytes([0, *early]))
        os.close(self._release)
        error = os.read(self._told, 16)
        os.close(self._told)
        if error:
            os.waitpid(self.pid, 0)
            raise OSError(int(error), os.strerror(int(error)))


# --- the witness ---------------------------------------------------------------------------------


def _clone() -> int:
    """Fork a child that wait() without ``__WALL`` passes over, so that it is no descendant."""
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = int(_libc.syscall(_SYS_CLONE[os.uname().machine], 0, 0, 0, 0, 0))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
    else:
        ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return pid


def _close_all_but(*kept: int) -> None:
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else range(1024):
        if int(name) not in kept:
            with suppress(OSError):
                os.close(int(name))


class _Keeper:
    """The supervisor of the log: the process, and the line to it."""

    def __init__(self, command: list[str]) -> None:
        self.line, its = socket.socketpair()
        os.set_inheritable(its.fileno(), True)
        try:
            self.pid = os.posix_spawn(
                command[0], [*command, "--control", str(its.fileno())], dict(os.environ)
            )
        finally:
            its.close()
        self.ready = False

    def send(self, kind: bytes) -> None:
        """Tell it to end; whether it has heard that shows in its answer."""
        with suppress(OSError):
            self.line.send(kind)

    def receive(self) -> bytes:
        """Return what it says, or nothing if it is gone; does not wait."""
        with suppress(OSError):
            return self.line.recv(1, socket.MSG_DONTWAIT)
        return b""

    def wake(self) -> None:
        """Let it go on if somebody stopped it."""
        with suppress(OSError):
            os.kill(self.pid, signal.SIGCONT)

    def bury(self) -> int:
        """Return the exit code of one that is gone, below 0 if it was killed."""
        self.line.close()
        for _ in range(100):
            with suppress(ChildProcessError):
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return -signal.SIGKILL


class _Witness:
    """Sees which signals all of the process group got; keeps a supervisor at the log.

    It never waits for one of them alone: a supervisor may be killed or stopped at any moment.
    """

    def __init__(
        self, runner: socket.socket, parent: int, command: int, supervisor: list[str]
    ) -> None:
        self._runner, self._parent, self._command = runner, parent, command
        self._supervisor = supervisor
        self._keeper: _Keeper | None = None
        self._starts = self._failures = 0
        self._start_at = 0.0
        self._asked = b""  # what the runner waits for the answer of
        self._give_up_at = 0.0
        self._watched = 0

    def serve(self) -> None:
        """Answer the runner until it is gone."""
        while True:
            lines = [self._runner.fileno()]
            if self._keeper is not None:
                lines.append(self._keeper.line.fileno())
            pause = _WAKE_EVERY_S if self._watched else _LOOK_EVERY_S
            ready = select.select(lines, [], [], pause)[0]
            self._look_at_processes()
            if lines[-1] in ready and self._keeper is not None:
                self._hear(self._keeper)
            self._keep_on()
            if lines[0] in ready:
                request = self._runner.recv(16)
                if not request:
                    return
                self._take(request)

    def _take(self, request: bytes) -> None:
        kind, number = request[:1], int(request[1:] or b"0")
        if kind in (_START, _FINISH, _KILLED):
            self._asked, self._failures = kind, 0
            self._give_up_at = time.monotonic() + _LONGEST_S[kind]
            if kind != _START and self._keeper is not None and self._keeper.ready:
                self._keeper.send(kind)
            self._keep_on()
        elif kind == _WATCH:
            self._watched = number
            self._runner.send(_YES)
        else:
            got = signal.sigtimedwait([number], 0) is not None
            self._runner.send(_YES if got else _NO)

    def _hear(self, keeper: _Keeper) -> None:
        """Take what the supervisor says: that it is ready, how it ended, or nothing: it is gone."""
        said = keeper.receive()
        if said and not keeper.ready:
            keeper.ready = True
            if self._asked == _START:
                self._answer(_YES)
            elif self._asked:
                keeper.send(self._asked)
        elif said:
            self._answer(said)
        else:
            self._keeper = None
            if keeper.bury() >= 0:  # it could not, and said why; who is killed says nothing
                self._failures += 1
                if self._asked == _START:
                    self._failures = _MOST_FAILURES
            self._start_at = time.monotonic() + 0.1 * self._failures

    def _keep_on(self) -> None:
        """Start a supervisor where there is none, or wake it; give up in the end."""
        now = time.monotonic()
        if self._asked and now > self._give_up_at:
            _say("the log is not written yet; its supervisor goes on with it")
            self._answer(_NO)
        elif self._keeper is not None:
            if self._asked:
                self._keeper.wake()
        elif self._supervisor and self._starts < _RESTARTS and self._failures < _MOST_FAILURES:
            if (self._asked or self._starts) and now >= self._start_at:
                self._starts += 1
                try:
                    self._keeper = _Keeper(self._supervisor)
                except OSError as error:  # no memory, no process
                    self._failures += 1
                    self._start_at = now + self._failures
                    _say(f"log: {error.strerror}")
        elif self._asked:
            if self._asked != _START:
                _say("the log could not be kept; what was reported waits beside it")
            self._answer(_NO)

    def _answer(self, answer: bytes) -> None:
        if self._asked:
            if self._asked != _START:
                self._supervisor = []  # it has ended, and no other is needed
            self._asked = b""
            self._runner.send(answer)

    def _look_at_processes(self) -> None:
        """Stop and continue runner and command together, whichever of them it was done to."""
        if self._watched:
            if _state(self._watched)[0] not in (b"T", b"t"):
                self._watched = 0
                os.kill(self._parent, signal.SIGCONT)
        elif _state(self._parent)[0] == b"T" and _state(self._command) in (
            (letter, self._parent) for letter in (b"R", b"S", b"D")
        ):
            os.kill(self._command, signal.SIGSTOP)


def _state(pid: int) -> tuple[bytes, int]:
    """Return the state of a process and its parent."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return fields[0], int(fields[1])
    except (OSError, IndexError):
        return b"X", 0


def _start_witness(command: int, supervisor: list[str]) -> tuple[int, socket.socket]:
    ours, its = socket.socketpair()
    parent = os.getpid()
    pid = _clone()
    if pid == 0:
        try:
            os.chdir("/")
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 0)
            os.dup2(null, 1)
            _close_all_but(0, 1, 2, its.fileno())
            _Witness(its, parent, command, supervisor).serve()
        finally:
            os._exit(0)
    its.close()
    return pid, ours


# --- the runner ----------------------------------------------------------------------------------


class Runner:
    """The parent of the command.

    Parameters
    ----------
    command : _Command
        The command, which has not begun.
    supervisor : list of str
        The command that keeps the log; empty if somebody else does.
    """

    def __init__(self, command: _Command, supervisor: list[str]) -> None:
        self._new = command
        self._command: int | None = command.pid
        self.status = 0
        self._recording = supervisor[supervisor.index("--recording") + 1] if supervisor else ""
        self._witness, self._line = _start_witness(command.pid, supervisor)
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def ask(self, request: bytes) -> bytes:
        """Ask the witness; nothing if it is gone."""
        give_up_at = time.monotonic() + _LONGEST_S.get(request[:1], 10.0) + 10.0
        with suppress(OSError):
            self._line.send(request)
            while not select.select([self._line], [], [], 1.0)[0]:
                os.kill(self._witness, signal.SIGCONT)  # if somebody stopped it
                if time.monotonic() > give_up_at:
                    return b""
            return self._line.recv(1)
        return b""

    def run(self) -> None:
        """Run the command until it and all its descendants have ended.

        Raises
        ------
        OSError
            If it cannot be executed.
        """
        early = {int(number) for number in signal.sigpending()} - {signal.SIGCHLD}
        self._new.release(early)
        for number in early:
            self.ask(b"?%d" % number)
            signal.sigtimedwait([number], 0)
        self._let_go()
        while self._reap():
            info = signal.sigwaitinfo(_ALL)
            if info.si_signo != signal.SIGCHLD or info.si_code <= 0:
                self._pass_on(info)

    def _let_go(self) -> None:
        """Keep nothing that others wait for the end of: files, pipes, the working directory."""
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        _close_all_but(0, 1, 2, self._line.fileno())
        os.chdir("/")

    def _reap(self) -> bool:
        """See which processes have ended or stopped; return whether any is left."""
        events = os.WEXITED | os.WSTOPPED | os.WNOHANG
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, events | os.WNOWAIT)
            except ChildProcessError:
                return False
            if ended is None:
                return True
            if ended.si_code == os.CLD_STOPPED:
                os.waitid(os.P_PID, ended.si_pid, os.WSTOPPED | os.WNOHANG)
                if ended.si_pid == self._command:
                    if signal.SIGCONT not in signal.sigpending():  # continued since
                        self._stop(ended.si_status)
                elif self._recording and self._recording in _arguments(ended.si_pid):
                    os.kill(ended.si_pid, signal.SIGCONT)  # a tracker of ours must end
            else:
                status = os.waitpid(ended.si_pid, 0)[1]
                if ended.si_pid == self._command:
                    self._command, self.status = None, status

    def _stop(self, number: int) -> None:
        """Stop as the command did, so that a shell sees its job stop."""
        self.ask(b"%s%d" % (_WATCH, self._command or 0))
        if number != signal.SIGSTOP:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        signal.pthread_sigmask(signal.SIG_BLOCK, _ALL)
        self.ask(b"?%d" % number)

    def _pass_on(self, info: signal.struct_siginfo) -> None:
        """Send the command what was sent to this process and not to all of the group."""
        number = info.si_signo
        if number == signal.SIGCONT and info.si_pid == self._witness:
            return
        # Whoever signals a group holds the list of tasks until he is through; this waits for it.
        with suppress(OSError):
            os.setpgid(0, os.getpgrp())
        everybody = self.ask(b"?%d" % number) == _YES
        if self._command is not None:
            if not everybody:
                with suppress(OSError):
                    os.kill(self._command, number)
        elif number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            self._pass_on_to_the_rest(number, everybody)

    def _pass_on_to_the_rest(self, number: int, everybody: bool) -> None:
        rest = _children(os.getpid()) - {self._witness}
        pids = " ".join(map(str, sorted(rest)))
        if everybody:
            _say(f"the command has ended; waiting for what it started (pid {pids})")
            return
        for pid in rest:
            with suppress(OSError):
                os.kill(pid, number)

    def end(self) -> None:
        """End the witness."""
        with suppress(OSError):
            os.kill(self._witness, signal.SIGKILL)
            os.waitpid(self._witness, _WALL)


def _arguments(pid: int) -> list[str]:
    with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return [os.fsdecode(part) for part in file.read().split(b"\0")]
    return []


def _children(parent: int) -> set[int]:
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                if int(file.read().rpartition(b")")[2].split()[1]) == parent:
                    found.add(int(name))
    return found


def _end_as(status: int) -> NoReturn:
    """End as the command did, of the same signal if it died of one; without a core of our own."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with suppress(OSError, ValueError):
            resource.setrlimit(
                resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1])
            )
        _prctl(_PR_SET_DUMPABLE, 0)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        os._exit(128 + number)  # the first process of a container does not die of signals
    os._exit(os.WEXITSTATUS(status))


def main(arguments: list[str]) -> NoReturn:
    """Run the script; end as the command did.

    The options: ``variables`` to set for the command; ``mask`` and ``ignored``, the signals that it
    is to find blocked, and ignored beside those that are ignored here; ``closed``, the descriptors
    that are to be closed; ``supervisor``, the command that keeps the log, or nothing.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _ALL)
    options = json.loads(arguments[0])
    inherited = _Inherited(options)
    signal.signal(
        signal.SIGCHLD, signal.SIG_DFL
    )  # an ignored one takes away who is to be waited for
    command = [os.fsencode(part) for part in arguments[2:]]
    entries = _with_variables(raw_environment(), options["variables"])
    runner = Runner(_Command(command, entries, inherited), options["supervisor"])
    status, begun = 0, True
    if options["supervisor"] and runner.ask(_START) != _YES:
        runner.end()
        os._exit(2)
    try:
        runner.run()
        status = runner.status
    except OSError as error:
        _say(f"{arguments[2]}: {error.strerror}")
        status = (127 if error.errno == errno.ENOENT else 126) << 8
        begun = False
    if options["supervisor"]:
        # Who is killed may not have come so far as to report anything; who never ran has nothing.
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) in _OFTEN_SENT
        runner.ask(_KILLED if killed or not begun else _FINISH)
    runner.end()
    _end_as(status)


if __name__ == "__main__":
    main(sys.argv[1:])
