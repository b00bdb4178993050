"""The binding: it protects memory against any caller, leaks nothing, and answers signals."""

import gc
import os
import subprocess
import sys
import textwrap
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import precopy
from precopy import Cycle, FileSet, Workload, WriteTrace, _core


@pytest.fixture(scope="module", autouse=True)
def quick_collections():
    """Let collections look at what these tests make, not each time at all that is imported."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


N = 6
FILES = FileSet([3, 5, 2, 7, 7, 1], [False, True, False, False, False, True])
WORKLOAD = Workload([1, 0, 2, 3, 4, 0])


def core_arguments(writes=WORKLOAD, **options):
    """Return what the package hands to the core for a small run, all optional arrays included."""
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_core, "simulate", lambda **given: calls.append(given) or real(**given))
        given = {"order": "size-ascending", "cycle": Cycle(4, 1.0, 2.5), "cycles": 7, **options}
        history = [1, 0, 0, 2, 70, 0]
        precopy.simulate(FILES, writes, seed=1, **given)
    arguments = calls[0] | {"cancel": np.zeros(1, dtype=np.uint8)}
    options = arguments.pop("options")[0] | {"history": np.array(history)}
    OPTIONS.update(options)
    return arguments | options


real = _core.simulate
OPTIONS: dict[str, object] = {}


def call_core(**arguments):
    """Call the core for one run, with its arguments and its options in one dict."""
    options = {name: arguments.pop(name) for name in list(arguments) if name in OPTIONS}
    runs = _core.simulate(**arguments, options=(options,))
    return runs and runs[0]


TRACE = WriteTrace(np.tile([0, 2, 3, 4], 7))
KEY = {"order": np.arange(6.0)}
# Argument, and a run in which the core reads it.
ARRAYS = {
    "size_bytes": {},
    "read_only": {},
    "by_size": {},
    "history": {},
    "cancel": {},
    "alias": {},
    "key": KEY,
    "trace": {"writes": TRACE},
    "trace_bytes": {"writes": WriteTrace(TRACE.file_id, np.arange(28)), "cost": "delta"},
}


def strided(array):
    return np.repeat(array, 2, axis=0)[::2]


def misaligned(array):
    raw = np.zeros(array.nbytes + 1, dtype=np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def in_subprocess(script):
    """Run a script; a sanitizer keeps no freed memory there and lets huge requests fail."""
    options = [os.environ.get("ASAN_OPTIONS", ""), "quarantine_size_mb=1"]
    options += ["allocator_may_return_null=1"]
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"ASAN_OPTIONS": ":".join(filter(None, options))},
    )


def references(arguments):
    """Count them for everything but numbers, names and None, which all the world refers to."""
    gc.collect()  # a traceback keeps the arguments of a call that was refused
    return {
        name: sys.getrefcount(value)
        for name, value in arguments.items()
        if not isinstance(value, (int, float, str, type(None)))
    }


def assert_refused(arguments, error, match=None):
    """Call the core twice; it refuses and keeps no reference to any argument."""
    with pytest.raises(error, match=match):
        call_core(**arguments)
    before = references(arguments)
    with pytest.raises(error, match=match):
        call_core(**arguments)
    assert references(arguments) == before


def test_the_arguments_are_sound():
    for run in ARRAYS.values():
        arguments = core_arguments(**run)
        stop, cycles, curves = call_core(**arguments)
        assert (stop, cycles) == (_core.STOPS["cycles"], 7)
        assert curves.shape == (3, 7)


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda array: array.astype(np.int16),
        lambda array: array.astype(np.complex128),
        lambda array: array.astype(object),
        lambda array: array[None],
        lambda array: array.tolist(),
        lambda array: array.tobytes(),
        lambda array: array.ravel()[0],
        lambda array: 5,
    ],
    ids=["int16", "complex", "object", "deeper", "list", "bytes", "scalar", "int"],
)
def test_wrong_type_or_shape(name, spoil):
    arguments = core_arguments(**ARRAYS[name])
    arguments[name] = spoil(arguments[name])
    assert_refused(arguments, TypeError, f"^{name}: expected")


@pytest.mark.parametrize("name", ["size_bytes", "by_size", "history", "alias", "key", "trace"])
def test_wrong_byte_order_or_alignment(name):
    arguments = core_arguments(**ARRAYS[name])
    array = arguments[name]
    arguments[name] = array.astype(array.dtype.newbyteorder())
    assert_refused(arguments, TypeError, f"^{name}: expected")
    arguments[name] = misaligned(array)
    assert_refused(arguments, TypeError, f"^{name}: expected")


@pytest.mark.parametrize("name", [name for name in ARRAYS if name != "cancel"])
def test_strided(name):
    arguments = core_arguments(**ARRAYS[name])
    arguments[name] = strided(arguments[name])
    assert not arguments[name].flags.c_contiguous
    assert_refused(arguments, TypeError, f"^{name}: expected")


@pytest.mark.parametrize("name", ["size_bytes", "read_only"])
def test_required_array_is_none(name):
    assert_refused(core_arguments() | {name: None}, TypeError, f"^{name}: expected")


def test_neither_alias_nor_trace():
    assert_refused(core_arguments() | {"alias": None}, TypeError, "^alias: expected")


@pytest.mark.parametrize("name", ["read_only", "by_size", "history", "cancel", "key"])
@pytest.mark.parametrize("change", [-1, 1])
def test_wrong_length(name, change):
    arguments = core_arguments(**ARRAYS[name])
    arguments[name] = np.resize(arguments[name], len(arguments[name]) + change)
    assert_refused(arguments, ValueError, f"^{name}: ")


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 3), (3, 2, 1)])
def test_alias_of_another_shape(shape):
    arguments = core_arguments() | {"alias": np.zeros(shape, dtype=np.uint64)}
    assert_refused(arguments, TypeError, "^alias: expected")


@pytest.mark.parametrize("file", [1, N, 2**32 - 1])
@pytest.mark.parametrize("column", [0, 32])
def test_alias_that_leads_out_of_the_read_write_files(file, column):
    arguments = core_arguments()
    alias = arguments["alias"].copy()
    alias[2, 1] = np.uint64(file << column)
    assert_refused(arguments | {"alias": alias}, ValueError, "shares")


@pytest.mark.parametrize("file", [-1, 1, N, 2**32, 2**63 - 1, -(2**63)])
def test_trace_that_leads_out_of_the_read_write_files(file):
    arguments = core_arguments(writes=TRACE)
    trace = TRACE.file_id.copy()
    trace[-1] = file
    before = references(arguments)
    assert call_core(**arguments | {"trace": trace}) is None
    assert references(arguments) == before


@pytest.mark.parametrize(
    "order", ["size-ascending", "size-descending", "update-frequency", "expected-update"]
)
def test_ranking_by_size_that_leads_out_of_the_files(order):
    by_size = np.array([0, 1, 2, 3, 4, N], dtype=np.uint32)
    if order == "update-frequency":  # does not read it
        assert call_core(**core_arguments(order=order) | {"by_size": by_size})[1] == 7
    else:
        arguments = core_arguments(order=order) | {"by_size": by_size}
        assert_refused(arguments, ValueError, "argument")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cycles", 0),
        ("cycles", -5),
        ("rounds", 0),
        ("writes_per_cycle", 0),
        ("writes_per_cycle", 2**62),
        ("budget_bytes", -1),
        ("budget_bytes", 2**62),
        ("order", "key"),  # without one
        ("size_bytes", np.array([1, 1, 1, 1, 1, -1])),
        ("size_bytes", np.array([2**62, 2**62, 1, 1, 1, 1])),
        ("history", np.array([1, 1, 1, 1, 1, -1])),
        ("history", np.array([1, 0, 2**63 - 28, 0, 0, 0])),
    ],
)
def test_value_out_of_range(name, value):
    assert_refused(core_arguments() | {name: value}, ValueError, "argument")


@pytest.mark.parametrize("name", _core.CHOICES)
@pytest.mark.parametrize("value", ["", "fastest", "\ud800", 0, None, b"cycles"])
def test_unknown_choice(name, value):
    assert_refused(core_arguments() | {name: value}, ValueError, f"{name}: expected|surrogates")


@pytest.mark.parametrize("value", [0.0, -1.0, 0.0099, np.nan, np.inf])
def test_half_life_out_of_range(value):
    arguments = core_arguments(order="update-frequency", frequency="exponential", half_life=1.0)
    assert_refused(arguments | {"half_life": value}, ValueError, "argument")


def test_empty_arrays():
    arguments = core_arguments()
    for name in ("size_bytes", "read_only", "by_size", "history"):
        arguments[name] = arguments[name][:0]
    assert_refused(arguments, ValueError, "argument")


@pytest.mark.parametrize("name", ["cycles", "rounds", "writes_per_cycle", "budget_bytes"])
def test_numbers_that_are_none_or_overflow(name):
    assert_refused(core_arguments() | {name: 2**63}, OverflowError)
    assert_refused(core_arguments() | {name: "1"}, TypeError)
    assert_refused(core_arguments() | {name: 1.5}, TypeError)


@pytest.mark.parametrize("cycles", [2**45, 2**61, 2**62])
def test_more_cycles_than_memory(cycles):
    result = in_subprocess(f"""
        import precopy
        files = precopy.FileSet([0])
        try:
            precopy.simulate(files, precopy.Workload([1]), cycle=precopy.Cycle(1, 1, 1),
                             cycles={cycles}, seed=1)
        except (MemoryError, ValueError):
            print("refused")
    """)
    assert result.stdout == "refused\n", result.stderr


@pytest.mark.parametrize(
    "order", ["size-ascending", "size-descending", "update-frequency", "expected-update"]
)
def test_any_byte_but_0_is_read_only(order):
    arguments = core_arguments(order=order)
    seven = FILES.read_only.view(np.uint8) * np.uint8(7)
    expected = call_core(**arguments)
    arguments = core_arguments(order=order) | {"read_only": seven.view(bool)}
    assert call_core(**arguments)[2].tolist() == expected[2].tolist()


def test_arguments_are_keywords_and_complete():
    arguments = core_arguments()
    with pytest.raises(TypeError):
        _core.simulate(*arguments.values())
    assert_refused(arguments | {"other": 1}, TypeError)
    for name in arguments:
        rest = {key: value for key, value in arguments.items() if key != name}
        assert_refused(rest, TypeError)


class Capsules:
    capsule = _core.__spec__  # no capsule at all


@pytest.mark.parametrize("value", [None, 5, Capsules()])
def test_no_bit_generator(value):
    arguments = core_arguments() | {"bit_generator": value}
    assert_refused(arguments, (AttributeError, ValueError))


def test_inputs_may_be_read_only():
    for run in ARRAYS.values():
        arguments = core_arguments(**run)
        for value in arguments.values():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
        assert call_core(**arguments)[1] == 7


def test_a_run_keeps_no_reference():
    for run in ARRAYS.values():
        arguments = core_arguments(**run)
        if arguments["bit_generator"]:
            capsule = arguments["bit_generator"].capsule
            held = sys.getrefcount(capsule)
        before = references(arguments)
        result = call_core(**arguments)
        assert references(arguments) == before
        if arguments["bit_generator"]:
            assert sys.getrefcount(capsule) == held
        curves = weakref.ref(result[2])
        del result
        assert curves() is None


@pytest.mark.parametrize("spoil", [list, lambda options: (*options, 5), lambda options: ()])
def test_runs_are_a_tuple_of_dicts(spoil):
    arguments = core_arguments()
    options = {name: arguments.pop(name) for name in list(arguments) if name in OPTIONS}
    with pytest.raises((TypeError, ValueError), match=r"options|tuple|argument"):
        _core.simulate(**arguments, options=spoil((options,)))


def test_one_wrong_run_among_many_keeps_no_reference():
    arguments = core_arguments()
    good = {name: arguments.pop(name) for name in list(arguments) if name in OPTIONS}
    before = references(arguments | good)
    for wrong, error in (({"cycles": 0}, ValueError), ({"order": "fastest"}, ValueError)):
        with pytest.raises(error):
            _core.simulate(**arguments, options=(good, good | wrong))
    assert references(arguments | good) == before


def test_cancel_ends_the_run():
    arguments = core_arguments() | {"cancel": np.ones(1, dtype=np.uint8)}
    assert_refused(arguments | {"writes_per_cycle": 10**12}, KeyboardInterrupt)


def test_alias_build():
    share = np.array([1.0, 0.0, 3.0])
    table = np.zeros((3, 2), dtype=np.uint64)
    assert _core.alias_build(share, table) == 2
    assert _core.alias_build(share[:0], table[:0]) == 0
    with pytest.raises(ValueError, match="shorter"):
        _core.alias_build(share, table[:2])
    with pytest.raises(ValueError, match="shares"):
        _core.alias_build(-share, table)
    for wrong in (share.astype(np.float32), share[::2], share[None], share.astype(">f8"), [1.0]):
        with pytest.raises(TypeError, match=r"^share: expected"):
            _core.alias_build(wrong, table)
    frozen = table.copy()
    frozen.flags.writeable = False
    for wrong in (frozen, table.astype(np.int64), table[:, :1], table[::-1], table.T, None):
        with pytest.raises(TypeError, match=r"^alias: expected"):
            _core.alias_build(share, wrong)


def test_alias_draw():
    alias, bits = WORKLOAD.alias, np.random.PCG64(1)
    assert _core.alias_draw(alias, bits, 0).tolist() == []
    assert _core.alias_draw(alias[:0], bits, 0).tolist() == []
    capsule = bits.capsule
    held = sys.getrefcount(capsule)
    drawn = _core.alias_draw(alias, bits, 1000)
    assert sys.getrefcount(capsule) == held
    assert drawn.dtype == np.int64
    assert set(drawn.tolist()) == {0, 2, 3, 4}
    for table, count in ((alias, -1), (alias[:0], 1)):
        with pytest.raises(ValueError, match=r"^count"):
            _core.alias_draw(table, bits, count)
    with pytest.raises((MemoryError, ValueError)):
        _core.alias_draw(alias, bits, 2**60)
    with pytest.raises(TypeError, match=r"^alias: expected"):
        _core.alias_draw(alias.astype(">u8"), bits, 1)
    with pytest.raises(AttributeError):
        _core.alias_draw(alias, None, 1)


def test_trace_check():
    trace, read_only = np.array([0, 2, 1]), np.array([False, True, False])
    assert _core.trace_check(trace, read_only) == 2
    assert _core.trace_check(trace[:2], read_only) == -1
    assert _core.trace_check(trace[:0], read_only) == -1
    assert _core.trace_check(np.array([0, 3]), read_only) == 1
    assert _core.trace_check(np.array([-1]), read_only) == 0
    with pytest.raises(TypeError, match=r"^trace: expected"):
        _core.trace_check(trace[::-1], read_only)
    with pytest.raises(TypeError, match=r"^read_only: expected"):
        _core.trace_check(trace, read_only.astype(np.int8))


def test_rank_by_size():
    sizes = np.random.default_rng(3).integers(0, [[5], [2**62]], (2, 500))
    for row in sizes:
        ranked = _core.rank_by_size(row)
        assert ranked.dtype == np.uint32
        assert ranked.tolist() == np.argsort(row, kind="stable").tolist()
    for wrong in (sizes, sizes[0, ::2], sizes[0].astype(">i8"), sizes[0].astype(float), None):
        with pytest.raises(TypeError, match=r"^size_bytes: expected"):
            _core.rank_by_size(wrong)


def test_runs_leak_no_python_memory():
    good = [core_arguments(**run) for run in ARRAYS.values()]
    bad = [arguments | {"cycles": 0} for arguments in good]
    bad += [arguments | {"cancel": 5} for arguments in good]
    bad += [arguments | {"history": None, "read_only": None} for arguments in good]

    def all_once():
        for arguments in good:
            call_core(**arguments)
        for arguments in bad:
            try:  # not pytest.raises(), which allocates
                call_core(**arguments)
            except (TypeError, ValueError):
                continue
            raise AssertionError(arguments)

    all_once()
    tracemalloc.start()
    try:
        all_once()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            all_once()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # What else goes on in the process moves this by some 10 kB; one array kept by one of the
    # calls would be 1000 times 100 bytes at the least.
    assert grown < 50_000


def test_runs_leak_no_c_memory():
    """A run takes some megabytes; if it kept a tenth of them, the process's peak would grow."""
    result = in_subprocess("""
        import resource
        import precopy
        files = precopy.FileSet([1] * 200_000)
        workload = precopy.Workload.uniform(files)

        def runs(count):
            for order in ("size-ascending", "update-frequency", "expected-update"):
                for schedule in ("cycles", "rounds"):
                    for _ in range(count):
                        precopy.simulate(files, workload, order, precopy.Cycle(10, 1.0, 10.0), 1,
                                         schedule=schedule, seed=1)

        def peak_kilobytes():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        runs(5)
        before = peak_kilobytes()
        runs(60)
        print(peak_kilobytes() - before)
    """)
    assert result.stderr == ""
    assert int(result.stdout) < 30_000


