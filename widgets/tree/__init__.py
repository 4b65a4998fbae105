"""The tree of everything: sites, places, VMs; searched, grouped, dragged."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import QEvent, QPoint, Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication, QKeySequence, QPalette, QResizeEvent
from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QLabel, QMenu, QToolButton, QVBoxLayout, QWidget

from backends.model import Kind, Ref
from widgets import icons, theme
from widgets.keys import bind
from widgets.tree.drop import Holding
from widgets.tree.forest import Key
from widgets.tree.grouping import Grouping
from widgets.tree.model import Rows
from widgets.tree.view import View

AGES_MS = 5000
WIDE_PX = 330
RUNNING = "state:running"
__all__ = ["Grouping", "Tree"]


class GroupBy(QWidget):
    """Group by Place, Group, Tag, State; and at the right the buttons of the tree."""

    chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(36)
        line = QHBoxLayout(self)
        line.setContentsMargins(12, 2, 8, 0)
        line.setSpacing(0)
        self._label = QLabel("Group by")
        line.addWidget(self._label)
        line.addSpacing(4)
        self._dots: list[QLabel] = []
        self.buttons: dict[Grouping, QToolButton] = {}
        group = QButtonGroup(self)
        for grouping in Grouping:
            if grouping != Grouping.PLACE:
                self._dots.append(QLabel("·"))
                line.addWidget(self._dots[-1])
            button = QToolButton(text=grouping.capitalize(), checkable=True)
            button.setAccessibleName(f"Group by {grouping}")
            button.clicked.connect(lambda _checked, grouping=grouping: self.chosen.emit(grouping))
            group.addButton(button)
            line.addWidget(button)
            self.buttons[grouping] = button
        self.buttons[Grouping.PLACE].setChecked(True)
        line.addStretch(1)
        self.add = self._button("plus", "Add a connection", line)
        self.settings = self._button("sliders-horizontal", "Tree settings", line)
        self.restyle()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Where it is narrow, the choices stay and the words between them go."""
        super().resizeEvent(event)
        for label in (self._label, *self._dots):
            label.setVisible(self.width() >= WIDE_PX)

    def restyle(self) -> None:
        """After a change of theme."""
        small = f"font-size: {theme.SMALL_PX}px;"
        for label in (self._label, *self._dots):
            label.setStyleSheet(f"color: {theme.tokens().muted}; {small}")
        look = (
            f"QToolButton {{ color: {theme.tokens().muted}; {small} border: none; padding: 2px 3px; }}"
            f"QToolButton:hover {{ color: {theme.tokens().text}; }}"
            f"QToolButton:checked {{ color: {theme.tokens().text}; background: transparent; font-weight: 600; }}"
            f"QToolButton:focus {{ background: {theme.tokens().accent_bg}; border-radius: 4px; }}"
        )
        for button in self.buttons.values():
            button.setStyleSheet(look)

    def _button(self, icon: str, name: str, line: QHBoxLayout) -> QToolButton:
        button = QToolButton(toolTip=name)
        button.setAccessibleName(name)
        button.setAutoRaise(True)
        icons.dress(button, icon, "muted")
        line.addWidget(button)
        return button


