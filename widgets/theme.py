"""The look: colours and fonts as tokens; palette, style sheet and delegates read them from here and nowhere else.

Some text colours are a shade stronger than in the design's pictures: text keeps a contrast of 4.5:1 on every
background it stands on, the selected row included (tested).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontDatabase, QPalette
from PySide6.QtWidgets import QApplication, QStyleFactory

FONT_PX = 13
SMALL_PX = 12
CAPTION_PX = 11
ROW_PX = 26
INDENT_PX = 16
GRID_PX = 4
RADIUS_PX = 8


class Mode(StrEnum):
    SYSTEM = "system"
    LIGHT = "light"
    DARK = "dark"


@dataclass(frozen=True, slots=True)
class Tokens:
    """One theme's colours as #rrggbb. `accent` fills, `link` is the accent as text, `*_bg` the ground of each."""

    dark: bool
    background: str
    pane: str
    pane2: str
    line: str
    text: str
    muted: str
    accent: str
    link: str
    on_accent: str
    accent_bg: str
    ok: str
    ok_bg: str
    warn: str
    warn_bg: str
    bad: str
    bad_bg: str

    def colour(self, role: str) -> QColor:
        """The token of that name. Raises AttributeError for a name that is none."""
        return QColor(getattr(self, role))


LIGHT = Tokens(
    dark=False,
    background="#f5f6f8",
    pane="#ffffff",
    pane2="#f0f2f5",
    line="#dfe3e8",
    text="#1b1f27",
    muted="#5f6774",
    accent="#1f6feb",
    link="#185fd2",
    on_accent="#ffffff",
    accent_bg="#dbe9ff",
    ok="#0f7541",
    ok_bg="#d9f2e4",
    warn="#8a5c00",
    warn_bg="#fdf0cf",
    bad="#b52a44",
    bad_bg="#fde3e6",
)
DARK = Tokens(
    dark=True,
    background="#16181d",
    pane="#1c1f26",
    pane2="#22262f",
    line="#2e333d",
    text="#e6e8ec",
    muted="#9aa2b0",
    accent="#5b9dff",
    link="#6aa6ff",
    on_accent="#10131a",
    accent_bg="#22385a",
    ok="#4cc38a",
    ok_bg="#17382b",
    warn="#f0b429",
    warn_bg="#3b3116",
    bad="#f57f8a",
    bad_bg="#43222a",
)


class Look(QObject):
    """Which theme is on, and who wants to know when it changes."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.mode = Mode.SYSTEM
        self.tokens = LIGHT
        self.family = ""


_look = Look()


def tokens() -> Tokens:
    """The colours of the theme that is on."""
    return _look.tokens


def is_dark() -> bool:
    return _look.tokens.dark


def mode() -> Mode:
    """What was chosen; SYSTEM follows the desktop."""
    return _look.mode


def on_change(function: Callable[[], None]) -> None:
    """Call `function` (a bound method of a QObject ends with it) after every change of theme."""
    _look.changed.connect(function)


def colour(role: str) -> QColor:
    return _look.tokens.colour(role)


def font(px: int = FONT_PX, weight: QFont.Weight = QFont.Weight.Normal) -> QFont:
    """The interface font with figures of one width."""
    made = QFont(_look.family) if _look.family else QFont()
    made.setPixelSize(px)
    made.setWeight(weight)
    made.setFeature(QFont.Tag("tnum"), 1)
    return made


def apply(app: QApplication, chosen: Mode | str = Mode.SYSTEM) -> None:
    """Dress the application. May be called again at any time, for example by the light/dark switch."""
    if not _look.family:
        _look.family = _load_fonts()
        app.styleHints().colorSchemeChanged.connect(lambda _scheme: _follow(app))
    if app.style().objectName() != "fusion":
        app.setStyle(QStyleFactory.create("Fusion"))
    _look.mode = Mode(chosen)
    dark = _system_is_dark(app) if _look.mode == Mode.SYSTEM else _look.mode == Mode.DARK
    _look.tokens = DARK if dark else LIGHT
    app.setFont(font())
    app.setPalette(palette(_look.tokens))
    app.setStyleSheet(stylesheet(_look.tokens))
    _look.changed.emit()


def _follow(app: QApplication) -> None:
    if _look.mode == Mode.SYSTEM:
        apply(app, Mode.SYSTEM)


def _system_is_dark(app: QApplication) -> bool:
    return app.styleHints().colorScheme() == Qt.ColorScheme.Dark


def _load_fonts() -> str:
    """Register the bundled Inter; the system's own font where that does not work."""
    for item in sorted(files("resources").joinpath("fonts").iterdir(), key=lambda item: item.name):
        if item.name.endswith(".otf"):
            QFontDatabase.addApplicationFontFromData(item.read_bytes())
    return (
        "Inter"
        if "Inter" in QFontDatabase.families()
        else QFontDatabase.systemFont(QFontDatabase.SystemFont.GeneralFont).family()
    )