def paper_run(seed):
    files = precopy.FileSet(np.arange(1, 3001))
    workload = Workload.zipf(files, 1.0)
    cycle = Cycle(500, 1.0, 300.0)
    return precopy.simulate(files, workload, cycle=cycle, cycles=60, seed=seed)


def curves(run):
    return [run.final_copy_bytes.tolist(), run.precopy_bytes.tolist(), run.resent_bytes.tolist()]


def in_threads(function, arguments):
    results = [None] * len(arguments)
    start = threading.Barrier(len(arguments))

    def work(index):
        start.wait()
        results[index] = function(arguments[index])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(arguments))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_threads_with_their_own_generators():
    serial = [curves(paper_run(seed)) for seed in range(8)]
    parallel = in_threads(paper_run, range(8))
    assert [curves(run) for run in parallel] == serial


def test_threads_that_share_a_generator():
    """A run holds the generator's lock, so the runs are those of some serial order."""
    generator = np.random.default_rng(11)
    serial = [curves(paper_run(generator)) for _ in range(6)]
    shared = np.random.default_rng(11)
    parallel = [curves(run) for run in in_threads(paper_run, [shared] * 6)]
    assert sorted(parallel) == sorted(serial)
    assert shared.bit_generator.state == generator.bit_generator.state


@pytest.mark.parametrize("schedule", ["cycles", "rounds"])
@pytest.mark.parametrize("order", ["size-ascending", "update-frequency"])
@pytest.mark.parametrize(("cycles", "writes"), [(1, 10**12), (10**6, 10**6)])
def test_interrupt(cycles, writes, order, schedule):
    """The run would take hours; the interrupt ends it, and the generator works afterwards."""
    rounds = f"rounds={cycles}" if schedule == "rounds" else ""
    result = in_subprocess(f"""
        import os, signal, threading
        import numpy, precopy
        files = precopy.FileSet([10] * 1000)
        workload = precopy.Workload.uniform(files)
        generator = numpy.random.default_rng(1)
        cycle = precopy.Cycle({writes}, 1.0, 5000 / {writes})
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            precopy.simulate(files, workload, order={order!r}, schedule={schedule!r}, cycle=cycle,
                             cycles={cycles}, seed=generator, {rounds})
            print("finished")
        except KeyboardInterrupt:
            print("interrupted")
        run = precopy.simulate(files, workload, cycle=precopy.Cycle(10, 1.0, 1.0), cycles=3,
                               seed=generator)
        print(run.cycles)
    """)
    assert (result.stdout, result.stderr) == ("interrupted\n3\n", "")


