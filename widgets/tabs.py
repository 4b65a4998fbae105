"""The tabs at the right: the overview, one reused preview, and what was opened to stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QTabBar, QTabWidget

from backends.model import Kind, Ref
from widgets import format as fmt
from widgets import theme
from widgets.details.host import HostPage
from widgets.details.site import SitePage
from widgets.details.vm import VmPage
from widgets.icons import icon
from widgets.parts import tool
from widgets.tab import Tab

if TYPE_CHECKING:
    from widgets.frame import Frame

PLACES = frozenset({Kind.HOST, Kind.ZONE, Kind.CLUSTER, Kind.DATACENTER})


class Tabs(QTabWidget):
    """Pages by key. The preview's page is replaced by the next one that is only looked at."""

    def __init__(self, window: Frame, first: Callable[[], Tab]) -> None:
        super().__init__(window)
        self._window = window
        self._preview = ""
        self._waiting: list[str] = []
        self.setObjectName("tabs")
        self.setDocumentMode(True)
        self.setIconSize(QSize(16, 16))
        self.setElideMode(Qt.TextElideMode.ElideRight)
        self.setUsesScrollButtons(True)
        self.tabBar().setExpanding(False)
        self.tabBar().setDrawBase(False)
        self.tabBar().setAccessibleName("Open tabs")
        self.tabBar().tabBarDoubleClicked.connect(self.pin)
        self.tabBar().tabBarClicked.connect(self._clicked)
        self._add(first())
        self.currentChanged.connect(self._shown)
        theme.on_change(self._dress)

    def pages(self) -> list[Tab]:
        return [page for number in range(self.count()) if isinstance(page := self.widget(number), Tab)]

    def page(self) -> Tab:
        page = self.currentWidget()
        assert isinstance(page, Tab)
        return page

    def open(self, ref: Ref, *, stay: bool) -> Tab | None:
        """Show an object; `stay` False only looks at it, in the preview. None for what has no page."""
        key = self._key(ref)
        if not key:
            return None
        found = next((page for page in self.pages() if page.key == key), None)
        if found is None:
            found = self._make(key, ref)
            old = next((page for page in self.pages() if page.key == self._preview), None)
            at = self._add(found, -1 if old is None or stay else self.indexOf(old))
            if not stay:
                self._preview = key
                if old is not None:
                    self.setCurrentIndex(at)
                    self.close_page(self.indexOf(old))
        elif stay and key == self._preview:
            self._preview = ""
        self.setCurrentWidget(found)
        return found

    def add(self, tab: Tab) -> None:
        """Show a tab that somebody made; it stays."""
        self.setCurrentIndex(self._add(tab))

    def pin(self, index: int) -> None:
        """A preview that is double-clicked stays."""
        page = self.widget(index)
        if isinstance(page, Tab) and page.key == self._preview:
            self._preview = ""

    def close_page(self, index: int) -> None:
        page = self.widget(index)
        if index < 1 or not isinstance(page, Tab):
            return
        if page.key == self._preview:
            self._preview = ""
        self.removeTab(index)
        page.close_down()
        page.deleteLater()

    def step(self, by: int) -> None:
        self.setCurrentIndex((self.currentIndex() + by) % self.count())

    def kept(self) -> list[str]:
        """The keys of the pages that stay, for the next start; the one that is shown is last."""
        keys = self._waiting + [page.key for page in self.pages()[1:] if page.key != self._preview]
        current = self.page().key
        return [key for key in keys if key != current] + ([current] if current in keys else [])

    def restore(self, keys: list[str]) -> None:
        """Open pages by their keys; those of what is not known yet wait for `restore_rest`."""
        self._waiting = [key for key in keys if not self._reopen(key)]

    def restore_rest(self) -> None:
        """Now all is known: open what was waiting, forget what is not there."""
        for page in self.pages():
            uid, key = self._window.services.identity.true(page.uid), page.key
            if uid != page.uid:
                page.key, page.uid = key.replace(page.uid, uid), uid
                self._preview = page.key if self._preview == key else self._preview
        waiting, self._waiting = self._waiting, []
        current = self.page()
        for key in waiting:
            self._reopen(key)
        # Whoever has opened something meanwhile goes on with that.
        if current.key != "overview":
            self.setCurrentWidget(current)

    def _reopen(self, key: str) -> bool:
        kind, _, rest = key.partition(":")
        services = self._window.services
        if kind in ("console", "window", "wall"):
            # Consoles take a while to import: not before there is something to show.
            return len(services.inventory) > 0 and self._window.restore_console(key)
        ref = services.identity.ref_of(rest) if kind == "vm" else None
        try:
            ref = ref or (Ref.parse(rest) if kind == "host" else Ref(rest, Kind.CONNECTION, rest))
        except ValueError:
            return False
        known = ref in services.inventory or services.connections.get(ref.id) is not None
        return known and kind in ("vm", "host", "site") and self.open(ref, stay=True) is not None

    def _key(self, ref: Ref) -> str:
        if ref.kind == Kind.VM:
            return f"vm:{self._window.services.identity.uid_of(ref)}" if ref in self._window.services.inventory else ""
        if ref.kind in PLACES:
            return f"host:{ref}"
        return f"site:{ref.connection}" if ref.kind == Kind.CONNECTION else ""

    def _make(self, key: str, ref: Ref) -> Tab:
        if ref.kind == Kind.VM:
            return VmPage(self._window, key.partition(":")[2], ref)
        if ref.kind == Kind.CONNECTION:
            return SitePage(self._window, ref.connection)
        return HostPage(self._window, ref)

    def _add(self, page: Tab, at: int = -1) -> int:
        index = self.insertTab(at, page, icon(page.symbol, "muted"), page.name)
        page.renamed.connect(lambda: self.setTabText(self.indexOf(page), page.name))
        self.setTabToolTip(index, fmt.tip(page.name))
        if page.key != "overview":
            close = tool("x", f"Close {page.name}", lambda: self.close_page(self.indexOf(page)))
            close.setFixedSize(20, 20)
            close.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            self.tabBar().setTabButton(index, QTabBar.ButtonPosition.RightSide, close)
        return index

    def _shown(self, index: int) -> None:
        self._dress()
        page = self.widget(index)
        if isinstance(page, Tab):
            page.refresh()

    def _clicked(self, index: int) -> None:
        tab = self.widget(index)
        if isinstance(tab, Tab):
            tab.chosen()

    def _dress(self) -> None:
        for number, page in enumerate(self.pages()):
            self.setTabIcon(number, icon(page.symbol, "text" if number == self.currentIndex() else "muted"))
