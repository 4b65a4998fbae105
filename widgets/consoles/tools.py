"""What can be done with a guest's screen besides looking and typing: the clipboard as keys, and screenshots."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from PySide6.QtCore import QObject, QStandardPaths, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QMenu, QProgressBar, QWidget

from backends.model import Level, Ref
from widgets import format as fmt
from widgets.consoles.layouts import LAYOUTS
from widgets.consoles.layouts import Chord as Keys
from widgets.consoles.typist import MOST, plan, type_out
from widgets.icons import icon
from widgets.parts import Elided, button, set_words

if TYPE_CHECKING:
    from app.consoles import ScreenSession
    from widgets.consoles.screen import ScreenView
    from widgets.consoles.settings import Settings
    from widgets.frame import Frame

NAMED = 12
"""So many characters that cannot be typed are named."""


class Held(Protocol):
    """The console whose guest it is. It is a widget, too: what is asked stands over it."""

    window_: Frame
    settings: Settings

    @property
    def ref(self) -> Ref | None: ...

    @property
    def name(self) -> str: ...

    @property
    def screen_view(self) -> ScreenView | None: ...

    @property
    def screen_session(self) -> ScreenSession | None: ...

    def take_keyboard(self) -> None: ...


class Typing(QWidget):
    """One line that says what is typed, how far it is, and stops it."""

    def __init__(self, panel: Held) -> None:
        super().__init__(panel)
        self._panel = panel
        self._work: asyncio.Task[None] | None = None
        self._planned: list[tuple[Keys, ...]] = []
        self.setObjectName("consoleBar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 4, 8, 4)
        row.setSpacing(10)
        self.words = Elided("", "", self)
        self._meter = QProgressBar(self)
        self._meter.setObjectName("meter")
        self._meter.setFixedSize(120, 8)
        self._meter.setTextVisible(False)
        self._meter.setAccessibleName("Typed so far")
        self.go = button("Type the rest", self._start)
        self.cancel = button("Cancel", self.stop)
        for made in (self.go, self.cancel):
            made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        row.addWidget(self.words, 1)
        row.addWidget(self._meter)
        row.addWidget(self.go)
        row.addWidget(self.cancel)
        self.hide()

    def begin(self) -> None:
        """Type what the clipboard holds; where it is several lines, or some of it cannot be typed, say so first."""
        self.stop()
        text = QGuiApplication.clipboard().text()
        view, tell = self._panel.screen_view, self._panel.window_.toasts.tell
        if not text:
            tell("info", "The clipboard holds no text")
        elif len(text) > MOST:
            cure = f"{fmt.count(MOST)} characters can be typed at once: copy it over the network"
            tell("amber", f"The clipboard holds {fmt.counted(len(text), 'character')}", cure)
        elif view is None or not view.takes_input:
            tell("info", "Nothing can be typed into this console now")
        else:
            session, layout = self._panel.screen_session, LAYOUTS[self._panel.settings.layout]
            by_place = session is not None and session.takes_scancodes
            self._planned, cannot = plan(text, layout if by_place else None)
            lines = len(text.splitlines())
            if cannot or lines > 1:
                enters = "after each" if text.endswith(("\n", "\r")) else "between them"
                several = f"{fmt.counted(lines, 'line')}, with Enter {enters}" if lines > 1 else ""
                named = " ".join(cannot[:NAMED]) + (" …" if len(cannot) > NAMED else "")
                unknown = f"No key on the guest's keyboard ({layout.name}) makes: {named}" if cannot else ""
                self._ask(". ".join(filter(None, (several, unknown))), "Type the rest" if cannot else "Type them")
            else:
                self._start()

    def stop(self) -> None:
        """Stop typing, between two characters."""
        if self._work is not None:
            self._work.cancel()
            self._work = None
        self.hide()

    def _ask(self, words: str, go: str) -> None:
        self.words.setText(words)
        set_words(self.go, go)
        self._meter.hide()
        self.go.setVisible(bool(self._planned))
        self.show()

    def _start(self) -> None:
        self.go.hide()
        self._meter.setRange(0, len(self._planned))
        self._meter.show()
        self._said(0)
        self.show()
        self._panel.take_keyboard()
        self._work = self._panel.window_.background.run(self._type(), f"typing into {self._panel.name}")

    async def _type(self) -> None:
        session, planned = self._panel.screen_session, self._planned
        typed = await type_out(session, planned, self._said) if session is not None else 0
        self._work = None
        self.hide()
        if typed < len(planned):
            text = f"Typed {fmt.count(typed)} of {fmt.counted(len(planned), 'character')}: the console went away"
            self._panel.window_.complain(text, level=Level.AMBER, ref=self._panel.ref)

    def _said(self, number: int) -> None:
        self._meter.setValue(number)
        self.words.setText(f"Typing {fmt.count(number)} of {fmt.counted(len(self._planned), 'character')}")


class Screenshots(QObject):
    """The guest's whole screen in its own pixels, into a file or onto the clipboard."""

    def __init__(self, panel: Held) -> None:
        super().__init__(panel)
        self._panel = panel

    def menu(self) -> QMenu:
        menu = QMenu("Screenshot", self._panel)
        menu.addAction(icon("image-down", "muted"), "Save as a file…", self.ask)
        menu.addAction(icon("clipboard-copy", "muted"), "Copy to the clipboard", self.copy)
        view = self._panel.screen_view
        menu.setEnabled(view is not None and not view.guest_size().isEmpty())
        return menu

    def copy(self) -> None:
        view = self._panel.screen_view
        if view is not None:
            QGuiApplication.clipboard().setImage(view.picture())
            self._panel.window_.toasts.tell("info", f"The screen of {self._panel.name} is on the clipboard")

    def ask(self) -> None:
        """Ask where to; the picture is the one of this moment."""
        view = self._panel.screen_view
        if view is None:
            return
        picture = view.picture()
        places = QStandardPaths.standardLocations(QStandardPaths.StandardLocation.PicturesLocation)
        name = "".join(char if char.isalnum() or char in "-_." else "_" for char in self._panel.name)
        dialog = QFileDialog(self._panel.window(), "Save the screenshot", places[0] if places else "", "PNG (*.png)")
        dialog.setOption(QFileDialog.Option.DontUseNativeDialog)
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix("png")
        dialog.selectFile(f"{name} {datetime.now():%Y-%m-%d %H.%M.%S}.png")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(lambda path: self._save(picture, Path(path)))
        dialog.open()

    def _save(self, picture: object, path: Path) -> None:
        async def save() -> None:
            ok = await asyncio.to_thread(picture.save, str(path))  # type: ignore[attr-defined]
            if ok:
                self._panel.window_.toasts.tell("info", f"Saved {path.name}", str(path.parent))
            else:
                self._panel.window_.complain(f"{path} cannot be written", "choose another folder", Level.AMBER)

        self._panel.window_.background.run(save(), f"screenshot of {self._panel.name}")
