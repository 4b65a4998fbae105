"""One console of one VM with all that belongs to it: bar, picture or terminal, notice, settings, state line.

It lives in a tab, in a tile or in a window of its own, and is carried from one to the other with its session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QKeySequence, QShortcut, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from app.consoles import Console, ConsoleKind, LineSession, ScreenSession, SessionEvent, SessionState, What
from app.consoles.trust import FIELD
from backends.errors import AuthNeeded, BackendError
from backends.model import Ref
from widgets.consoles.bar import Bar, toggle
from widgets.consoles.keys import CHORDS, Chord
from widgets.consoles.kinds import OUTSIDE, SYMBOLS, best
from widgets.consoles.menus import keys_menu, more_menu, popup_which
from widgets.consoles.scaling import Scale
from widgets.consoles.screen import ScreenView
from widgets.consoles.settings import Settings, Side, settings_from
from widgets.consoles.stage import Stage
from widgets.consoles.told import show_notice, show_unproven
from widgets.consoles.tools import Screenshots, Typing
from widgets.consoles.words import facts_of, is_kept, state_of
from widgets.parts import Elided, label, set_symbol

if TYPE_CHECKING:
    from widgets.consoles.terminal import TerminalView
    from widgets.frame import Frame


def setting_of(uid: str) -> str:
    """Where the store keeps the settings of a VM's consoles."""
    return f"console:{uid}"


