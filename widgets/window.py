"""The main window: search above, tree at the left, tabs at the right, tasks below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QByteArray, QPoint, Qt, QTimer
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import QApplication, QDialog, QMainWindow, QVBoxLayout, QWidget

from backends.errors import BackendError
from backends.model import Kind, Level, Ref
from widgets import theme
from widgets.background import Background, words
from widgets.bars import LagMeter, StatusBar, TopBar
from widgets.commands import Command, table
from widgets.dock import Dock
from widgets.eventlog import Line
from widgets.icons import icon
from widgets.keys import bind
from widgets.menu import ObjectMenu
from widgets.news import News
from widgets.overview import OverviewPage
from widgets.palette import Palette
from widgets.panes import Panes
from widgets.parts import fit
from widgets.searchbox import SearchBox
from widgets.sheet import sheet
from widgets.tab import Tab
from widgets.tabs import Tabs
from widgets.tally import Tally
from widgets.toast import Toasts
from widgets.tree import Tree
from widgets.verbs import Verbs

if TYPE_CHECKING:
    from app.services import Services
    from widgets.consoles.desk import Desk
    from widgets.consoles.panel import Panel

PREVIEW_MS = 120
WATCH_MS = 1000
SAVE_MS = 1500
ELSEWHERE = ("view.search",)
"""The search field listens for its own shortcut."""
STATE = "window"
"""The setting that holds the window's state."""