def test_signal_handler_that_raises_ends_the_run():
    result = in_subprocess("""
        import os, signal, threading
        import precopy
        def handler(number, frame):
            raise RuntimeError("from the handler")
        signal.signal(signal.SIGUSR1, handler)
        files = precopy.FileSet([10] * 1000)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        try:
            precopy.simulate(files, precopy.Workload.uniform(files), seed=1,
                             cycle=precopy.Cycle(10**12, 1.0, 1.0), cycles=1)
        except RuntimeError as error:
            print(error)
    """)
    assert (result.stdout, result.stderr) == ("from the handler\n", "")


def test_other_threads_go_on_during_a_run():
    """A run that would take hours is ended by a thread that needs the interpreter's lock."""
    result = in_subprocess("""
        import threading
        import numpy, precopy
        from precopy.simulation import Plan
        import precopy.simulation as simulation
        files = precopy.FileSet([10] * 1000)
        cancel = numpy.zeros(1, dtype=numpy.uint8)
        real = simulation._core.simulate
        def simulate(**arguments):
            threading.Timer(0.2, cancel.fill, (1,)).start()
            return real(**arguments | {"cancel": cancel})
        simulation._core.simulate = simulate
        try:
            precopy.simulate(files, precopy.Workload.uniform(files), seed=1,
                             cycle=precopy.Cycle(10**12, 1.0, 1.0), cycles=1)
        except KeyboardInterrupt:
            print("cancelled")
    """)
    assert (result.stdout, result.stderr) == ("cancelled\n", "")


