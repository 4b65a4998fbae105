from __future__ import annotations

from dataclasses import fields

import pytest
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication, QPushButton

from widgets import icons, theme

TEXTS = ("text", "muted", "link", "ok", "warn", "bad")
GROUNDS = ("background", "pane", "pane2", "accent_bg")


def luminance(colour: str) -> float:
    """WCAG 2.1, relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_on_white_is_21() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("tokens", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
def test_text_can_be_read_on_every_ground(tokens: theme.Tokens) -> None:
    pairs = [(text, ground) for text in TEXTS for ground in GROUNDS]
    pairs += [(name, f"{name}_bg") for name in ("ok", "warn", "bad")]
    pairs += [("text", f"{name}_bg") for name in ("ok", "warn", "bad")]
    pairs.append(("on_accent", "accent"))
    ratios = {(text, ground): contrast(getattr(tokens, text), getattr(tokens, ground)) for text, ground in pairs}
    assert {pair: round(ratio, 2) for pair, ratio in ratios.items() if ratio < 4.5} == {}


def test_both_themes_differ_in_every_colour() -> None:
    same = [f.name for f in fields(theme.Tokens) if getattr(theme.LIGHT, f.name) == getattr(theme.DARK, f.name)]
    assert same == []


def test_apply_dresses_the_application_and_tells(qapp: QApplication) -> None:
    told: list[bool] = []
    theme.on_change(lambda: told.append(theme.is_dark()))
    theme.apply(qapp, "dark")
    assert qapp.palette().color(QPalette.ColorRole.Base) == QColor(theme.DARK.pane)
    theme.apply(qapp, "light")
    assert qapp.palette().color(QPalette.ColorRole.Base) == QColor(theme.LIGHT.pane)
    assert told == [True, False]
    assert theme.mode() == theme.Mode.LIGHT


def test_an_unknown_mode_is_refused(qapp: QApplication) -> None:
    with pytest.raises(ValueError, match="pink"):
        theme.apply(qapp, "pink")


def test_the_font_is_the_bundled_one(qapp: QApplication) -> None:
    theme.apply(qapp, "light")
    assert theme.font().family() == "Inter"
    assert theme.font().pixelSize() == theme.FONT_PX


def test_an_icon_has_the_colour_of_its_role(qapp: QApplication) -> None:
    theme.apply(qapp, "light")
    image = icons.pixmap("square", "bad", 48).toImage()
    seen = {image.pixelColor(x, 24).name() for x in range(48) if image.pixelColor(x, 24).alpha() == 255}
    assert seen == {theme.LIGHT.bad}


def test_an_icon_is_sharp_on_a_dense_screen(qapp: QApplication) -> None:
    made = icons.pixmap("server", "text", 16, 2.0)
    assert (made.width(), made.deviceIndependentSize().width()) == (32, 16)


def test_a_missing_icon_is_said(qapp: QApplication) -> None:
    with pytest.raises(FileNotFoundError):
        icons.icon("no-such-icon")


def test_a_dressed_button_follows_the_theme(qapp: QApplication) -> None:
    theme.apply(qapp, "light")
    button = QPushButton()
    icons.dress(button, "server")
    before = button.icon().pixmap(16, 16).toImage()
    theme.apply(qapp, "dark")
    assert button.icon().pixmap(16, 16).toImage() != before
    theme.apply(qapp, "light")
    assert button.icon().pixmap(16, 16).toImage() == before