class Tree(QWidget):
    """What the rest of the window knows of the tree. It asks for things by signals and does none itself, but for
    renaming in place and setting a group or tag by drop, which are actions."""

    opened = Signal(object)
    """Ref: show its details."""
    selection_changed = Signal(list)
    """list[Ref], from top to bottom."""
    move_requested = Signal(list, object, bool)
    """list[Ref] of VMs, the Ref they go to, True: copy."""
    refused = Signal(object, str)
    """The Ref that VMs cannot go to, and why."""
    menu_requested = Signal(QPoint, list)
    console_requested = Signal(object)
    delete_requested = Signal(list)
    add_requested = Signal(str)
    """Add a connection; the section it was asked in, or empty."""

    def __init__(self, services: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self.rows = Rows(services, self)
        self.view = View(self.rows)
        self.group_by = GroupBy()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.group_by)
        column.addWidget(self.view, 1)
        self.setAutoFillBackground(True)
        self.setBackgroundRole(QPalette.ColorRole.Base)
        self.setMinimumWidth(270)
        self._wanted: list[str] = []
        self._query, self._running_only = "", False
        self._menu = QMenu(self)
        self._connect()
        self._shortcuts()
        self._shown: set[str] | None = None
        self._shown_timer = QTimer(self, singleShot=True, interval=100)
        self._shown_timer.timeout.connect(self._tell_shown)
        self._ages = QTimer(self, interval=AGES_MS)
        self._ages.timeout.connect(lambda: self.rows.announce(None))
        self._ages.start()
        self._shown_timer.start()
        theme.on_change(self._restyle)

    def _connect(self) -> None:
        view, rows = self.view, self.rows
        view.opened.connect(self.opened)
        view.chosen.connect(self.selection_changed)
        view.menu_wanted.connect(lambda at: self.menu_requested.emit(at, self.selected()))
        view.console_wanted.connect(self.console_requested)
        view.delete_wanted.connect(lambda: self.delete_requested.emit(self.selected()))
        view.hint_clicked.connect(lambda key: self.add_requested.emit(key.partition(":")[2]))
        view.shown_changed.connect(lambda: self._shown_timer.start())
        view.painter.renamed.connect(self._services.actions.rename)
        rows.dropped.connect(self._on_dropped)
        rows.settled.connect(self._on_settled)
        rows.synced.connect(self._on_synced)
        self.group_by.chosen.connect(self.set_grouping)
        self.group_by.add.clicked.connect(lambda: self.add_requested.emit(""))
        self.group_by.settings.clicked.connect(self._show_settings)

    def _shortcuts(self) -> None:
        for keys, text, function in (
            (QKeySequence.StandardKey.Copy, "Copy the names", self.copy_names),
            (QKeySequence.StandardKey.Cut, "Cut: take VMs to move them", self.cut),
            (QKeySequence.StandardKey.Paste, "Paste: move what was cut here", self.paste),
        ):
            bind(self.view, keys, text, "Tree", function, Qt.ShortcutContext.WidgetShortcut)

    def close(self) -> bool:
        """Follow the services no longer."""
        self._ages.stop()
        self._shown_timer.stop()
        self.view.live.close()
        self.rows.close()
        return super().close()

    async def taken_in(self) -> None:
        """Until all that the inventory told is in the rows."""
        done = asyncio.Event()
        self.rows.settled.connect(done.set)
        try:
            if self.rows.busy:
                await done.wait()
        finally:
            self.rows.settled.disconnect(done.set)

    def selected(self) -> list[Ref]:
        return self.view.selected()

    def select(self, ref: Ref) -> bool:
        """Make an object the current row, opening what it stands below. False where it is not in the tree."""
        return self.view.go_to(ref)

    def follow(self) -> None:
        """Keep VMs selected that live elsewhere by now."""
        self.view.follow()

    def enter(self, open_it: bool) -> None:
        """Go to the first VM of those that are shown, and open it if so asked."""
        for row in range(self.rows.rowCount()):
            for found in self.rows.vms([row]):
                self.select(found)
                self.view.setFocus(Qt.FocusReason.OtherFocusReason)
                if open_it:
                    self.opened.emit(found)
                return

    def set_query(self, text: str) -> None:
        """Show what a search finds; empty shows everything."""
        words = [word for word in text.split() if ":" not in word and ">" not in word and "<" not in word]
        self.view.set_word(words[0] if words else "")
        self._query = text
        self.rows.set_query(f"{text} {RUNNING}".strip() if self._running_only else text)
        if self.view.nothing:
            self._on_synced()

    def show_running_only(self, on: bool) -> None:
        """Leave out what does not run, whatever is searched for."""
        self._running_only = on
        icons.dress(self.group_by.settings, "sliders-horizontal", "link" if on else "muted")
        self.set_query(self._query)

    def close_all(self) -> None:
        """Close every row below the sections."""
        self.rows.close_all()

    def set_grouping(self, grouping: Grouping) -> None:
        """Arrange by place, group, tag or state."""
        if grouping != self.rows.planting.grouping:
            self.group_by.buttons[grouping].setChecked(True)
            self.rows.group_by(grouping)

    def copy_names(self) -> None:
        names = (item.name for ref in self.selected() if (item := self._services.inventory.get(ref)) is not None)
        QGuiApplication.clipboard().setText("\n".join(names) or "\n".join(ref.id for ref in self.selected()))

    def cut(self) -> None:
        """Take the selected VMs; paste moves them to where the current row is."""
        self.view.set_cut(self.rows.vms(self.view.selected_rows()))

    def paste(self) -> None:
        """Ask to move what was cut to the current row: the same as letting go over it. What moves is selected then."""
        refs = sorted(ref for ref in self.view.cut if ref in self._services.inventory)
        node = self.rows.target(self.view.currentIndex().row())
        if refs and node is not None:
            self._ask(Holding(self.rows, refs, self.view.viewport().update), node)
            self.view.set_cut(())
            self.select(refs[0])

    def state(self) -> dict[str, object]:
        """Grouping, open rows, selection and scroll place, as plain values."""
        forest = self.rows.forest
        keys = (forest.keys[node] for node in forest.open)
        return {
            "grouping": str(self.rows.planting.grouping),
            "open": sorted({str(key) for key in keys} | self.rows.wanted_open),
            "selected": [str(ref) for ref in self.selected()],
            "scroll": self.view.verticalScrollBar().value(),
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Bring back what `state` said; what is not there yet follows when it comes."""
        grouping, opened, selected = state.get("grouping"), state.get("open"), state.get("selected")
        if grouping in set(Grouping):
            self.set_grouping(Grouping(str(grouping)))
        if isinstance(opened, list):
            self.rows.restore_open([str(text) for text in opened])
        if isinstance(selected, list):
            self._wanted = [str(text) for text in selected]
            self._on_settled()
        scroll = state.get("scroll")
        if isinstance(scroll, int):
            self.view.verticalScrollBar().setValue(scroll)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self.view.viewport().update()

    def _on_dropped(self, key: Key, copy: bool) -> None:
        node = self.rows.forest.node(key)
        if self.view.holding is not None and node is not None:
            self.view.holding.copy = copy
            self._ask(self.view.holding, node)

    def _ask(self, holding: Holding, node: int) -> None:
        """Turn held VMs and a row into a wish: to move, to copy, to set a group or tag, or say why not."""
        verdict, place, refs = holding.judge(node), self.rows.place(node), list(holding.refs)
        holding.let_go()
        if place is None:
            self._mark(refs, str(self.rows.forest.keys[node]))
        elif verdict is None:
            return
        elif verdict.colour == "red" or not verdict.allowed:
            self.refused.emit(place, f"{verdict.text}: {verdict.cure}" if verdict.cure else verdict.text)
        else:
            # Not from inside the drop: Qt's drag has to end before a dialog may open.
            QTimer.singleShot(0, self, lambda: self.move_requested.emit(refs, place, holding.copy))

    def _mark(self, refs: Sequence[Ref], key: str) -> None:
        word, _, name = key.partition(":")
        if word == "group":
            self._services.actions.set_group(refs, "" if name == "no group" else name)
        elif word == "tag" and name != "no tag":
            tag, _, value = name.partition("=")
            self._services.actions.tag(refs, {tag: value})

    def _on_synced(self) -> None:
        self._shown_timer.start()
        looking, rows = bool(self._query.strip() or self._running_only), range(len(self.rows.rows))
        found = not looking or any(isinstance(self.rows.key(row), Ref) for row in rows)
        what = f"Nothing matches {self._query.strip()}" if self._query.strip() else "Nothing runs"
        self.view.nothing = "" if found else f"{what}.\nEsc in the search field shows everything again."
        self.view.viewport().update()

    def _on_settled(self) -> None:
        self.view.follow()
        if not self._wanted or self.view.currentIndex().isValid():
            self._wanted = []
            return
        rest = [text for text in self._wanted if not self._select_text(text)]
        self._wanted = rest

    def _select_text(self, text: str) -> bool:
        try:
            return self.select(Ref.parse(text))
        except ValueError:
            return True

    def _tell_shown(self) -> None:
        """Say which connections have rows on the screen: only those are metered."""
        keys = [self.rows.key(row) for row in self.view.visible_rows()]
        refs = [key for key in keys if isinstance(key, Ref)]
        self.view.live.keep({ref for ref in refs if ref.kind == Kind.VM})
        shown = {ref.connection for ref in refs}
        if shown != self._shown:
            self._shown = shown
            self._services.connections.shown(shown)

    def _show_settings(self) -> None:
        self._menu.clear()
        running = self._menu.addAction("Running VMs only")
        running.setCheckable(True)
        running.setChecked(self._running_only)
        running.toggled.connect(self.show_running_only)
        self._menu.addAction("Close all rows", self.close_all)
        button = self.group_by.settings
        self._menu.popup(button.mapToGlobal(button.rect().bottomLeft()))

    def _restyle(self) -> None:
        self.view.painter.restyle()
        self.group_by.restyle()
        self.view.viewport().update()