def test_module_can_be_imported_again():
    result = in_subprocess("""
        import gc, importlib, sys
        from precopy import _core as first
        del sys.modules["precopy._core"]
        second = importlib.import_module("precopy._core")
        assert second is not first and second.simulate is not first.simulate
        assert second.CHOICES == first.CHOICES and second.CHOICES is not first.CHOICES
        import numpy
        first.alias_build(numpy.ones(3), numpy.zeros((3, 2), dtype=numpy.uint64))
        del first
        gc.collect()
        print(second.alias_build(numpy.ones(3), numpy.zeros((3, 2), dtype=numpy.uint64)))
    """)
    assert (result.stdout, result.stderr) == ("3\n", "")


def test_import_is_light():
    result = in_subprocess("""
        import sys
        import precopy
        print([name for name in ("matplotlib", "pandas", "xarray", "tqdm") if name in sys.modules])
    """)
    assert (result.stdout, result.stderr) == ("[]\n", "")


def recording_arguments(**changes):
    """Return the arguments of a replay of three rows, some columns of the recording changed."""
    trace = WriteTrace(
        [0, 2, 3], [1, 2, 3], time_ns=[0, 5, 9], size_bytes=[4, 9, 2], from_id=[-1, 0, -1],
        duration_ns=20,
    )  # fmt: skip
    arguments = core_arguments(writes=trace, cycle=Cycle.of_seconds(3e-9, 3e9))
    arguments["history"] = None
    present, rows, back = arguments["recording"]
    columns = dict(
        zip(["file_id", "count", "write_bytes", "size_bytes", "from_id"], rows, strict=True)
    )
    present = changes.pop("present", present)
    arguments["recording"] = (present, tuple((columns | changes).values()), back)
    return arguments


