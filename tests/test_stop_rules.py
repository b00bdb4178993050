"""Stop rules: each on a case computed by hand, then by the model's formulas on drawn curves."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from precopy import stop


def curves(final, sent=None, **options):
    """One run or several with these final copies: a cycle takes 2 s and could send 10 bytes."""
    final = np.asarray(final, dtype=float)
    step = np.arange(1, final.shape[-1] + 1)
    sent = np.broadcast_to(10.0 * step if sent is None else sent, final.shape)
    known = {"resent_bytes": sent / 2, "seconds": np.broadcast_to(2.0 * step, final.shape)}
    return stop.Curves(final, sent, **{**known, "bandwidth": 5.0, "total_bytes": 40.0, **options})


def cycles_of(rule, *arguments, **options):
    """Return the cycles in which a rule holds."""
    return [int(one) + 1 for one in np.flatnonzero(rule.holds(curves(*arguments, **options)))]


@pytest.mark.model("stop.final-copy")
def test_final_copy():
    assert cycles_of(stop.final_copy(5), [9, 6, 5, 7, 4.9]) == [3, 5]


@pytest.mark.model("stop.downtime")
def test_downtime_with_overhead():
    assert cycles_of(stop.downtime(1.5), [10, 7.5, 8, 5]) == [2, 4]
    assert cycles_of(stop.downtime(1.5, overhead_s=0.5), [10, 7.5, 8, 5]) == [4]
    predicted = np.array([1.0, 0.1, 2.0, 0.2])
    assert cycles_of(stop.downtime(0.5), [10, 9, 8, 7], downtime_s=predicted) == [2, 4]


@pytest.mark.model("stop.cycles", "stop.seconds", "stop.traffic", "stop.resent")
@pytest.mark.parametrize(
    ("rule", "first"),
    [
        (stop.cycles(3), 3),
        (stop.seconds(7), 4),
        (stop.seconds(8), 4),
        (stop.traffic(1), 4),  # 40 bytes of data, 10 a cycle
        (stop.traffic(1.3), 6),
        (stop.resent(12), 3),  # half of what is sent
    ],
    ids=str,
)
def test_what_grows_holds_from_then_on(rule, first):
    assert cycles_of(rule, [9, 1, 9, 1, 9, 9, 9]) == list(range(first, 8))


@pytest.mark.model("stop.stall")
def test_stall():
    # Least so far: 9 5 5 5 4.9 4.9 3 3. In cycle 4 it is that of two cycles before.
    falls = [9, 5, 6, 7, 4.9, 8, 3, 3]
    assert cycles_of(stop.stall(2), falls) == [4, 5, 6, 7, 8]
    # Three cycles: cycle 5 stands at 4.9, cycle 2 at 5: 2 % less, a stall only at 2 % or more.
    assert cycles_of(stop.stall(3), falls) == []
    assert cycles_of(stop.stall(3, tolerance=0.03), falls) == [5, 6, 7, 8]
    assert cycles_of(stop.stall(3, 0), [4, 4, 4, 4, 0]) == [4, 5]
    # Slow progress counts as progress if it adds up: 1 % a cycle, 2 % allowed in two.
    slow = 100 * 0.99 ** np.arange(30)
    assert cycles_of(stop.stall(2, 0.015), slow) == []
    assert cycles_of(stop.stall(2, 0.02), slow)[0] == 3


@pytest.mark.model("stop.dip")
def test_dip():
    # Of the last five values the 25 % quantile is the second smallest.
    values = [1, 9, 8, 7, 6, 9, 6.5, 9, 5, 9, 5]
    assert cycles_of(stop.dip(0.25, 5), values) == [5, 7, 9, 11]
    assert cycles_of(stop.dip(0, 5), values) == [9, 11]
    assert cycles_of(stop.dip(1, 5), values) == [5, 6, 7, 8, 9, 10, 11]
    # 10 % of five: 0.4 of the way from the smallest to the next.
    assert cycles_of(stop.dip(0.1, 5), [0, 10, 10, 10, 4]) == []
    assert cycles_of(stop.dip(0.1, 5), [0, 10, 10, 10, 0]) == [5]
    assert cycles_of(stop.dip(0.1, 3), [7, 7, 7, 7]) == [3, 4]


@pytest.mark.model("stop.growth")
def test_growth():
    assert cycles_of(stop.growth(), [10, 11, 12.2, 5, 5.5, 6.1]) == [3, 6]
    assert cycles_of(stop.growth(1.5), [1, 3, 6, 1, 2.5]) == [2]


@pytest.mark.model("stop.ramp")
def test_ramp():
    # The limit: 1 s up to cycle 2, which ends after 4 s; then 2 s more for each 4 s, at most twice.
    rule = stop.ramp(initial_s=1, most_s=5, steps=2, after=2, wait_s=4)
    waits = [5, 1, 3, 3, 3, 5, 5, 5.1, 5]
    assert cycles_of(rule, np.array(waits) * 5) == [2, 4, 5, 6, 7, 9]
    assert cycles_of(stop.ramp(1, 5, 2, 2, 0), np.array(waits) * 5) == [2, 3, 4, 5, 6, 7, 9]
    # The numbers of KubeVirt: after 6 s 0.15 s, after 16 s a seventh of 0.9 s more.
    assert cycles_of(stop.ramp(), [0.27 * 5] * 20)[0] == 8


@pytest.mark.model("stop.marginal")
def test_marginal():
    # Two cycles send 20 bytes and must make more than 2 bytes of difference.
    assert cycles_of(stop.marginal(0.1, 2), [30, 20, 10, 9, 8, 8, 9]) == [5, 6, 7]
    # Nothing to send, nothing to gain.
    assert cycles_of(stop.marginal(0.1, 1), [9, 0, 0], sent=[10, 20, 20]) == [3]


@pytest.mark.model("stop.outrun")
def test_outrun():
    # Two cycles could send 20 bytes. Sent 20, 20, 20; fallen by 20, 5, 0, -1.
    falls = [30, 20, 10, 15, 10, 16]
    assert cycles_of(stop.outrun(1, 2), falls) == [5, 6]
    assert cycles_of(stop.outrun(0.75, 2), falls) == [4, 5, 6]
    # A link that had nothing to send was not outrun, although the final copy stays as it is.
    assert cycles_of(stop.outrun(1, 2), [4] * 6, sent=4.0 * np.arange(1, 7)) == []


@pytest.mark.model("stop.any", "stop.all")
def test_any_and_all():
    falls = [9, 5, 6, 7, 4.9, 8, 3, 3]
    low, late = stop.final_copy(5), stop.cycles(5)
    assert cycles_of(low, falls) == [2, 5, 7, 8]
    assert cycles_of(low & late, falls) == [5, 7, 8]
    assert cycles_of(low | late, falls) == [2, 5, 6, 7, 8]
    assert cycles_of(stop.cycles(8) | low & late, falls) == [5, 7, 8]


@pytest.mark.model("stop.stall", "stop.dip", "stop.all")
def test_a_stall_and_then_a_dip_even_if_the_dip_is_a_new_minimum():
    # A sawtooth that stalls at cycle 13 on its crest; its next foot is a new minimum.
    saw = [10, 6, 7, 8, 9] * 2 + [10, 11, 12, 13, 3, 9, 9, 9, 9, 9]
    assert cycles_of(stop.stall(10), saw)[0] == 12
    assert cycles_of(stop.stall(10) & stop.dip(0.1, window=10), saw)[0] == 15
    assert cycles_of(stop.stall(10) & stop.dip(0.1), saw) == []
    assert cycles_of(stop.stall(10) & stop.dip(0.1), [*saw, 3]) == [21]


# The formulas of the model, for cycle c of one run: lists begin with cycle 1.


def run_of(table, row):
    """Return the curves of one run as lists, up to the end of the run."""
    final = table.final_copy_bytes[row]
    length = int(np.isnan(final).argmax()) if np.isnan(final).any() else len(final)
    lists = {
        name: [float(one) for one in getattr(table, name)[row][:length]]
        for name in ("final_copy_bytes", "precopy_bytes", "resent_bytes", "seconds")
    }
    return {"f": lists["final_copy_bytes"], **lists}


def formula(rule, run, c):
    """Return whether a rule holds in cycle c; looks at no later cycle."""
    f, sent, seconds = run["f"], run["precopy_bytes"], run["seconds"]
    now, name = f[c - 1], type(rule).__name__
    before = c - 1 - getattr(rule, "window", 0)
    if name == "AnyOf":
        return any(formula(part, run, c) for part in rule.rules)
    if name == "AllOf":
        return all(formula(part, run, c) for part in rule.rules)
    if name == "final_copy":
        return now <= rule.bytes
    if name == "downtime":
        return now / 5.0 + rule.overhead_s <= rule.seconds
    if name == "cycles":
        return c >= rule.count
    if name == "seconds":
        return seconds[c - 1] >= rule.seconds
    if name == "traffic":
        return sent[c - 1] >= rule.factor * 40.0
    if name == "resent":
        return run["resent_bytes"][c - 1] >= rule.bytes
    if name == "stall":
        return any(
            min(f[:one]) >= (1 - rule.tolerance) * min(f[: one - rule.cycles])
            for one in range(rule.cycles + 1, c + 1)
        )
    if name == "dip":
        if c < rule.window:
            return False
        place = rule.quantile * (rule.window - 1)
        last = sorted(f[c - rule.window : c])
        low, high = last[math.floor(place)], last[math.ceil(place)]
        return now <= low + (high - low) * (place % 1)
    if name == "growth":
        return c > 1 and now > (1 + rule.share) * f[c - 2]
    if name == "ramp":
        waited = seconds[c - 1] - seconds[rule.after - 1] if c >= rule.after else 0.0
        k = min(waited // rule.wait_s, rule.steps) if c >= rule.after else 0
        return now / 5.0 <= rule.initial_s + (rule.most_s - rule.initial_s) * (k / rule.steps)
    if before < 0:
        return False
    if name == "marginal":
        return f[before] - now <= rule.gain * (sent[c - 1] - sent[before])
    assert name == "outrun"
    pending = sent[c - 1] - sent[before] + now - f[before]
    return pending >= rule.share * (5.0 * (seconds[c - 1] - seconds[before]))


@st.composite
def tables(draw):
    """Curves of one to three runs that end at different steps: whole bytes, as in a simulation."""
    steps, runs = draw(st.integers(1, 25)), draw(st.integers(1, 3))
    values = st.lists(st.integers(0, 30), min_size=steps, max_size=steps)
    final, sent = (np.array([draw(values) for _ in range(runs)], dtype=float) for _ in range(2))
    table = curves(final, np.cumsum(sent % 11, axis=1))
    for row in range(runs):
        end = draw(st.integers(0, steps))
        for name in ("final_copy_bytes", "precopy_bytes", "resent_bytes"):
            column = np.array(getattr(table, name))
            column[row, end:] = np.nan
            object.__setattr__(table, name, column)
    return table


SHARES = st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.5, 0.9, 1.0])
COUNTS = st.integers(1, 8)
WAITS = st.sampled_from([1.0, 2.5, 8.0])
SIMPLE = st.one_of(
    st.builds(stop.final_copy, st.integers(0, 30)),
    st.builds(stop.downtime, st.integers(0, 6), st.sampled_from([0, 0.2])),
    st.builds(stop.cycles, st.integers(1, 30)),
    st.builds(stop.seconds, st.floats(0, 60)),
    st.builds(stop.traffic, st.floats(0, 5)),
    st.builds(stop.resent, st.integers(0, 100)),
    st.builds(stop.stall, COUNTS, SHARES),
    st.builds(stop.dip, SHARES, COUNTS),
    st.builds(stop.growth, SHARES),
    st.builds(
        stop.ramp,
        st.floats(0, 2),
        st.floats(2, 6),
        COUNTS,
        COUNTS,
        st.sampled_from([1.0, 2.5, 8.0]),
    ),
    st.builds(stop.marginal, SHARES, COUNTS),
    st.builds(stop.outrun, SHARES, COUNTS),
)
RULES = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a | b, inner, inner), st.builds(lambda a, b: a & b, inner, inner)
    ),
    max_leaves=4,
)


@given(tables(), RULES)
def test_a_table_holds_what_the_formulas_say(table, rule):
    held = rule.holds(table)
    for row, answers in enumerate(held.tolist()):
        run = run_of(table, row)
        length = len(run["f"])
        assert answers[:length] == [formula(rule, run, c) for c in range(1, length + 1)]
        assert not any(answers[length:])


@pytest.mark.model("stop.first")
@given(tables(), RULES)
def test_step_by_step_as_in_the_whole_table(table, rule):
    held = rule.holds(table)
    for row, answers in enumerate(held):
        run = run_of(table, row)
        watch = rule.watch()
        for c in range(1, len(run["f"]) + 1):
            now = stop.Progress(
                cycle=c,
                seconds=run["seconds"][c - 1],
                final_copy_bytes=int(run["f"][c - 1]),
                precopy_bytes=int(run["precopy_bytes"][c - 1]),
                resent_bytes=run["resent_bytes"][c - 1],
                bandwidth=5,
                total_bytes=40,
            )
            assert watch(now) == watch.held == answers[c - 1]
            assert bool(watch.reason) == watch.held
            # A table that ends here says the same: nothing later matters.
            short = curves(**{"final": run["f"][:c], "sent": np.array(run["precopy_bytes"][:c])})
            assert rule.holds(short)[-1] == answers[c - 1]
            assert rule.reason(short) == watch.reason


@given(RULES)
def test_what_a_rule_says_of_itself_is_the_rule(rule):
    assert stop.parse(str(rule)) == rule
    assert repr(rule) == str(rule)
    assert hash(stop.parse(repr(rule))) == hash(rule)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("stall(10)", stop.stall(10)),
        (" stall ( 10 , tolerance = 2% ) ", stop.stall(10, 0.02)),
        ("final_copy(1.5MiB)", stop.final_copy(1_572_864)),
        ("final_copy(10 MB)", stop.final_copy(10_000_000)),
        ("final_copy(bytes=0.5GB)", stop.final_copy(500_000_000)),
        ("downtime(50ms)", stop.downtime(0.05)),
        ("downtime(1.5e-1s, overhead_s=20ms)", stop.downtime(0.15, 0.02)),
        ("seconds(5min)|seconds(1h)", stop.seconds(300) | stop.seconds(3600)),
        ("dip(10%,window=30)", stop.dip(0.1, 30)),
        ("ramp()", stop.ramp()),
        ("growth(150%)", stop.growth(1.5)),
        ("cycles(2e1)", stop.cycles(20)),
        # Both bind closer than either.
        (
            "cycles(1) | cycles(2) & cycles(3)",
            stop.cycles(1) | (stop.cycles(2) & stop.cycles(3)),
        ),
        (
            "(cycles(1) | cycles(2)) & cycles(3)",
            (stop.cycles(1) | stop.cycles(2)) & stop.cycles(3),
        ),
        ("((cycles(1)))", stop.cycles(1)),
    ],
)
def test_texts(text, rule):
    assert stop.parse(text) == rule


@pytest.mark.parametrize(
    ("text", "expected", "place"),
    [
        ("", "a rule, one of final_copy, downtime, .*, got the end", 0),
        ("stall(10) & dp(0.1)", "a rule, one of .*, got 'dp'", 12),
        ("stall", r"'\(' and the rule's arguments, got the end", 5),
        ("stall(", "a whole number from 1 on, got the end", 6),
        ("stall()", r"a whole number from 1 on \(cycles\) for stall, got '\)'", 6),
        ("stall(10", r"',' or '\)', got the end", 8),
        ("stall(10) dip(0.1)", r"'\|', '&' or the end, got 'dip'", 10),
        ("stall(10) | ", "a rule, one of", 12),
        ("(stall(10)", r"'\|', '&' or '\)', got the end", 10),
        ("stall(10))", "'|', '&' or the end, got '\\)'", 9),
        ("stall(0)", "a whole number from 1 on, got '0'", 6),
        ("stall(1.5)", "a whole number from 1 on, got '1.5'", 6),
        ("stall(-5)", "a whole number from 1 on, got '-'", 6),
        ("stall(10MB)", "a whole number from 1 on, got '10MB'", 6),
        ("dip(2)", "a number from 0 to 1, or a percentage like 10%, got '2'", 4),
        ("dip(101%)", "a number from 0 to 1", 4),
        ("dip(0.1, width=3)", "one of quantile, window, got 'width'", 9),
        ("dip(0.1, window 3)", "'=', got '3'", 16),
        ("dip(0.1, quantile=0.2)", "each argument once, got 'quantile'", 9),
        ("dip(window=3, 0.2)", "NAME=VALUE after one, got '0.2'", 14),
        ("dip(0.1, 2, 3)", "no more than 2 arguments of dip, got '3'", 12),
        ("downtime(5x)", "seconds like 0.5, or 50ms, 2s, 5min, 1h, got '5x'", 9),
        ("downtime(5MB)", "seconds like", 9),
        ("downtime(nan)", "one of seconds, overhead_s, got 'nan'", 9),
        ("final_copy(5s)", "bytes like 4096 or 10MB, got '5s'", 11),
        ("final_copy(1e30)", "bytes like", 11),
        ("stall(10) and dip(0.1)", r"'\|', '&' or the end, got 'and'", 10),
        ("stall(__import__('os'))", "one of cycles, tolerance, got '__import__'", 6),
        ("stall(10)\x1b[2J", "'|', '&' or the end, got '\\\\x1b'", 9),
        ("(" * 60 + "stall(10)" + ")" * 60, "at most 50 parentheses within one another", 50),
    ],
)
def test_an_error_points_at_the_place(text, expected, place):
    with pytest.raises(ValueError, match=f"^until: expected {expected}") as error:
        stop.parse(text)
    shown, pointer = str(error.value).splitlines()[1:]
    assert pointer.index("^") == place + 2
    assert shown.isprintable()


@given(st.text("stalldip()|&,=.0123456789%MBs _-", max_size=30))
def test_any_text_is_a_rule_or_an_error_of_three_lines(text):
    try:
        rule = stop.parse(text)
    except ValueError as error:
        message = str(error)
    else:
        message = "three\nlines\n"
        assert stop.parse(str(rule)) == rule
    assert message.count("\n") == 2


def test_rules_join_rules_only():
    for join in (lambda a, b: a | b, lambda a, b: a & b):
        for other in (3, "stall(10)", None, stop.stall):
            with pytest.raises(TypeError):
                join(stop.stall(10), other)
    assert (stop.cycles(1) | stop.cycles(2) | stop.cycles(3)).rules == tuple(
        stop.cycles(number) for number in (1, 2, 3)
    )


def test_the_reason_names_the_rule_that_held():
    rule = stop.stall(2) & stop.dip(0, 3) | stop.downtime(0.5) | stop.cycles(9)
    watch = rule.watch()
    assert watch.reason == ""

    def tell(cycle, final, downtime_s=None):
        return bool(watch(stop.Progress(cycle, 2.0, final, 10.0, 0.0, 5.0, 40.0, downtime_s)))

    assert [tell(1, 9.0), tell(2, 5.0), tell(3, 6.0)] == [False] * 3
    assert watch.reason == ""
    assert tell(4, 5.0)
    assert watch.reason.startswith("stall(2): the least final copy fell by no more than ")
    assert watch.reason.endswith(
        " and dip(0, 3): the final copy, 5 B, is within the lowest 0 % of the last 3 cycles"
    )
    assert tell(5, 7.0, 0.25)
    assert watch.reason == "downtime(0.5): the downtime would be 0.25 s"
    assert not tell(6, 7.0)


def test_a_watch_keeps_no_more_than_its_window():
    # A live migration may run for days: what a cycle costs must not grow.
    watch = (stop.stall(10) & stop.dip(0.1) | stop.marginal() & stop.outrun()).watch()
    for cycle in range(1, 2001):
        watch(stop.Progress(cycle, cycle, 100.0 + cycle % 7, cycle * 10.0, 0.0, 5.0, 40.0))
    kept = [
        len(value)
        for part in watch._parts
        for one in getattr(part, "_parts", [part])
        for value in one._memory.values()
        if hasattr(value, "maxlen")
    ]
    assert sorted(kept) == [11, 11, 11, 20]


def test_a_fork_of_a_watch_goes_its_own_way():
    text = (
        "stall(3) & dip(0.5, 3) | growth(0.5) | ramp(0.1, 1, 2, 1, 1) | marginal(0.1, 3) | outrun"
    )
    rule = stop.parse(f"{text}(1, 2)")
    watch, other = rule.watch(), rule.watch()
    for cycle in range(1, 12):
        now = stop.Progress(cycle, 1.0 * cycle, 90.0 - cycle % 4, 8.0 * cycle, 0.0, 1.0, 9.0)
        fork = watch.fork()
        fork(stop.Progress(cycle, 1.0 * cycle, 1.0, 9.0 * cycle, 0.0, 1.0, 9.0))
        assert bool(watch.fork()(now)) == bool(watch(now)) == bool(other(now))
        assert watch.reason == other.reason


def test_where_the_bandwidth_is_not_known_yet():
    watch = (stop.outrun(1, 2) | stop.downtime(1)).watch()
    for cycle in (1, 2, 3):
        now = stop.Progress(cycle, 2.0 * cycle, 9.0, 10.0 * cycle, 0.0, None, 40.0, 3.0)
        assert not watch(now)