class Window(QMainWindow):
    """Puts the parts together and hands news to them, gathered for a moment. It decides nothing."""

    def __init__(self, services: Services) -> None:
        super().__init__()
        self.services = services
        self.setWindowTitle("Causeway")
        self.setWindowIcon(icon("waypoints", "accent"))
        fit(self, 1440, 900)
        self.setMinimumSize(760, 480)
        self.toasts = Toasts(self, self._floor)
        self.background = Background(lambda text, cure: self.complain(text, cure))
        self.verbs = Verbs(services, self)
        self.tally = Tally(services.inventory)
        self.lag = LagMeter()
        self.menu = ObjectMenu(self)
        self._leave = False
        self.quit: Callable[[], None] = lambda: None
        """What ends the program; whoever runs the loop sets it."""
        self._build()
        self.commands: dict[str, Command] = {command.id: command for command in table(self)}
        self._shortcuts()
        self._timers()
        self.news = News(self)
        self._restyle()
        theme.on_change(self._restyle)
        self.background.run(self.lag.run(), "lag meter")

    @cached_property
    def consoles(self) -> Desk:
        """All open consoles. What they need is imported with the first one."""
        from widgets.consoles.desk import Desk

        return Desk(self)

    # What others ask of the window

    def selection(self) -> list[Ref]:
        """What commands act on: the menu's objects, the tab's where it has the keyboard, else the tree's."""
        if self.menu.refs is not None:
            return self.menu.refs
        page = self.tabs.page()
        focus = QApplication.focusWidget()
        chosen = self.tree.selected()
        if page.key != "overview" and (not chosen or (focus is not None and page.isAncestorOf(focus))):
            return [page.ref]
        return chosen

    def open_ref(self, ref: Ref) -> None:
        """Open an object in a tab that stays."""
        self.tabs.open(ref, stay=True)

    def open_selected(self) -> None:
        for ref in self.selection()[:8]:
            self.open_ref(ref)

    def popup_menu(self, at: QPoint, refs: Sequence[Ref]) -> None:
        """The menu of these objects at a point of the screen."""
        self.menu.popup(at, refs)

    def hold_preview(self) -> None:
        """What was opened just now stays in front: a selection a moment ago brings up nothing more."""
        self._preview_timer.stop()

    def shown_console(self) -> Panel | None:
        """The console of the tab in front, the one with the keyboard where there are several."""
        return self.consoles.shown() if "consoles" in self.__dict__ else None

    def show_consoles(self, refs: Sequence[Ref]) -> None:
        """One console in its tab; several side by side."""
        if len(refs) == 1:
            self.consoles.open(refs[0])
        else:
            self.consoles.open_beside_each_other(list(refs))

    def show_wall(self, refs: Sequence[Ref]) -> None:
        """Thumbnails of these screens; of none: of what is searched for."""
        self.consoles.wall(refs)

    def restore_console(self, key: str) -> bool:
        """Open a console, a window or a wall that was kept; what consoles need is imported with the first."""
        return self.consoles.restore(key)

    def plan_move(self, refs: Sequence[Ref], to: Ref | None, copy: bool) -> None:
        """Show the plan of a move; without a target it asks for one."""
        from widgets.plan import PlanDialog

        PlanDialog(self, refs, to, copy=copy).show()

    def show_connect(
        self, section: str = "", kind: str = "", name: str = "", settings: dict[str, str] | None = None
    ) -> None:
        from widgets.connect import ConnectDialog

        ConnectDialog(self, section=section, kind=kind, name=name, settings=settings or {}).show()

    def sign_in(self, name: str) -> None:
        """Ask for a site's secrets anew."""
        from widgets.signin import SignIn

        SignIn(self, name).show()

    def forget_site(self, name: str) -> None:
        """Drop a connection, and offer to take it back."""
        site = self.services.connections.get(name)
        if site is None:
            return

        async def forget() -> None:
            await self.services.connections.forget(name)
            again = lambda: self.show_connect(kind=site.kind, name=site.name, settings=dict(site.settings))  # noqa: E731
            self.toasts.tell("info", f"{name} is forgotten", "nothing was changed there", ("Add it again…", again))

        for number in reversed(range(self.tabs.count())):
            page = self.tabs.widget(number)
            if isinstance(page, Tab) and page.ref.connection == name:
                self.tabs.close_page(number)
        self.background.run(forget(), f"forget {name}")

    def attempt(self, begin: Callable[[], object]) -> None:
        """Run what starts a task; a refusal becomes a message."""
        try:
            begin()
        except BackendError as error:
            self.complain(*words("not started", error))

    def complain(self, text: str, cure: str = "", level: Level = Level.RED, ref: Ref | None = None) -> None:
        """A passive message, kept in the event log."""
        self.services.events.add(f"{text} ({cure})" if cure else text, level=level, ref=ref)
        self.toasts.tell(level.value, text, cure)

    def events_about(self, ref: Ref) -> list[Line]:
        return self.dock.events.about(ref)

    def alert_lines(self) -> list[Line]:
        return self.dock.alerts.lines()

    # What the commands of the view do

    def focus_search(self) -> None:
        self.search.setFocus(Qt.FocusReason.ShortcutFocusReason)

    def focus_tree(self) -> None:
        """F6 goes round: tree, tab, lower pane."""
        self.panes.show_tree()
        stops = [self.tree.view, self.tabs.page(), self.dock.buttons[self.dock.pane]]
        focus = QApplication.focusWidget()
        inside = [stop is focus or (focus is not None and stop.isAncestorOf(focus)) for stop in stops]
        following = stops[(inside.index(True) + 1) % len(stops)] if any(inside) else stops[0]
        if isinstance(following, Tab):
            following.focusNextChild() if following.focusWidget() is None else following.focusWidget().setFocus()
        following.setFocus(Qt.FocusReason.ShortcutFocusReason)

    def refresh(self) -> None:
        self.services.connections.refresh()
        self.toasts.tell("info", "Asking every site again")

    def step_tab(self, by: int) -> None:
        self.tabs.step(by)

    def close_tab(self, index: int) -> None:
        self.tabs.close_page(index)

    def show_overview(self) -> None:
        self.tabs.setCurrentIndex(0)

    def show_dock(self, pane: str, by_hand: bool = True) -> None:
        """Bring up a pane of the lower part; not `by_hand`: it folds up again by itself."""
        self.dock.show()
        self.dock.show_pane(pane)
        self.dock.unfold(by_hand=by_hand)

    def toggle_dock(self) -> None:
        self.dock.setVisible(self.dock.isHidden())

    def toggle_tree(self) -> None:
        self.panes.turn_tree()

    def toggle_theme(self) -> None:
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        theme.apply(app, theme.Mode.LIGHT if theme.is_dark() else theme.Mode.DARK)
        self._save_soon()

    def show_palette(self) -> None:
        Palette(self).show()

    def show_keys(self) -> None:
        from widgets.shortcuts import KeySheet

        KeySheet(self).show()

    def show_welcome(self) -> None:
        from widgets.firstrun import FirstRun

        FirstRun(self).show()

    def close_window(self) -> None:
        self.close()

    # State

    def state(self) -> dict[str, object]:
        return {
            "geometry": bytes(self.saveGeometry().toBase64().data()).decode(),
            **self.panes.state(),
            "tabs": [*(self.consoles.kept() if "consoles" in self.__dict__ else ()), *self.tabs.kept()],
            "tree": self.tree.state(),
            "theme": str(theme.mode()),
        }

    def restore(self, state: object) -> None:
        """Bring back what `state` said; what does not fit any more is left out."""
        if not isinstance(state, dict):
            return
        if isinstance(geometry := state.get("geometry"), str):
            self.restoreGeometry(QByteArray.fromBase64(geometry.encode()))
        self.panes.restore(state)
        if isinstance(tree := state.get("tree"), dict):
            self.tree.restore(tree)
        if isinstance(tabs := state.get("tabs"), list):
            self.tabs.restore([str(key) for key in tabs])
        app = QApplication.instance()
        if state.get("theme") in set(theme.Mode) and isinstance(app, QApplication):
            theme.apply(app, theme.Mode(str(state["theme"])))

    async def load_state(self) -> None:
        """As it was left; on a small screen the tree begins narrower."""
        self.panes.begin(self.width())
        self.restore(await self.services.store.setting(STATE))

    def filled(self) -> None:
        """All that the store knows is there: open what was waiting for it."""
        self.tabs.restore_rest()
        # Not before: a dialog that comes up before its window is left behind it.
        if not self.services.connections.all():
            self.show_welcome()

    async def save_state(self) -> None:
        await self.services.store.set_setting(STATE, self.state())

    async def close_down(self) -> None:
        """Before the services end: save, stop listening, end what runs in the background."""
        for timer in (self._watch_timer, self._preview_timer, self._save_timer):
            timer.stop()
        for dialog in self.findChildren(QDialog):
            dialog.reject()
        await self.save_state()
        self.news.close()
        self.tally.unsubscribe()
        self.dock.close_down()
        if "consoles" in self.__dict__:
            self.consoles.close_down()
        for page in self.tabs.pages():
            page.close_down()
        self.tree.close()
        await self.background.close()

    def closeEvent(self, event: QCloseEvent) -> None:
        """With tasks running it asks: wait, or go on without a window."""
        active = [task for task in self.services.tasks.all() if task.active]
        if self._leave or not active:
            event.accept()
            self.quit()
            return
        from widgets.leaving import Leaving

        event.ignore()
        Leaving(self, active).show()

    def to_front(self) -> None:
        """Show it, wherever it was hidden."""
        if self.isMinimized():
            self.showNormal()
        self.show()
        self.raise_()
        self.activateWindow()

    def leave(self) -> None:
        """Close without asking again."""
        self._leave = True
        self.close()
        self.quit()

    # Inside

    def _build(self) -> None:
        self.search = SearchBox(self.services.search)
        self.tree = Tree(self.services)
        self.dock = Dock(self.services)
        self.toasts.stand_on(self.dock)
        self.tabs = Tabs(self, lambda: OverviewPage(self))
        right = QWidget()
        right.setObjectName("right")
        right.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        inside = QVBoxLayout(right)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.addWidget(self.tabs)
        self.panes = Panes(self.tree, right, self.dock)
        self.panes.resized.connect(self._save_soon)
        self.panes.begin(self.width())
        centre = QWidget()
        column = QVBoxLayout(centre)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        self.top = TopBar(self, self.search)
        self.status = StatusBar(self, self.lag)
        column.addWidget(self.top)
        column.addWidget(self.panes, 1)
        column.addWidget(self.status)
        self.setCentralWidget(centre)
        self._wire()

    def _wire(self) -> None:
        tree = self.tree
        self.search.changed.connect(tree.set_query)
        self.search.left.connect(tree.enter)
        tree.opened.connect(self.open_ref)
        tree.selection_changed.connect(self._on_selection)
        tree.move_requested.connect(self.plan_move)
        tree.menu_requested.connect(self.popup_menu)
        tree.console_requested.connect(lambda ref: self.verbs.console([ref]))
        tree.delete_requested.connect(lambda refs: self.verbs.delete([ref for ref in refs if ref.kind == Kind.VM]))
        tree.add_requested.connect(self.show_connect)
        tree.refused.connect(lambda ref, why: self.toasts.tell("amber", f"Cannot go to {self._name(ref)}", why))
        self.dock.opened.connect(self.open_ref)
        self.dock.tasks.room_wanted.connect(lambda: self.panes.give_dock(240))
        self.dock.alerts.counted.connect(self.top.show_alerts)
        self.dock.alerts.sign_in_wanted.connect(self.sign_in)
        self.dock.alerts.move_wanted.connect(self.plan_move)
        self.tabs.currentChanged.connect(lambda _: self._save_soon())

    def _shortcuts(self) -> None:
        here = Qt.ShortcutContext.WidgetWithChildrenShortcut
        for command in self.commands.values():
            if not command.shortcut or command.id in ELSEWHERE:
                continue
            owner, context = (self.tabs, here) if command.local else (self, Qt.ShortcutContext.WindowShortcut)
            run = partial(self.run_command, command.id)
            bind(owner, command.shortcut, command.text.rstrip("…"), command.place, run, context)

    def run_command(self, ident: str) -> None:
        """Run a command, or say why not now."""
        command = self.commands[ident]
        if reason := command.why_not():
            self.toasts.tell("info", f"{command.text.rstrip('…')}: {reason}")
        else:
            command.run()

    def _timers(self) -> None:
        def single(interval: int, function: Callable[[], None]) -> QTimer:
            timer = QTimer(self, singleShot=True, interval=interval)
            timer.timeout.connect(function)
            return timer

        self._watch_timer = QTimer(self, interval=WATCH_MS)
        self._watch_timer.timeout.connect(self._watch_shown)
        self._watch_timer.start()
        self._preview_timer = single(PREVIEW_MS, self._preview)
        self._save_timer = single(SAVE_MS, lambda: self.background.run(self.save_state(), "window state"))

    def _watch_shown(self) -> None:
        """The object whose tab is shown is metered, whatever rows the tree shows."""
        name = self.tabs.page().ref.connection
        if name and not self.isMinimized():
            self.services.connections.watch_details(name)

    def _name(self, ref: Ref) -> str:
        item = self.services.inventory.get(ref)
        return item.name if item is not None else ref.id

    def _floor(self) -> int:
        """Where messages end: above the lower pane, whose buttons they must not cover."""
        below = self.dock if self.dock.isVisible() and self.dock.height() < self.height() // 2 else self.status
        return below.mapTo(self, QPoint(0, 0)).y()

    def _restyle(self) -> None:
        self.setStyleSheet(sheet(theme.tokens()))

    def _save_soon(self) -> None:
        self._save_timer.start()

    def _on_selection(self, refs: list[Ref]) -> None:
        if len(refs) == 1:
            self._preview_timer.start()

    def _preview(self) -> None:
        refs = self.tree.selected()
        if len(refs) == 1:
            focus = QApplication.focusWidget()
            self.tabs.open(refs[0], stay=False)
            if focus is not None:
                focus.setFocus()
