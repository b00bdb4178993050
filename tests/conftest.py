"""In continuous integration: the same drawn cases on every run, and no test skipped."""

import os
import signal

import pytest
from hypothesis import settings

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# A shell lets what it runs in the background ignore these, and programs inherit that.
for number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, default)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where a test was skipped although PRECOPY_NO_SKIP says that nothing is missing."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("PRECOPY_NO_SKIP") and skipped:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
