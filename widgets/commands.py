"""One table of all commands: name, shortcut, when it can run, what it does. Menus, palette and shortcuts use it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from backends.driver import Capability
from backends.model import Kind, PowerAction, Ref
from widgets.frame import Frame
from widgets.reasons import POWER_WORDS, YES, able, power_reason, ready_for, site_reason

if TYPE_CHECKING:
    from widgets.consoles.panel import Panel
    from widgets.tabs import Tabs
    from widgets.verbs import Verbs

PLACES = {
    "vm": "Virtual machines",
    "power": "Virtual machines",
    "site": "Sites",
    "console": "Consoles",
    "view": "Window",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One thing that can be done. `why_not` gives the reason why not now, or nothing; `menu` where it shows.
    `subject` names what it would act on now, for where that is not in view.

    `local` shortcuts work only where the tree or the details have the keyboard, so that text fields keep theirs.
    """

    id: str
    text: str
    run: Callable[[], None]
    why_not: Callable[[], str] = lambda: YES
    subject: Callable[[], str] = lambda: ""
    shortcut: str = ""
    icon: str = ""
    menu: str = ""
    part: int = 0
    local: bool = False

    @property
    def place(self) -> str:
        """What the sheet of keys puts it under."""
        return PLACES.get(self.id.partition(".")[0], "Program")


class Commanded(Frame, Protocol):
    """The window, with what only its commands do."""

    tabs: Tabs
    verbs: Verbs

    def selection(self) -> list[Ref]:
        """What commands act on."""

    def shown_console(self) -> Panel | None:
        """The console of the tab in front."""

    def sign_in(self, name: str) -> None:
        """Ask for a site's secrets anew."""

    def open_selected(self) -> None: ...

    def focus_search(self) -> None: ...

    def focus_tree(self) -> None: ...

    def refresh(self) -> None: ...

    def step_tab(self, by: int) -> None: ...

    def close_tab(self, index: int) -> None: ...

    def show_overview(self) -> None: ...

    def toggle_dock(self) -> None: ...

    def toggle_tree(self) -> None: ...

    def toggle_theme(self) -> None: ...

    def show_palette(self) -> None: ...

    def show_keys(self) -> None: ...

    def show_welcome(self) -> None: ...

    def close_window(self) -> None: ...


def table(window: Commanded) -> tuple[Command, ...]:
    """All commands of a window, in the order of menus and palette."""
    return (*_vm(window), *_site(window), *_console(window), *_view(window), *_program(window))