class Panel(QWidget):
    """A console. It is opened when it is first shown, and closed by `close_down`."""

    wanted = Signal(str)
    """What whoever holds the panel is to do: full, window, beside, close, left."""
    changed = Signal()

    def __init__(self, window: Frame, uid: str, console: Console | None = None) -> None:
        super().__init__(window)
        self.window_, self.services, self.uid = window, window.services, uid
        self.offers: Sequence[Console] = ()
        self.console = console
        self.session: ScreenSession | LineSession | None = None
        self.settings = Settings()
        self.by_ssh = False
        """Whether it shows, or is about to show, a shell by SSH instead of one of the platform's consoles."""
        self._begun = False
        self._chosen = False
        """Whether somebody chose what is shown, sooner than it was known what there is."""
        self._opening = asyncio.Lock()
        self.eager = False
        """Whether it takes the keyboard as soon as there is something to type into: it was asked for just now."""
        self._stop: Callable[[], None] = lambda: None
        self.bar = Bar(self, lambda: more_menu(self))
        self.stage = Stage(self)
        self.stage.notice.provided.connect(self._provide)
        self.side = Side(self)
        self.side.hide()
        self.side.chosen.connect(self.choose)
        self.side.grabs.connect(self._set_grabs)
        self.typing = Typing(self)
        self.shots = Screenshots(self)
        self._again = QTimer(self, singleShot=True)
        self._again.timeout.connect(self._show_facts)
        self._build()
        full = QShortcut(QKeySequence("F11"), self)
        full.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        full.activated.connect(lambda: self.wanted.emit("full"))
        self._show_status()

    # What others ask of it

    @property
    def ref(self) -> Ref | None:
        """Where the VM is now."""
        return self.services.identity.ref_of(self.uid)

    @property
    def name(self) -> str:
        vm = self.services.inventory.vm(self.ref) if self.ref is not None else None
        return vm.name if vm is not None else self.uid

    @property
    def screen_view(self) -> ScreenView | None:
        return self.stage.view if isinstance(self.stage.view, ScreenView) else None

    @property
    def terminal_view(self) -> TerminalView | None:
        return None if self.stage.view is None or self.screen_view is not None else self.stage.view  # type: ignore[return-value]

    @property
    def screen_session(self) -> ScreenSession | None:
        return self.session if isinstance(self.session, ScreenSession) else None

    def take_keyboard(self) -> None:
        if self.stage.view is not None and not self.stage.notice.asks:
            self.stage.view.setFocus(Qt.FocusReason.OtherFocusReason)

    def choose(self, settings: Settings) -> None:
        """Show it so from now on, and remember that for the VM."""
        self.settings = settings
        self._apply()
        self.window_.background.run(
            self.services.store.set_setting(setting_of(self.uid), settings.plain()), "console settings"
        )

    def open_outside(self) -> None:
        """Open the external viewer."""
        if self.console is not None:
            self.choose_console(self.console)

    def choose_console(self, console: Console) -> None:
        """Show another console of the VM here, or open the external viewer."""
        ref = self.ref
        if console.kind in OUTSIDE and ref is not None:
            self.window_.background.run(self._open_viewer(ref, console), f"viewer for {self.name}")
            return
        self.console, self.by_ssh, self.eager, self._chosen = console, False, True, True
        self.window_.background.run(self._open(), f"console of {self.name}")

    async def _open_viewer(self, ref: Ref, console: Console, *, unproven: bool = False) -> None:
        try:
            await self.services.consoles.viewer(ref, console, unproven=unproven)
        except AuthNeeded as error:
            if error.field != FIELD:
                raise
            what = f"viewer for {self.name}"
            again = lambda: self.window_.background.run(self._open_viewer(ref, console, unproven=True), what)  # noqa: E731
            show_unproven(self, error.message, error.cure, (ref.connection, error.object_name), again)
        else:
            self._show_status()

    def choose_ssh(self) -> None:
        """Ask who logs in; then a shell by SSH is shown here."""
        self.console, self.by_ssh, self.eager, self._chosen = None, True, True, True
        if (session := self._let_go()) is not None:
            self.window_.background.run(session.close(), f"hanging up {self.name}")
        self.stage.notice.user.setText(self.settings.user)
        self._show_status()

    def show_held(self, *, window: bool, tiled: bool) -> None:
        """What holds the panel: a window of its own, or a tab, with other tiles or without."""
        words = "Back to its tab" if window else "Move to a window"
        toggle(self._window, "panel-right" if window else "app-window", words)
        self.bar.offer(self._beside, not window)
        self.bar.offer(self._close, tiled)

    def show_full(self, on: bool) -> None:
        """On a full screen there is the picture and nothing else."""
        self.stage.show_full(on)
        for part in (self.bar, self.line):
            part.setVisible(not on)
        if on and self.side.isVisible():
            self.toggle_side()

    def refresh(self) -> None:
        """The VM, its name or its place changed."""
        self._show_status()

    def close_down(self) -> None:
        """Hang up. The panel may be deleted at once."""
        session = self._let_go()
        if session is not None:
            self.window_.background.run(session.close(), f"hanging up {self.name}")

    def _let_go(self) -> ScreenSession | LineSession | None:
        """Show nothing any more; the session that was shown is to be closed."""
        self._stop()
        self._stop = lambda: None
        self.typing.stop()
        view = self.stage.view
        if isinstance(view, ScreenView):
            view.attach(None)
        elif self.terminal_view is not None:
            self.terminal_view.attach(None)
        self.stage.show_view(None)
        session, self.session = self.session, None
        return session

    # Opening

    def showEvent(self, event: QShowEvent) -> None:
        self._show_facts()
        if not self._begun:
            self._begun = True
            self.window_.background.run(self._begin(), f"console of {self.name}")

    async def _begin(self) -> None:
        self.settings = settings_from(await self.services.store.setting(setting_of(self.uid)))
        await self._ask_offers()
        if not self._chosen:
            self.console = self.console or best(self.offers)
            await self._open()
        else:
            self._apply()

    async def _ask_offers(self) -> None:
        """What there is. While its site is away that is not known; a session waits for it."""
        ref = self.ref
        try:
            self.offers = await self.services.consoles.offers(ref) if ref is not None else ()
        except (BackendError, TimeoutError):
            return
        if self.session is not None and self.session.state == SessionState.FAILED:
            self._show_status()

    async def _open(self) -> None:
        """Open what is wanted now, one after the other."""
        async with self._opening:
            await self._open_wanted()

    async def _open_wanted(self) -> None:
        ref, console = self.ref, self.console
        if (before := self._let_go()) is not None:
            await before.close()
        if ref is None:
            return
        if console is not None and console.kind in OUTSIDE:
            self._show_status()
            return
        if self.by_ssh:
            self.session = self._show_line(self.services.consoles.shell(ref, user=self.settings.user))
        elif console is None or console.kind == ConsoleKind.VNC:
            view = ScreenView()
            screen = self.services.consoles.screen(ref, console=console)
            self.session = screen
            view.setAccessibleName(f"Screen of {self.name}")
            self.stage.show_view(view)
            view.attach(screen)
            view.changed.connect(self._show_facts)
            view.left.connect(self._leave)
            view.full_screen_wanted.connect(lambda: self.wanted.emit("full"))
            view.rang.connect(self._ring)
        else:
            self.session = self._show_line(self.services.consoles.line(ref, console))
        self._apply()
        self._stop = self.session.subscribe(self._on_event)
        await self.session.open()
        self._show_status()
        if self.eager:
            self.take_keyboard()

    def _show_line(self, line: LineSession) -> LineSession:
        from widgets.consoles.terminal import TerminalView

        view = TerminalView()
        self.stage.show_view(view)
        view.attach(line)
        view.rang.connect(self._ring)
        view.resized.connect(lambda _columns, _rows: self._show_facts())
        return line

    # News

    def _on_event(self, event: SessionEvent) -> None:
        if event.what in (What.STATUS, What.RESIZED, What.NAME):
            self._show_status()
        state = self.session.state if self.session is not None else None
        if event.what == What.STATUS and state in (SessionState.LIVE, SessionState.GONE, SessionState.FAILED):
            self.window_.background.run(self._ask_offers(), f"consoles of {self.name}")

    def _ring(self) -> None:
        if not self.isVisible():
            self.window_.toasts.tell("info", f"{self.name} rings")

    def _show_status(self) -> None:
        session = self.session
        self.bar.say(*state_of(self), self.name)
        self._show_which()
        show_notice(self)
        self._show_facts()
        screen = isinstance(session, ScreenSession)
        for made in (self._keys, self._type, self._shot, self._fit, self._settings):
            self.bar.offer(made, screen)
        self.bar.offer(self._ask, is_kept(self))
        if self.side.isVisible() and session is not None and not screen:
            self.toggle_side()
        self.changed.emit()

    def _show_which(self) -> None:
        console = self.session.console if self.session is not None and is_kept(self) else self.console
        other = ("terminal", "SSH") if self.by_ssh else ("monitor", "Screen")
        symbol, text = (SYMBOLS[console.kind], console.label) if console is not None else other
        set_symbol(self.bar.which, symbol, "muted")
        self.bar.which.setText(f" {text}")

    def _show_facts(self) -> None:
        """The line below, and the facts in the side panel."""
        view = self.screen_view
        words, again_ms = facts_of(self)
        if again_ms and self.isVisible():
            self._again.start(again_ms)
        self._facts.setText("  ·  ".join(words))
        self._hint.setVisible(view is not None and view.hasFocus() and view.takes_input)
        if view is not None:
            can = self.screen_session is not None and self.screen_session.can_resize
            self.side.show_settings(self.settings, grabs=view.grabs, can_resize=can)
        self.side.facts.show_rows([(word,) for word in words], "not connected")

    # What people do with it

    def _apply(self) -> None:
        view = self.screen_view
        if view is not None:
            view.view_only = self.settings.view_only
            view.clipboard.set_on(self.settings.clipboard)
            if view.scale != self.settings.scale:
                view.set_scale(self.settings.scale)
            if self.settings.view_only:
                view.let_go()
        elif self.terminal_view is not None and self.session is not None:
            self.terminal_view.read_only = self.session.read_only
        fitted = self.settings.scale != Scale.REAL
        toggle(self._fit, "scaling", "Real size, 1:1" if fitted else "Fit the window", on=not fitted)
        self._show_facts()

    def _set_grabs(self, on: bool) -> None:
        if self.screen_view is not None:
            self.screen_view.set_grabs(on)

    def _provide(self, user: str, password: str) -> None:
        if self.by_ssh:
            self.choose(replace(self.settings, user=user))
        if self.session is not None:
            self.session.provide(password, user)
            self.stage.notice.say("Signing in")
            self.take_keyboard()
        elif self.by_ssh:
            self.window_.background.run(self._open(), f"SSH to {self.name}")

    def _leave(self) -> None:
        """The keyboard goes to the buttons of this console; on a full screen to those at its edge."""
        if self.bar.isHidden():
            self.wanted.emit("left")
        else:
            self.bar.which.setFocus(Qt.FocusReason.ShortcutFocusReason)

    def toggle_side(self) -> None:
        self.side.setVisible(not self.side.isVisible())
        toggle(self._settings, "sliders-horizontal", "Settings of this console", on=self.side.isVisible())

    def ask_again(self) -> None:
        """Ask the platform for what it kept of the output since."""
        if isinstance(self.session, LineSession):
            self.session.refresh()

    def toggle_scale(self) -> None:
        self.choose(replace(self.settings, scale=Scale.FIT if self.settings.scale == Scale.REAL else Scale.REAL))

    def toggle_view_only(self) -> None:
        self.choose(replace(self.settings, view_only=not self.settings.view_only))

    def play_named(self, name: str) -> None:
        """Press keys by the name that the menu has for them."""
        self.play(next(chord for chord in CHORDS if chord.name == name))

    def play(self, chord: Chord) -> None:
        if self.screen_view is not None:
            self.screen_view.play(chord)

    # Inside

    def _build(self) -> None:
        bar = self.bar
        self._ask = bar.add("refresh-cw", "Ask for the output again", self.ask_again)
        self._keys = bar.add("keyboard", "Send keys", lambda: bar.popup(keys_menu(self), self._keys))
        self._full = bar.add("maximize", "Full screen (F11)", lambda: self.wanted.emit("full"))
        self._settings = bar.add("sliders-horizontal", "Settings of this console", self.toggle_side)
        self._shot = bar.add("camera", "Screenshot", lambda: bar.popup(self.shots.menu(), self._shot))
        self._type = bar.add("clipboard-type", "Type the clipboard as keys", self.typing.begin)
        self._window = bar.add("app-window", "Move to a window", lambda: self.wanted.emit("window"))
        self._beside = bar.add("columns-2", "Another console beside it", lambda: self.wanted.emit("beside"))
        self._fit = bar.add("scaling", "Real size, 1:1", self.toggle_scale)
        self._close = bar.add("x", "Close this tile", lambda: self.wanted.emit("close"))
        bar.offer(self._close, False)
        bar.which.clicked.connect(lambda: popup_which(self))
        line = QWidget(self)
        line.setObjectName("consoleLine")
        line.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        row = QHBoxLayout(line)
        row.setContentsMargins(12, 0, 12, 0)
        row.setSpacing(12)
        self._facts = Elided("", "small", line)
        self._hint = label("Ctrl+Alt frees the keyboard", "small", line)
        row.addWidget(self._facts, 1)
        row.addWidget(self._hint)
        line.setFixedHeight(24)
        middle = QHBoxLayout()
        middle.setSpacing(0)
        middle.addWidget(self.stage, 1)
        middle.addWidget(self.side)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(bar)
        column.addLayout(middle, 1)
        column.addWidget(self.typing)
        column.addWidget(line)
        self.line = line
