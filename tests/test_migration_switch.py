"""The decision: one durable line, whoever dies while it is written."""

# ruff: noqa: PT012

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from migration.services import alive, wait_for

from precopy.migration.switchover import journal as journals
from precopy.migration.switchover import processes as proc
from precopy.migration.switchover import watchdog
from precopy.migration.switchover.freezer import Freezer
from precopy.migration.switchover.guard import Guard, WatchdogError
from precopy.migration.switchover.journal import (
    BusyError,
    Journal,
    MigrationError,
    OvertakenError,
    at_work,
    boot_id,
    identity,
    read,
)
from precopy.migration.switchover.status import abort, status
from precopy.migration.switchover.switch import (
    CommittedError,
    SourceMovedError,
    Switch,
    complete,
    recover,
)
from precopy.migration.transport import taking
from precopy.migration.transport.interface import (
    Started,
    StartError,
    TargetError,
    TransportError,
)

ID = "abc123"
LASTS = f"1000.{os.getpid()}"
"""Seconds of a program that no other run of these tests has, too."""


class There:
    """A destination that keeps what it was told, or fails."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.record = b""
        self.running: int | None = None
        self.fails: dict[str, Exception] = {}

    def _note(self, what: str) -> None:
        self.said.append(what)
        if what in self.fails:
            raise self.fails[what]

    def begin(self, migration: str, *, resume: bool, merge: bool = False) -> None:
        self._note("begin")

    def barrier(self) -> None:
        self._note("barrier")

    def check(self) -> None:
        if "check" in self.fails:
            raise self.fails["check"]

    def commit(self, record: bytes, *, wait: bool = True) -> None:
        self._note("commit")
        self.record = self.record or record

    def start(self, argv: Sequence[bytes], cwd: bytes | None) -> Started:
        self._note("start")
        already, self.running = self.running is not None, self.running or 4711
        return Started(self.running, 0.0, already)

    def status(self) -> dict[str, object]:
        self._note("status")
        started = {"pid": self.running, "running": True} if self.running else None
        return {"migration": ID, "commit": self.record or None, "started": started}

    def withdraw(self) -> list[bytes]:
        self._note("withdraw")
        return []

    def close(self) -> None:
        self._note("close")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", os.fspath(tmp_path / "state"))
    return tmp_path / "state" / "precopy" / "migrations" / ID


@pytest.fixture
def app() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", LASTS])
    yield process
    process.kill()
    process.wait()


def begun() -> Journal:
    journal = Journal(ID)
    for name in ("PLAN", "COPY", "DRAIN"):
        journal.enter(name)
    return journal


def states() -> list[str]:
    return [entry["state"] for entry in read(ID)]


def is_frozen(process: subprocess.Popen[bytes]) -> bool:
    return proc.look(process.pid).state == "T"


# --- the journal ---------------------------------------------------------------------------------


def test_the_journal_is_for_its_owner_and_for_people(state: Path) -> None:
    with Journal(ID) as journal:
        journal.enter("PLAN", what="/srv/ü", to="host:/")
        journal.enter("COPY")
        assert journal.state == "COPY"
        assert not journal.committed
    for path, mode in ((state, 0o700), (state / "journal", 0o600), (state / "lock", 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    lines = (state / "journal").read_text().split("\n")
    assert json.loads(lines[0])["what"] == "/srv/ü"
    assert read(ID)[1]["state"] == "COPY"
    assert read("nosuch") == []


def test_the_space_of_entries_is_there_before(state: Path) -> None:
    with Journal(ID) as journal:
        journal.reserve(100_000)
        size = (state / "journal").stat().st_size
        for _ in range(20):
            journal.enter("COPY", filler="x" * 4000)
        assert (state / "journal").stat().st_size == size
        assert len(journal.entries) == 20


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_torn_last_line_does_not_count(state: Path, cut: int) -> None:
    with Journal(ID) as journal:
        journal.enter("PLAN")
        journal.enter("COPY")
    text = (state / "journal").read_text().rstrip()
    (state / "journal").write_text(text[:-cut])
    assert states() == ["PLAN"]
    with Journal(ID) as journal:
        assert journal.state == "PLAN"
        journal.enter("COPY")
        journal.enter("DRAIN")
    assert states() == ["PLAN", "COPY", "DRAIN"]


def test_every_entry_is_durable_before_it_is_acted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[list[str]] = []
    with Journal(ID) as journal:
        real = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", lambda fd: (real(fd), synced.append(states()))[0])
        for number, name in enumerate(journals.STATES):
            journal.enter(name)
            assert synced[-1] == list(journals.STATES[: number + 1])


def test_a_disk_that_hangs_does_not_keep_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    free: list[str] = []
    with Journal(ID) as journal, journal.path.open("rb") as other:

        def hang(fd: int) -> None:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as the watchdog does
            free.append(states()[-1])
            fcntl.flock(other, fcntl.LOCK_UN)

        monkeypatch.setattr(os, "fdatasync", hang)
        for name in journals.STATES:
            journal.enter(name)
    assert free == list(journals.STATES)


def test_two_controllers_of_one_migration() -> None:
    with Journal(ID):
        assert at_work(ID) == os.getpid()
        with pytest.raises(BusyError, match=rf"another precopy \(pid {os.getpid()}\) is at work"):
            Journal(ID)
        Journal("other").close()
    assert at_work(ID) is None
    Journal(ID).close()


def test_a_journal_that_others_may_write_is_refused(state: Path) -> None:
    state.mkdir(parents=True)
    state.chmod(0o777)
    with pytest.raises(PermissionError, match="is not ours alone, expected mode 0700"):
        Journal(ID)
    state.chmod(0o700)
    (state / "journal").symlink_to("elsewhere")
    with pytest.raises(OSError, match="Too many levels"):
        Journal(ID)
    with pytest.raises(ValueError, match="expected letters and digits"):
        Journal("../x")


def test_a_journal_where_all_may_swap_names_is_refused_to_root(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("root is not refused what others may")
    Journal(ID).close()
    tmp_path.chmod(0o777)
    with pytest.raises(PermissionError, match=r"journal: .* can be written by others.*XDG_STATE"):
        Journal(ID)
    tmp_path.chmod(0o1777)
    Journal(ID).close()


def test_nothing_leads_back_from_committed() -> None:
    with begun() as journal:
        for name in ("FROZEN", "FINAL", "VERIFIED", "COMMITTED"):
            journal.enter(name, boot=boot_id(), processes=[], groups=[])
        for name in ("PLAN", "FROZEN", "THAWED", "ABORTED"):
            with pytest.raises(RuntimeError, match=f"{name} after COMMITTED"):
                journal.enter(name)
    assert states()[-1] == "COMMITTED"


def test_no_decision_after_a_thaw() -> None:
    for name in ("FINAL", "VERIFIED", "COMMITTED"):
        with begun() as journal:
            with pytest.raises(OvertakenError):
                journal.enter(name)
            journal.enter("FROZEN")
            with journal.decision():
                journal.append("THAWING", reason="the reason")
            with pytest.raises(OvertakenError, match="the application runs again: the reason"):
                journal.enter(name)
            with pytest.raises(OvertakenError):
                journal.enter("FROZEN", more=True)


def test_identities() -> None:
    assert identity([b"/a"], "x") == identity([b"/a", b"/a"], "x")
    assert identity([b"/a", b"/b"], "x") != identity([b"/a/b"], "x")
    assert identity([b"/a"], "bx") != identity([b"/ab"], "x")
    assert identity([b"\xff"], "x").isalnum()


# --- the switch-over -----------------------------------------------------------------------------


def test_all_the_way(app: subprocess.Popen[bytes]) -> None:
    there = There()
    with begun() as journal, Switch(journal, Freezer.from_pids([app.pid]), there) as switch:
        assert switch.freeze() > 0
        assert is_frozen(app)
        switch.nothing_changed(list)
        switch.commit(b"record")
        assert is_frozen(app)
        started = switch.start([b"server"])
    assert started is not None
    assert started.pid == 4711
    assert states() == [*journals.STATES]
    assert there.said == ["commit", "start"]
    assert there.record == b"record"
    assert app.wait() == -signal.SIGKILL
    assert "in charge: destination" in str(status(ID))
    assert status(ID).todo == status(ID, there.status()).todo == "nothing"
    ended = {**there.status(), "started": {"pid": 4711, "running": False}}
    assert status(ID, ended).todo.startswith("see whether the application runs there")


def test_without_a_command_it_ends_here_when_the_destination_knows(
    app: subprocess.Popen[bytes],
) -> None:
    there = There()
    with begun() as journal, Switch(journal, Freezer.from_pids([app.pid]), there) as switch:
        switch.freeze()
        switch.nothing_changed(list)
        switch.commit(wait=False)
        assert switch.start(None) is None
    assert there.said == ["commit", "barrier"]
    assert states()[-2:] == ["COMMITTED", "DONE"]
    assert app.wait() == -signal.SIGKILL
    assert status(ID).todo.startswith("start the application there, or run the same command again")
    with Journal(ID) as journal:
        assert recover(journal) == "done"
        assert recover(journal, start=True) == "complete"
        started, _ = complete(journal, there, [b"server"])
        assert started is not None
        assert recover(journal, start=True) == "done"


@pytest.mark.parametrize("error", [RuntimeError("it broke"), KeyboardInterrupt(), None])
@pytest.mark.parametrize("at", ["begun", "frozen", "verified"])
def test_what_ends_it_before_the_decision_thaws(
    app: subprocess.Popen[bytes], at: str, error: BaseException | None
) -> None:
    there = There()
    with begun() as journal:
        try:
            with Switch(journal, Freezer.from_pids([app.pid]), there) as switch:
                if at != "begun":
                    switch.freeze()
                    assert is_frozen(app)
                if at == "verified":
                    switch.nothing_changed(list)
                if error is not None:
                    raise error
        except (RuntimeError, KeyboardInterrupt) as caught:
            if caught is not error:
                raise
        assert not is_frozen(app)
        assert journal.state == ("DRAIN" if at == "begun" else "THAWED")
    assert there.said == []
    if at != "begun":
        reasons = {RuntimeError: "it broke", KeyboardInterrupt: "interrupted"}
        expected = reasons.get(type(error), "the switch-over ended before the decision")
        assert read(ID)[-1]["reason"] == expected
        assert f"because: {expected}" in str(status(ID))
    assert status(ID).in_charge == "source"


@pytest.mark.parametrize("at", ["decision", "thaw"])
def test_interrupted_once_more_while_it_thaws_the_watchdog_does(
    app: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    def interrupted(*anything: object) -> None:
        raise KeyboardInterrupt

    with begun() as journal:
        freezer = Freezer.from_pids([app.pid])
        with pytest.raises(KeyboardInterrupt), Switch(journal, freezer, There()) as switch:
            switch.freeze()
            assert is_frozen(app)
            monkeypatch.setattr(freezer if at == "thaw" else journal, at, interrupted)
            raise RuntimeError
    assert not is_frozen(app)
    assert states()[-1] == "THAWED"


def test_what_changed_after_the_stop_is_told_with_who_wrote(
    tmp_path: Path, app: subprocess.Popen[bytes]
) -> None:
    path = tmp_path / "two\nlines"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdin=subprocess.PIPE)
    wait_for(path.exists, "the file")
    freezer = Freezer.from_pids([app.pid])
    with begun() as journal:
        with (
            pytest.raises(SourceMovedError) as caught,
            Switch(journal, freezer, There()) as switch,
        ):
            switch.freeze()
            switch.nothing_changed(lambda: [os.fsencode(path)])
        text = str(caught.value)
        assert rf"{tmp_path}/two\nlines changed; open for writing in {writer.pid} (" in text
        assert "stop it as well (--pid)" in text
        writer.kill()
        writer.communicate()
        with (
            pytest.raises(SourceMovedError, match="by whom is not known"),
            Switch(journal, Freezer.from_pids([app.pid]), There()) as switch,
        ):
            switch.freeze()
            switch.nothing_changed(lambda: [os.fsencode(path)])
    assert not is_frozen(app)


WRITER = "import sys; file = open(sys.argv[1], 'w'); sys.stdin.read()"


def test_who_is_let_go_on_by_another_stops_the_switch(app: subprocess.Popen[bytes]) -> None:
    for when in ("check", "commit"):
        with (
            begun() as journal,
            pytest.raises(SourceMovedError, match=f"{app.pid} .* was let go on by somebody else"),
            Switch(journal, Freezer.from_pids([app.pid]), There()) as switch,
        ):
            switch.freeze()
            if when == "commit":
                switch.nothing_changed(list)
            os.kill(app.pid, signal.SIGCONT)
            wait_for(lambda: not is_frozen(app), "SIGCONT")
            switch.nothing_changed(list) if when == "check" else switch.commit()
    assert "COMMITTED" not in states()


def test_the_application_stands_no_longer_than_it_may(app: subprocess.Popen[bytes]) -> None:
    there = There()
    freezer = Freezer.from_pids([app.pid])
    with (
        begun() as journal,
        pytest.raises(OvertakenError, match=r"stood for more than 0.05 s; nothing was decided"),
        Switch(journal, freezer, there, max_downtime_s=0.05) as switch,
    ):
        switch.freeze()
        wait_for(lambda: not is_frozen(app), "the end of its time")
        switch.nothing_changed(list) if not freezer.trouble() else journal.enter("VERIFIED")
    assert there.said == []
    assert states()[-2:] == ["THAWING", "THAWED"]


def test_a_destination_that_cannot_be_told(app: subprocess.Popen[bytes]) -> None:
    there = There()
    there.fails["commit"] = TransportError("the link is cut")
    with begun() as journal:
        with (
            pytest.raises(CommittedError, match="in charge, but could not be reached: the link"),
            Switch(journal, Freezer.from_pids([app.pid]), there) as switch,
        ):
            switch.freeze()
            switch.nothing_changed(list)
            switch.commit()
        assert is_frozen(app)
        assert recover(journal) == "complete"
        with pytest.raises(CommittedError, match="could not be reached"):
            complete(journal, there, [b"server"])
        assert is_frozen(app)
        there.fails.clear()
        started, warnings = complete(journal, there, [b"server"])
        assert started is not None
        assert warnings == []
        assert recover(journal) == "done"
    assert there.said[-3:] == ["begin", "commit", "start"]
    assert app.wait() == -signal.SIGKILL


def test_a_link_that_is_known_to_be_gone_is_no_reason_to_decide(
    app: subprocess.Popen[bytes],
) -> None:
    there = There()
    there.fails["check"] = TransportError("the link is cut")
    with (
        begun() as journal,
        pytest.raises(TransportError, match="the link is cut"),
        Switch(journal, Freezer.from_pids([app.pid]), there) as switch,
    ):
        switch.freeze()
        switch.nothing_changed(list)
        switch.commit()
    assert not is_frozen(app)
    assert "COMMITTED" not in states()


def test_a_start_that_fails_is_told_and_tried_again(app: subprocess.Popen[bytes]) -> None:
    there = There()
    there.fails["start"] = StartError("it ended with status 3", status=3, output=b"no port\n")
    with begun() as journal:
        with (
            pytest.raises(
                CommittedError, match=r"(?s)status 3.*no port.*run the same command again"
            ),
            Switch(journal, Freezer.from_pids([app.pid]), there) as switch,
        ):
            switch.freeze()
            switch.nothing_changed(list)
            switch.commit()
            switch.start([b"server"])
        # What it held is free: a lock file that moved, say, names a process that is gone.
        assert app.wait(10) == -signal.SIGKILL
        assert journal.state == "COMMITTED"
        with pytest.raises(CommittedError, match="no port"):
            complete(journal, there, [b"server"])
        there.fails.clear()
        complete(journal, there, [b"server"])
        assert journal.state == "DONE"


def test_an_application_that_was_ended_cannot_go_on_and_that_is_said(
    app: subprocess.Popen[bytes],
) -> None:
    freezer = Freezer.from_pids([app.pid], stop="term")
    with (
        begun() as journal,
        pytest.raises(RuntimeError) as caught,
        Switch(journal, freezer, There()) as switch,
    ):
        switch.freeze()
        raise RuntimeError
    assert "was ended here by the stop (term) and does not run" in caught.value.__notes__[0]
    assert app.wait() == -signal.SIGTERM


def test_an_application_that_was_asked_to_end_is_not_said_to_run_on() -> None:
    deaf = subprocess.Popen(["sh", "-c", "trap '' TERM; echo; exec sleep 1000"],
                            stdout=subprocess.PIPE)  # fmt: skip
    try:
        assert deaf.stdout is not None
        deaf.stdout.readline()
        freezer = Freezer.from_pids([deaf.pid], stop="term", timeout_s=0.2)
        with begun() as journal, pytest.raises(MigrationError) as caught:  # noqa: SIM117
            with Switch(journal, freezer, There()) as switch:
                switch.freeze()
        expected = rf"was asked to stop here \(term\); {deaf.pid} \(sleep 1000\) is there still"
        assert re.search(expected, caught.value.__notes__[0])
    finally:
        deaf.kill()
        deaf.communicate()


def test_giving_up_says_that_nothing_is_deleted_where_nothing_is_known() -> None:
    class Nothing(There):
        def status(self) -> dict[str, object]:
            return {"migration": None, "commit": None, "started": None}

    begun().close()
    there = Nothing()
    said = abort(ID, lambda: there)
    assert there.said == ["close"]
    assert "nothing was deleted there" in said[-1]
    assert states()[-1] == "WITHDRAWN"


def test_a_target_that_stays_in_use_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(taking, "ENDS_WITHIN_S", 0.0)
    begun().close()
    there, told = There(), list[str]()
    there.fails["begin"] = TargetError("it is at work", errno=errno.EWOULDBLOCK)
    with pytest.raises(TargetError, match="it is at work"):
        abort(ID, lambda: there, tell=told.append)
    assert told == ["it is at work; waiting up to 0 s for it"]
    assert there.said.count("begin") > 1
    assert "withdraw" not in there.said
    assert states()[-1] == "ABORTED"


# --- after a crash -------------------------------------------------------------------------------


def crashed(app: subprocess.Popen[bytes], last: str, boot: str | None = None) -> None:
    """Leave what a controller leaves that dies in a state, its watchdog with it."""
    started = watchdog.start_time(app.pid)
    with begun() as journal:
        for name in journals.STATES[3 : journals.STATES.index(last) + 1]:
            facts = {"boot": boot or boot_id(), "processes": [[app.pid, started]], "groups": []}
            facts |= {"programs": [[proc.program(app.pid), "sleep", LASTS]]}
            journal.enter(name, **(facts if name == "FROZEN" else {"record": "r"}))
    os.kill(app.pid, signal.SIGSTOP)
    wait_for(lambda: is_frozen(app), "SIGSTOP")


@pytest.mark.parametrize("last", ["FROZEN", "FINAL", "VERIFIED"])
@pytest.mark.parametrize("how", ["recover", "abort"])
def test_who_stands_when_all_have_died_goes_on(
    app: subprocess.Popen[bytes], last: str, how: str
) -> None:
    crashed(app, last)
    found = status(ID, unreachable="no route")
    assert found.in_charge == "source"
    assert f"the application stands (pid {app.pid}) and nobody is at work" in found.todo
    assert "the destination cannot be asked: no route" in str(found)
    there = There()
    if how == "recover":
        with Journal(ID) as journal:
            assert recover(journal) == "copy"
        assert states()[-1] == "THAWED"
    else:
        said = abort(ID, lambda: there)
        assert said[0] == "the application goes on here; the source is in charge"
        assert there.said == ["status", "begin", "withdraw", "close"]
        assert states()[-2:] == ["ABORTED", "WITHDRAWN"]
        assert abort(ID, lambda: there) == [f"migration {ID} was given up before"]
    assert not is_frozen(app)


def test_abort_thaws_though_the_destination_cannot_be_reached(
    app: subprocess.Popen[bytes],
) -> None:
    crashed(app, "FINAL")

    def connect() -> There:
        raise TransportError("no route")

    with pytest.raises(TransportError) as caught:
        abort(ID, connect)
    assert caught.value.__notes__ == [
        "the application goes on here; --abort once more empties the destination"
    ]
    assert not is_frozen(app)
    assert states()[-1] == "ABORTED"
    assert status(ID).todo.startswith("--abort once more")
    there = There()
    abort(ID, lambda: there)
    assert "withdraw" in there.said


def test_nothing_is_taken_back_after_the_decision(app: subprocess.Popen[bytes]) -> None:
    crashed(app, "COMMITTED")
    there = There()
    with pytest.raises(MigrationError, match=r"in charge since .* not taken back"):
        abort(ID, lambda: there)
    assert there.said == []
    assert is_frozen(app)
    with Journal(ID) as journal:
        assert recover(journal) == "complete"
        complete(journal, there, [b"server"])
    assert app.wait() == -signal.SIGKILL


def test_abort_of_nothing_and_of_a_run_at_work() -> None:
    with pytest.raises(ValueError, match="nothing is known of it"):
        abort(ID, There)
    with begun(), pytest.raises(BusyError):
        abort(ID, There)
    assert status(ID).todo.startswith("run the same command again")


def test_a_reboot_before_and_after_the_decision(app: subprocess.Popen[bytes]) -> None:
    crashed(app, "FINAL", boot="another")
    with Journal(ID) as journal:
        assert recover(journal) == "copy"
    assert is_frozen(app)  # it is another process with its pid: none of ours to touch
    assert "the machine was restarted since" in status(ID).todo
    os.kill(app.pid, signal.SIGCONT)
    crashed(app, "COMMITTED", boot="another")
    with Journal(ID) as journal:
        assert recover(journal) == "complete"
        _, warnings = complete(journal, There())
    assert app.poll() is None
    assert len(warnings) == 1
    assert f"{app.pid} (sleep {LASTS}) runs here as the application did" in warnings[0]


def test_what_runs_here_again_after_a_reboot_is_not_started_there_too(
    app: subprocess.Popen[bytes],
) -> None:
    crashed(app, "COMMITTED", boot="another")
    there = There()
    with Journal(ID) as journal:
        with pytest.raises(
            CommittedError, match=rf"in charge, but {app.pid} \(sleep {LASTS}\) runs"
        ):
            complete(journal, there, [b"server"])
        assert "commit" in there.said
        assert "start" not in there.said
        assert app.poll() is None
        app.kill()
        app.wait()
        started, warnings = complete(journal, there, [b"server"])
    assert started is not None
    assert warnings == []


@pytest.mark.parametrize("died_after_the_start", [False, True])
def test_what_was_started_in_a_directory_here_is_not_taken_for_the_old_one(
    app: subprocess.Popen[bytes], died_after_the_start: bool
) -> None:
    class Here(There):
        def start(self, argv: Sequence[bytes], cwd: bytes | None) -> Started:
            if self.running is None:
                self.process = subprocess.Popen(argv, start_new_session=True)
                self.running = self.process.pid
            return super().start(argv, cwd)

    crashed(app, "COMMITTED")
    there = Here()
    if died_after_the_start:
        there.start([b"sleep", LASTS.encode()], None)
    with Journal(ID) as journal:
        started, warnings = complete(journal, there, [b"sleep", LASTS.encode()])
    try:
        assert app.wait() == -signal.SIGKILL
        assert started is not None
        assert started.pid == there.process.pid
        assert warnings == []
    finally:
        there.process.kill()
        there.process.wait()


def test_the_destinations_record_stands_for_a_journal_that_was_lost() -> None:
    there = There()
    there.record = b'{"in_charge": "destination"}'
    with Journal(ID) as journal:
        assert recover(journal, there.status()) == "complete"
        assert journal.state == "COMMITTED"
    assert status(ID, there.status()).in_charge == "destination"
    assert status("other", {"migration": None, "commit": None, "started": None}).state == ""
    assert status("other").in_charge == "unknown"


# --- the watchdog --------------------------------------------------------------------------------

CONTROLLER = """
import os, sys, time
sys.path[:] = eval(sys.argv[1])
from precopy.migration.switchover import guard
from precopy.migration.switchover.freezer import Freezer
from precopy.migration.switchover.journal import Journal
from precopy.migration.switchover.switch import Switch
guard._GRACE_S = 0.1
pid, until, LONGEST = int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
with Journal("abc123") as journal:
    for state in ("PLAN", "COPY", "DRAIN"):
        journal.enter(state)
    with Switch(journal, Freezer.from_pids([pid]), None, max_downtime_s=LONGEST) as switch:
        switch.freeze()
        if until == "COMMITTED":
            switch.nothing_changed(list)
            journal.enter("COMMITTED")
        print(switch._guard.pid, flush=True)
        time.sleep(1000)