COLUMNS = ["file_id", "count", "write_bytes", "size_bytes", "from_id"]


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda array: array.astype(np.int32),
        lambda array: strided(array),
        lambda array: misaligned(array),
        lambda array: array[None],
        lambda array: array.tolist(),
        lambda array: None,
        lambda array: array.astype(array.dtype.newbyteorder()),
    ],
)
def test_columns_of_a_recording_of_another_kind(name, spoil):
    arguments = recording_arguments()
    assert call_core(**arguments)[1] == 7
    _, rows, _ = arguments["recording"]
    spoilt = recording_arguments(**{name: spoil(rows[COLUMNS.index(name)])})
    assert_refused(spoilt, TypeError, f"^{name}: expected")


def test_columns_of_a_recording_of_other_lengths():
    for name in COLUMNS[1:]:
        arguments = recording_arguments(**{name: np.ones(2, np.int64)})
        assert_refused(arguments, ValueError, f"^{name}: expected 3 entries, got 2")
    arguments = recording_arguments(present=np.ones(5, bool))
    assert_refused(arguments, ValueError, "^present: expected 6 entries, got 5")
    for wrong in (5, [], (1, 2), (1, (), ()), (np.ones(6, bool), (), ())):
        assert_refused(recording_arguments() | {"recording": wrong}, TypeError)


