"""The fixtures are in tests.lab.fixtures, for all tests; here is what their users name."""

from __future__ import annotations

from tests.lab.machine import Beat, Lab, LabGuest

__all__ = ["Beat", "Lab", "LabGuest"]