def _vm(window: Commanded) -> list[Command]:
    services, verbs = window.services, window.verbs

    def selected() -> list[Ref]:
        return [ref for ref in window.selection() if ref.kind == Kind.VM]

    def need(capability: Capability | None = None, one: bool = False) -> Callable[[], str]:
        def reason() -> str:
            refs = selected()
            if not refs:
                return "select a VM"
            if one and len(refs) > 1:
                return "select one VM only"
            if capability is None or able(services, refs, capability):
                return YES
            return site_reason(services, refs) or f"{refs[0].connection} cannot do that"

        return reason

    def subject() -> str:
        return verbs.subject(selected()) if selected() else ""

    def power(action: PowerAction) -> Command:
        text, name = POWER_WORDS[action]

        def ready() -> str:
            refs = ready_for(services, selected(), action)
            return verbs.subject(refs) if refs else ""

        return Command(
            id=f"power.{action}",
            text=text,
            icon=name,
            menu="vm",
            part=1,
            run=lambda: verbs.power(selected(), action),
            why_not=lambda: power_reason(services, selected(), action),
            subject=ready,
            shortcut={PowerAction.START: "Ctrl+Return", PowerAction.SHUTDOWN: "Ctrl+Shift+Return"}.get(action, ""),
        )

    def has_address() -> str:
        vm = services.inventory.vm(selected()[0]) if len(selected()) == 1 else None
        return "select one VM" if vm is None else YES if vm.addresses else "its address is not known"

    def has_console() -> str:
        refs = selected()
        if not refs:
            return "select a VM"
        # While a site is away its consoles wait for it; only what has none says so.
        sites = [services.connections.get(ref.connection) for ref in refs]
        able_to = any(able(services, refs, kind) for kind in (Capability.CONSOLE, Capability.SERIAL))
        away = any(site is not None and site.state != "ready" for site in sites)
        return YES if able_to or away else f"{refs[0].connection} has no consoles"

    one = need(one=True)
    return [
        Command(id="vm.open", text="Open", icon="monitor", menu="vm", why_not=need(), run=window.open_selected),
        Command(
            id="vm.console", text="Console", icon="square-terminal", menu="vm", shortcut="Ctrl+O",
            why_not=has_console, run=lambda: verbs.console(selected()),
        ),
        Command(
            id="vm.wall", text="Wall of these screens", icon="layout-grid", menu="vm",
            why_not=need(), run=lambda: verbs.wall(selected()),
        ),
        *(power(action) for action in PowerAction),
        Command(
            id="vm.move", text="Move…", icon="arrow-right-left", menu="vm", part=2, shortcut="Ctrl+M",
            why_not=need(), subject=subject, run=lambda: verbs.move(selected()),
        ),
        Command(
            id="vm.rename", text="Rename…", icon="pencil", menu="vm", part=3, shortcut="F2", local=True,
            why_not=need(Capability.RENAME, one=True), subject=subject, run=lambda: verbs.rename(selected()[0]),
        ),
        Command(
            id="vm.group", text="Set group…", icon="folder", menu="vm", part=3, shortcut="Ctrl+G",
            why_not=need(), run=lambda: verbs.group(selected()),
        ),
        Command(
            id="vm.tag", text="Set tag…", icon="tag", menu="vm", part=3, shortcut="Ctrl+T",
            why_not=need(Capability.TAG), run=lambda: verbs.tag(selected()),
        ),
        Command(
            id="vm.autostart", text="Start with its host: on or off", icon="circle-power", menu="vm", part=3,
            why_not=need(Capability.AUTOSTART, one=True), run=lambda: verbs.autostart(selected()[0]),
        ),
        Command(
            id="vm.copy-ip", text="Copy IP address", icon="copy", menu="vm", part=4, shortcut="Ctrl+Shift+C",
            why_not=has_address, run=lambda: verbs.copy_address(selected()[0]),
        ),
        Command(
            id="vm.copy-uuid", text="Copy UUID", icon="copy", menu="vm", part=4,
            why_not=one, run=lambda: verbs.copy_uuid(selected()[0]),
        ),
        Command(
            id="vm.copy-ssh", text="Copy ssh command", icon="terminal", menu="vm", part=4,
            why_not=has_address, run=lambda: verbs.copy_ssh(selected()[0]),
        ),
        Command(
            id="vm.delete", text="Delete…", icon="trash-2", menu="vm", part=5, shortcut="Del", local=True,
            why_not=need(Capability.DELETE), subject=subject, run=lambda: verbs.delete(selected()),
        ),
    ]  # fmt: skip


def _site(window: Commanded) -> list[Command]:
    services, verbs = window.services, window.verbs

    def name() -> str:
        refs = window.selection()
        return refs[0].connection if refs else ""

    def need() -> str:
        return YES if name() and services.connections.get(name()) is not None else "select a site"

    return [
        Command(
            id="site.open", text="Open site", icon="server", menu="site", why_not=need,
            run=lambda: window.open_ref(Ref(name(), Kind.CONNECTION, name())),
        ),
        Command(
            id="site.wall", text="Wall of its screens", icon="layout-grid", menu="site", why_not=need,
            run=lambda: verbs.wall(window.selection()),
        ),
        Command(
            id="site.reconnect", text="Reconnect site", icon="plug-zap", menu="site", part=1, shortcut="Ctrl+R",
            why_not=need, run=lambda: services.connections.retry(name()),
        ),
        Command(
            id="site.sign-in", text="Sign in to site…", icon="key-round", menu="site", part=1,
            why_not=need, run=lambda: window.sign_in(name()),
        ),
        Command(
            id="site.read-only", text="Read-only: on or off", icon="lock", menu="site", part=1,
            why_not=need, run=lambda: verbs.toggle_read_only(name()),
        ),
        Command(
            id="site.production", text="Production mark: on or off", icon="shield", menu="site", part=1,
            why_not=need, run=lambda: verbs.toggle_production(name()),
        ),
        Command(
            id="site.forget", text="Forget site…", icon="trash-2", menu="site", part=2,
            why_not=need, run=lambda: verbs.forget(name()),
        ),
    ]  # fmt: skip


