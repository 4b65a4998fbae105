"""For all tests: no skipped test hides a gap, and no machine setting leaks in."""

from __future__ import annotations

import os

import pytest

pytest_plugins = ["tests.lab.fixtures"]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("PYTEST_QT_API", "pyside6")
for name in [name for name in os.environ if name.startswith(("AWS_", "CAUSEWAY_", "LIBVIRT_"))]:
    del os.environ[name]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI a skipped test is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = len(reporter.stats.get("skipped", [])) if reporter else 0
    if os.environ.get("CI") == "true" and skipped and exitstatus == 0:
        reporter.write_line(f"{skipped} skipped: in CI that is a failure")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