"""


def controller(
    app: subprocess.Popen[bytes], until: str, longest_s: float = 60
) -> tuple[subprocess.Popen[str], int]:
    """Start a controller that freezes and stays so; returns it and its watchdog's pid."""
    command = [sys.executable, "-c", CONTROLLER, repr(sys.path), str(app.pid), until]
    process = subprocess.Popen(
        [*command, str(longest_s)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("group", [False, True])
def test_the_watchdog_thaws_when_the_controller_dies(
    app: subprocess.Popen[bytes], number: signal.Signals, group: bool
) -> None:
    process, dog = controller(app, "FINAL")
    assert is_frozen(app)
    assert os.getsid(dog) != os.getsid(process.pid)
    for ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        os.kill(dog, ignored)
    os.killpg(process.pid, number) if group else os.kill(process.pid, number)
    process.communicate()
    wait_for(lambda: not is_frozen(app), "the watchdog")
    wait_for(lambda: not alive(dog), "the watchdog to end")
    assert states()[-1] == "THAWED"
    if number == signal.SIGKILL:
        assert read(ID)[-1]["by"] == "watchdog"
        assert read(ID)[-1]["reason"] == "the controller died"


def test_the_watchdog_does_not_thaw_after_the_decision(app: subprocess.Popen[bytes]) -> None:
    process, dog = controller(app, "COMMITTED")
    end(process)
    wait_for(lambda: not alive(dog), "the watchdog to end")
    assert is_frozen(app)
    assert states()[-1] == "COMMITTED"


def test_the_decision_that_is_being_written_is_waited_for(app: subprocess.Popen[bytes]) -> None:
    # The controller has the lock and dies; what counts is what stands in the journal then.
    for text, thaws in (('{"state": "COMMITTED"}\n', False), ('{"state": "COMMI', True)):
        process, dog = controller(app, "FINAL")
        path = journals.home() / ID / "journal"
        fd = os.open(path, os.O_RDWR)
        fcntl.flock(fd, fcntl.LOCK_EX)
        end(process)
        time.sleep(0.05)
        assert is_frozen(app), "the watchdog did not wait for the decision"
        at = watchdog.entries(path.read_bytes())[1]
        os.pwrite(fd, b"\n" + text.encode(), at)
        os.close(fd)
        wait_for(lambda dog=dog: not alive(dog), "the watchdog to end")
        assert is_frozen(app) != thaws
        os.kill(app.pid, signal.SIGCONT)
        if not thaws:
            path.unlink()
    assert states()[-1] == "THAWED"


def test_a_controller_that_sleeps_does_not_decide_any_more(app: subprocess.Popen[bytes]) -> None:
    process, dog = controller(app, "FINAL", longest_s=3)
    os.kill(process.pid, signal.SIGSTOP)
    wait_for(lambda: not is_frozen(app), "its time to be over")
    assert "COMMITTED" not in states()
    assert alive(dog), "who sleeps may wake up and stop the application again"
    end(process)
    wait_for(lambda: not alive(dog), "the watchdog to end")


def test_a_dead_watchdog_is_noticed_before_and_after_the_stop(
    app: subprocess.Popen[bytes],
) -> None:
    with begun() as journal:
        with (
            pytest.raises(WatchdogError, match="it died; nothing may be stopped without it"),
            Switch(journal, Freezer.from_pids([app.pid]), There()) as switch,
        ):
            os.kill(switch._guard.pid, signal.SIGKILL)
            switch.freeze()
        assert not is_frozen(app)
        with (
            pytest.raises((WatchdogError, OvertakenError, SourceMovedError)),
            Switch(journal, Freezer.from_pids([app.pid]), There()) as switch,
        ):
            switch.freeze()
            os.kill(switch._guard.pid, signal.SIGKILL)
            wait_for(lambda: not is_frozen(app), "the controller to notice")
            switch.nothing_changed(list)
        assert "the watchdog died" in read(ID)[-1]["reason"]
        assert "VERIFIED" not in states()


def test_nothing_is_stopped_without_a_watchdog(
    app: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with (
        begun() as journal,
        pytest.raises(WatchdogError, match="cannot start it: No such file"),
        Switch(journal, Freezer.from_pids([app.pid]), There()),
    ):
        pytest.fail("entered")
    assert states()[-1] == "DRAIN"


def test_a_watchdog_of_another_stop_does_not_thaw(
    tmp_path: Path, app: subprocess.Popen[bytes]
) -> None:
    with begun() as journal:
        journal.enter("FROZEN", stop_id="new")
        guard = Guard(journal.path, "old", 60, lambda reason: None)
        guard.tell(Freezer.from_pids([app.pid]).processes, [])
        os.kill(app.pid, signal.SIGSTOP)
        wait_for(lambda: is_frozen(app), "SIGSTOP")
        guard._process.stdin.close()
        wait_for(lambda: not alive(guard.pid), "the watchdog to end")
        assert is_frozen(app)
        guard._thread = None
        for pipe in (guard._process.stdout,):
            pipe.close()
        guard._process.wait()
    assert states()[-1] == "FROZEN"


def test_the_watchdog_needs_the_standard_library_only() -> None:
    code = "import sys; sys.argv = ['x']; import runpy; runpy.run_path(sys.orig_argv[-1])"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, watchdog.__file__], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