def _console(window: Commanded) -> list[Command]:
    """What can be done with the console in front; its own buttons do the same."""

    def need() -> str:
        return YES if window.shown_console() is not None else "no console is in front"

    def command(ident: str, text: str, symbol: str, run: Callable[[Panel], object]) -> Command:
        def start() -> None:
            panel = window.shown_console()
            if panel is not None:
                run(panel)

        return Command(id=f"console.{ident}", text=text, icon=symbol, why_not=need, run=start)

    return [
        command("full", "Console: full screen (F11)", "maximize", lambda panel: panel.wanted.emit("full")),
        command("window", "Console: to a window of its own", "app-window", lambda panel: panel.wanted.emit("window")),
        command("beside", "Console: another one beside it…", "columns-2", lambda panel: panel.wanted.emit("beside")),
        command("type", "Console: type the clipboard as keys", "clipboard-type", lambda panel: panel.typing.begin()),
        command("shot", "Console: save a screenshot…", "camera", lambda panel: panel.shots.ask()),
        command("del", "Console: send Ctrl+Alt+Del", "keyboard", lambda panel: panel.play_named("Ctrl+Alt+Del")),
    ]


def _view(window: Commanded) -> list[Command]:
    def has_tab() -> str:
        return YES if window.tabs.currentIndex() > 0 else "the overview stays"

    return [
        Command(id="view.search", text="Search", icon="search", shortcut="Ctrl+F", run=window.focus_search),
        Command(id="view.tree", text="Go to the tree", icon="list-tree", shortcut="F6", run=window.focus_tree),
        Command(id="view.refresh", text="Refresh everything", icon="refresh-cw", shortcut="F5", run=window.refresh),
        Command(
            id="view.next", text="Next tab", icon="arrow-right", shortcut="Ctrl+Tab", run=lambda: window.step_tab(1)
        ),
        Command(
            id="view.previous", text="Previous tab", icon="arrow-left", shortcut="Ctrl+Shift+Tab",
            run=lambda: window.step_tab(-1),
        ),
        Command(
            id="view.close", text="Close tab", icon="x", shortcut="Ctrl+W", why_not=has_tab,
            run=lambda: window.close_tab(window.tabs.currentIndex()),
        ),
        Command(
            id="view.overview", text="Show overview", icon="layout-dashboard", shortcut="Alt+Home",
            run=window.show_overview,
        ),
        Command(
            id="view.wall", text="Wall of screens: what is searched for, or all", icon="layout-grid",
            shortcut="Ctrl+Shift+W", run=lambda: window.verbs.wall(()),
        ),
        Command(
            id="view.tasks", text="Show tasks", icon="list-checks", shortcut="Alt+1",
            run=lambda: window.show_dock("tasks"),
        ),
        Command(
            id="view.events", text="Show events", icon="scroll-text", shortcut="Alt+2",
            run=lambda: window.show_dock("events"),
        ),
        Command(
            id="view.alerts", text="Show alerts", icon="bell", shortcut="Alt+3",
            run=lambda: window.show_dock("alerts"),
        ),
        Command(id="view.sidebar", text="Show or hide the tree", icon="panel-left", shortcut="Ctrl+B",
                run=window.toggle_tree),
        Command(id="view.dock", text="Show or hide the lower pane", icon="panel-bottom", shortcut="Ctrl+J",
                run=window.toggle_dock),
        Command(id="view.theme", text="Light or dark", icon="sun-moon", shortcut="Ctrl+Shift+L",
                run=window.toggle_theme),
    ]  # fmt: skip


def _program(window: Commanded) -> list[Command]:
    verbs = window.verbs
    return [
        Command(id="app.palette", text="All commands", icon="command", shortcut="Ctrl+K", run=window.show_palette),
        Command(id="app.keys", text="Help: keyboard shortcuts, all keys", icon="circle-question-mark", shortcut="F1",
                run=window.show_keys),
        Command(id="app.connect", text="Add a connection…", icon="plus", shortcut="Ctrl+N", run=verbs.connect),
        Command(id="app.welcome", text="Welcome page", icon="sparkles", run=window.show_welcome),
        Command(id="app.quit", text="Quit", icon="log-out", shortcut="Ctrl+Q", run=window.close_window),
    ]  # fmt: skip