def palette(tokens: Tokens) -> QPalette:
    """The tokens as Qt's own roles, disabled ones muted."""
    role = QPalette.ColorRole
    made = QPalette()
    for key, name in {
        role.Window: "background",
        role.WindowText: "text",
        role.Base: "pane",
        role.AlternateBase: "pane2",
        role.Text: "text",
        role.Button: "pane",
        role.ButtonText: "text",
        role.BrightText: "bad",
        role.ToolTipBase: "pane",
        role.ToolTipText: "text",
        role.PlaceholderText: "muted",
        role.Highlight: "accent_bg",
        role.HighlightedText: "text",
        role.Link: "link",
        role.LinkVisited: "link",
        role.Light: "pane",
        role.Midlight: "pane2",
        role.Mid: "line",
        role.Dark: "line",
        role.Shadow: "line",
    }.items():
        made.setColor(key, tokens.colour(name))
    if hasattr(role, "Accent"):
        made.setColor(role.Accent, tokens.colour("accent"))
    for key in (role.WindowText, role.Text, role.ButtonText, role.HighlightedText):
        made.setColor(QPalette.ColorGroup.Disabled, key, tokens.colour("muted"))
    return made


def stylesheet(t: Tokens) -> str:
    """The one style sheet of the application."""
    return f"""
QToolTip {{ background: {t.pane}; color: {t.text}; border: 1px solid {t.line}; padding: 6px 8px; }}
QPushButton {{ background: {t.pane}; color: {t.text}; border: 1px solid {t.line}; border-radius: 7px;
    padding: 5px 12px; font-weight: 500; }}
QPushButton:hover {{ background: {t.pane2}; }}
QPushButton:pressed, QPushButton:checked {{ background: {t.accent_bg}; }}
QPushButton:disabled {{ color: {t.muted}; background: {t.background}; }}
QPushButton:focus {{ border-color: {t.accent}; }}
QPushButton:default {{ background: {t.accent}; border-color: {t.accent}; color: {t.on_accent}; }}
QPushButton:default:focus {{ border: 2px solid {t.text}; padding: 4px 11px; }}
QPushButton:default:disabled {{ background: {t.pane2}; border-color: {t.line}; color: {t.muted}; }}
QPushButton::menu-indicator {{ image: none; width: 0; }}
QToolButton {{ background: transparent; border: 1px solid transparent; border-radius: 6px; padding: 3px; }}
QToolButton:hover {{ background: {t.pane2}; }}
QToolButton:pressed, QToolButton:checked {{ background: {t.accent_bg}; }}
QToolButton:focus {{ border-color: {t.accent}; }}
QToolButton::menu-indicator {{ image: none; width: 0; }}
QLineEdit, QPlainTextEdit, QTextEdit, QSpinBox, QDoubleSpinBox, QComboBox {{ background: {t.pane}; color: {t.text};
    border: 1px solid {t.line}; border-radius: 7px; padding: 4px 8px; selection-background-color: {t.accent_bg};
    selection-color: {t.text}; }}
QLineEdit:focus, QPlainTextEdit:focus, QTextEdit:focus, QSpinBox:focus, QComboBox:focus {{ border-color: {t.accent}; }}
QLineEdit:disabled, QComboBox:disabled, QSpinBox:disabled {{ color: {t.muted}; background: {t.background}; }}
QSpinBox QLineEdit, QDoubleSpinBox QLineEdit {{ border: none; padding: 0 6px; background: transparent; }}
QSpinBox::up-button, QSpinBox::down-button {{ width: 0; border: none; }}
QComboBox::drop-down {{ border: none; width: 20px; }}
QMenu {{ background: {t.pane}; color: {t.text}; border: 1px solid {t.line}; padding: 4px; }}
QMenu::item {{ padding: 5px 22px 5px 10px; border-radius: 5px; }}
QMenu::item:selected {{ background: {t.accent_bg}; }}
QMenu::item:disabled {{ color: {t.muted}; }}
QMenu::icon {{ padding-left: 8px; }}
QMenu::separator {{ height: 1px; background: {t.line}; margin: 4px 6px; }}
QAbstractItemView {{ background: {t.pane}; color: {t.text}; border: none; outline: none;
    selection-background-color: {t.accent_bg}; selection-color: {t.text}; }}
QListView::item {{ padding: 4px 8px; }}
#offers {{ border: 1px solid {t.line}; padding: 3px; }}
QHeaderView::section {{ background: {t.pane}; color: {t.muted}; border: none; border-bottom: 1px solid {t.line};
    padding: 4px 8px; }}
QScrollBar:vertical {{ background: transparent; width: 10px; margin: 0; }}
QScrollBar:horizontal {{ background: transparent; height: 10px; margin: 0; }}
QScrollBar::handle {{ background: {t.line}; border-radius: 3px; margin: 2px; }}
QScrollBar::handle:vertical {{ min-height: 28px; }}
QScrollBar::handle:horizontal {{ min-width: 28px; }}
QScrollBar::handle:hover {{ background: {t.muted}; }}
QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}
QSplitter::handle {{ background: {t.line}; }}
QSplitter::handle:horizontal {{ width: 1px; }}
QSplitter::handle:vertical {{ height: 1px; }}
QProgressBar {{ background: {t.pane2}; border: none; border-radius: 4px; text-align: center; color: {t.text}; }}
QProgressBar::chunk {{ background: {t.accent_bg}; border-radius: 4px; }}
QAbstractScrollArea::corner {{ background: transparent; border: none; }}
QTableView::item {{ padding: 0 5px; }}
QCheckBox, QRadioButton {{ spacing: 8px; }}
"""
