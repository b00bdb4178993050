"""The text of a stop rule, such as ``stall(10) & dip(0.1) | seconds(5min)``.

    rule  = all { "|" all }
    all   = one { "&" one }
    one   = NAME "(" [ given { "," given } ] ")"  |  "(" rule ")"
    given = [ NAME "=" ] NUMBER [ UNIT ]

A reader of its own: nothing of the text is ever run.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import MISSING
from typing import Any, NoReturn

from precopy import _check
from precopy._rule import Bytes, Count, Factor, Kind, Rule, Seconds, Share, parameters
from precopy._rules import NAMES
from precopy._text import printable
from precopy.tables import parse_bytes, parse_seconds

_FIGURES = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_TOKEN = re.compile(rf"\s*(?:([A-Za-z_]\w*)|({_FIGURES}(?:\s?[A-Za-z%][\w%]*)?)|(\S)|$)")
_NUMBER = re.compile(rf"({_FIGURES})\s?([A-Za-z%]*)")
_DEEPEST = 50


def parse(text: str) -> Rule:
    """Return the rule that a text says.

    Parameters
    ----------
    text : str
        Rules with their arguments, joined by ``|`` (one is enough) and ``&`` (all at once; binds
        closer), with parentheses. Bytes take units (10MB, 1.5GiB), seconds, too (50ms, 2s, 5min,
        1h), shares may be percentages.

    Raises
    ------
    ValueError
        For anything else, pointing at the place.

    Examples
    --------
    >>> from precopy import stop
    >>> stop.parse("stall(10) & dip(10%) | downtime(50ms)")
    stall(10) & dip(0.1) | downtime(0.05)
    """
    if not isinstance(text, str):
        raise TypeError(f"until: expected a text like 'stall(10)', got {_check.shown(text)}")
    return _Reader(text).whole()


def rule_argument(text: str) -> Rule:
    """Return the rule of an option ``--until``; argparse shows what is wrong with it."""
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("until: ")) from None


class _Reader:
    """A text and how far it has been read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0  # where the token begins
        self.token = ""
        self.kind = 0  # 1 a name, 2 a number, 3 a mark, 0 the end
        self.depth = 0
        self._end = 0
        self.next()

    def next(self) -> str:
        """Go on to the next token; return the one before."""
        before = self.token
        match = _TOKEN.match(self.text, self._end)
        assert match is not None  # it matches anything
        self.kind = match.lastindex or 0
        self.token = match[self.kind] if self.kind else ""
        self.place = match.start(self.kind) if self.kind else len(self.text)
        self._end = match.end()
        return before

    def refuse(self, expected: str, place: int | None = None, got: str | None = None) -> NoReturn:
        place = self.place if place is None else place
        got = repr(self.token) if got is None and self.token else got or "the end"
        text = printable(self.text)
        pointer = " " * len(printable(self.text[:place])) + "^"
        raise ValueError(f"until: expected {expected}, got {got}\n  {text}\n  {pointer}")

    def whole(self) -> Rule:
        rule = self.any()
        if self.kind:
            self.refuse("'|', '&' or the end")
        return rule

    def any(self) -> Rule:
        rule = self.all()
        while self.token == "|":
            self.next()
            rule = rule | self.all()
        return rule

    def all(self) -> Rule:
        rule = self.one()
        while self.token == "&":
            self.next()
            rule = rule & self.one()
        return rule

    def one(self) -> Rule:
        if self.token == "(":
            self.depth += 1
            if self.depth > _DEEPEST:
                self.refuse(f"at most {_DEEPEST} parentheses within one another")
            self.next()
            rule = self.any()
            self.mark(")", "'|', '&' or ')'")
            self.depth -= 1
            return rule
        if self.kind != 1 or self.token not in NAMES:
            self.refuse(f"a rule, one of {', '.join(NAMES)}")
        place = self.place
        kind = NAMES[self.next()]
        self.mark("(", "'(' and the rule's arguments")
        return self.arguments(kind, place)

    def mark(self, mark: str, expected: str) -> None:
        if self.token != mark:
            self.refuse(expected)
        self.next()

    def arguments(self, rule: type[Rule], start: int) -> Rule:
        known = {field.name: kind for field, kind in parameters(rule).items()}
        given: dict[str, Any] = {}
        while self.token != ")":
            if given:
                self.mark(",", "',' or ')'")
            place, name = self.place, ""
            if self.kind == 1:
                name = self.next()
                if name not in known:
                    self.refuse(f"one of {', '.join(known)}", place, repr(name))
                self.mark("=", "'='")
            elif any(one != two for one, two in zip(given, known, strict=False)):
                self.refuse("NAME=VALUE after one")
            elif len(given) == len(known):
                self.refuse(f"no more than {len(known)} arguments of {rule.__name__}")
            else:
                name = list(known)[len(given)]
            if name in given:
                self.refuse("each argument once", place, repr(name))
            given[name] = self.value(known[name])
        for field in parameters(rule):
            if field.name not in given and field.default is MISSING:
                self.refuse(f"{known[field.name].expected} ({field.name}) for {rule.__name__}")
        self.next()
        return rule(**given)

    def value(self, kind: Kind) -> Any:
        place, token = self.place, self.next()
        try:
            return kind.check("", _read(kind, token))
        except (ValueError, TypeError):
            self.refuse(kind.expected, place, repr(token) if token else "the end")


def _read(kind: Kind, token: str) -> float:
    """Return the number that a token says, or raise ValueError."""
    if kind is _of(Bytes):
        return parse_bytes(token)
    if kind is _of(Seconds):
        return parse_seconds(token)
    match = _NUMBER.fullmatch(token)
    if match is None:
        raise ValueError
    number = float(match[1])
    if kind in (_of(Share), _of(Factor)) and match[2] == "%":
        return number / 100
    if match[2]:
        raise ValueError
    return int(match[1]) if kind is _of(Count) and match[1].isdigit() else number


def _of(hint: Any) -> Kind:
    kind: Kind = hint.__metadata__[0]
    return kind