@pytest.mark.parametrize("name", ["file_id", "from_id"])
@pytest.mark.parametrize("file", [-2, 1, N, 2**32, 2**63 - 1, -(2**63)])
def test_rows_that_lead_out_of_the_files(name, file):
    first = -1 if name == "from_id" else 0
    arguments = recording_arguments(**{name: np.array([first, file, first])})
    before = references(arguments)
    assert call_core(**arguments) is None
    assert references(arguments) == before
    given = arguments["size_bytes"], arguments["read_only"], arguments["recording"]
    assert _core.recording_check(*given) == 1
    with pytest.raises(ValueError, match="trace"):
        _core.recording_sizes(*given, 3)
    assert _core.recording_sizes(*given, 1).tolist() == [4, 5, 2, 7, 7, 1]


@pytest.mark.parametrize("row", [-1, 4, 2**62])
def test_sizes_before_no_row(row):
    arguments = recording_arguments()
    given = arguments["size_bytes"], arguments["read_only"], arguments["recording"]
    with pytest.raises(ValueError, match="argument"):
        _core.recording_sizes(*given, row)


def test_ends_of_cycles_of_another_kind():
    arguments = recording_arguments()
    ends = arguments["cycle_end"]
    assert_refused(arguments | {"cycle_end": ends[:-1].copy()}, ValueError, "^cycle_end: .* got 6")
    assert_refused(arguments | {"cycle_end": ends.astype(np.int32)}, TypeError, "^cycle_end: ")
    assert_refused(arguments | {"cycle_end": ends[::-1].copy()}, ValueError, "argument")
    assert_refused(arguments | {"cycle_end": None}, ValueError, "argument")
    assert_refused(arguments | {"first_row": 4}, ValueError, "argument")
    assert_refused(arguments | {"schedule": "rounds"}, ValueError, "argument")
