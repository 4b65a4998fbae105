"""A known secret is masked in whatever form it is commonly written."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from app import redaction
from app.redaction import MASK, redact, remember


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_forms", set())
    monkeypatch.setattr(redaction, "_pattern", None)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SECRET = st.text(st.characters(exclude_categories=["Cs"]), min_size=8, max_size=60).filter(lambda s: len(s.strip()) > 5)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=SECRET, before=TEXT, after=TEXT)
def test_no_form_of_a_secret_gets_through(secret: str, before: str, after: str) -> None:
    redaction._forms.clear()
    assume(secret not in MASK)
    remember(secret)
    for form in (secret, quote(secret), json.dumps(secret), repr(secret), base64.b64encode(secret.encode()).decode()):
        told = redact(f"{before} {form} {after}")
        assert MASK in told
        assert secret not in told and form not in told


def test_text_without_secrets_is_left_alone() -> None:
    assert redact("nothing known") == "nothing known"
    remember("hunter22")
    assert redact("nothing known") == "nothing known"
    assert redact("hunter22, hunter2") == f"{MASK}, hunter2"


def test_a_secret_inside_a_longer_one() -> None:
    remember("hunter22")
    remember("hunter22-and-more")
    assert redact("hunter22-and-more hunter22") == f"{MASK} {MASK}"


def test_each_line_of_a_key_is_masked() -> None:
    line = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ"
    remember(f"-----BEGIN KEY-----\n{line}\n-----END KEY-----\n")
    assert redact(f"a part: {line}") == f"a part: {MASK}"


@pytest.mark.parametrize("short", ["", " ", "a", "abc", "   \n "])
def test_what_is_too_short_is_no_secret(short: str) -> None:
    remember(short)
    assert redact(f"a {short} b") == f"a {short} b"
