"""What a console remembers for its VM, and the side panel where it is set: the picture stays in sight beside it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QRadioButton, QVBoxLayout, QWidget

from widgets.consoles.layouts import LAYOUTS
from widgets.consoles.scaling import Scale
from widgets.parts import Check, Combo, Facts, label, scrolled

WIDTH = 250
SCALES = {
    Scale.FIT: ("Fit the window", "The picture is scaled; where it is almost 1:1 it is exactly that"),
    Scale.REAL: ("Real size, 1:1", "Each pixel of the guest is one of the display; scrolls where it is larger"),
    Scale.GUEST: ("Resize the guest", "The guest's screen follows the size of this view"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the consoles of one VM are shown."""

    scale: Scale = Scale.FIT
    view_only: bool = False
    clipboard: bool = True
    layout: str = "us"
    user: str = ""
    """Whom SSH to the guest logs in as."""

    def plain(self) -> dict[str, object]:
        return {name: str(value) if name == "scale" else value for name, value in asdict(self).items()}


def settings_from(stored: object) -> Settings:
    """What `plain` gave; whatever does not fit any more is left out."""
    made = Settings()
    if not isinstance(stored, dict):
        return made
    if stored.get("scale") in set(Scale):
        made = replace(made, scale=Scale(stored["scale"]))
    if stored.get("layout") in LAYOUTS:
        made = replace(made, layout=stored["layout"])
    if isinstance(stored.get("user"), str):
        made = replace(made, user=stored["user"])
    flags = {name: stored[name] for name in ("view_only", "clipboard") if isinstance(stored.get(name), bool)}
    return replace(made, **flags)


class Side(QWidget):
    """The side panel. It shows what is set, and tells what is chosen."""

    chosen = Signal(object)
    """The new Settings."""
    grabs = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFixedWidth(WIDTH)
        self.setObjectName("consoleSide")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setAccessibleName("Settings of this console")
        self._settings = Settings()
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(14, 12, 14, 14)
        column.setSpacing(8)
        column.addWidget(label("PICTURE", "cardTitle"))
        group = QButtonGroup(self)
        self.scales: dict[Scale, QRadioButton] = {}
        for scale, (text, tip) in SCALES.items():
            made = QRadioButton(text)
            made.setToolTip(tip)
            made.clicked.connect(lambda _=False, scale=scale: self._choose(scale=scale))
            group.addButton(made)
            column.addWidget(made)
            self.scales[scale] = made
        self.view_only = self._check("View only", "Neither keys nor mouse reach the guest", column)
        self.view_only.clicked.connect(lambda on: self._choose(view_only=on))
        column.addSpacing(8)
        column.addWidget(label("KEYBOARD AND CLIPBOARD", "cardTitle"))
        self.grab = self._check("The desktop's keys too", "Alt+Tab, Super and the like go to the guest", column)
        self.grab.clicked.connect(self.grabs)
        self.clipboard = self._check(
            "Share the clipboard", "Text both ways, while this console has the keyboard", column
        )
        self.clipboard.clicked.connect(lambda on: self._choose(clipboard=on))
        words = label("The guest's keyboard, for text that is typed as keys", "small")
        words.setWordWrap(True)
        column.addWidget(words)
        self.layout_ = Combo("The guest's keyboard")
        self.layout_.setMinimumContentsLength(8)
        self.layout_.fill([(layout.name, key) for key, layout in LAYOUTS.items()], "us")
        self.layout_.activated.connect(lambda _: self._choose(layout=self.layout_.chosen()))
        column.addWidget(self.layout_)
        column.addSpacing(8)
        column.addWidget(label("CONNECTION", "cardTitle"))
        self.facts = Facts()
        column.addWidget(self.facts)
        column.addStretch(1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(1, 0, 0, 0)
        outer.addWidget(scrolled(inner))

    def show_settings(self, settings: Settings, *, grabs: bool, can_resize: bool) -> None:
        self._settings = settings
        self.scales[settings.scale].setChecked(True)
        guest = self.scales[Scale.GUEST]
        guest.setToolTip(SCALES[Scale.GUEST][1] if can_resize else "This server or guest cannot change its size")
        self.view_only.setChecked(settings.view_only)
        self.clipboard.setChecked(settings.clipboard)
        self.grab.setChecked(grabs)
        self.layout_.choose(settings.layout)

    def _check(self, text: str, tip: str, column: QVBoxLayout) -> Check:
        made = Check(text)
        made.setToolTip(tip)
        column.addWidget(made)
        return made

    def _choose(self, **changes: object) -> None:
        self.chosen.emit(replace(self._settings, **changes))  # type: ignore[arg-type]
