"""The model's page: every rule is cited by a test, and every citation is of a rule there is."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
RULES = set(re.findall(r"^::::\{rule\} (\S+)$", (ROOT / "docs/model.md").read_text(), re.M))


def cited(glob, pattern):
    """Return the rules that the files cite, by name or as a family ``name.*``."""
    found = {}
    for path in ROOT.glob(glob):
        for names in re.findall(pattern, path.read_text()):
            for name in re.findall(r"[a-z]+(?:\.[a-z*-]+)*", names):
                found.setdefault(name.rstrip("."), path.name)
    return found


def test_every_rule_is_cited_by_a_test():
    names = cited("tests/test_*.py", r"pytest\.mark\.model\(([^)]*)\)")
    assert len(RULES) > 25
    assert set(names) == RULES


def test_every_citation_is_of_a_rule():
    names = {}
    for glob in ("csrc/core/*.[ch]", "precopy/*.py"):
        names |= cited(glob, r"\b[Rr]ules? ((?:[a-z]+(?:\.[a-z*-]+)?(?:, | and )?)+)")
    names = {name: place for name, place in names.items() if "." in name}
    assert len(names) > 8
    for name, place in names.items():
        family = name.removesuffix("*")
        assert name in RULES or any(family != name and rule.startswith(family) for rule in RULES), (
            f"{place} cites {name}"
        )


def test_links_in_the_docs_are_to_rules():
    for path in ROOT.glob("docs/**/*.md"):
        for name in re.findall(r"\{ref\}`rule\.([^`]+)`", path.read_text()):
            assert name in RULES, f"{path.name} links to {name}"
