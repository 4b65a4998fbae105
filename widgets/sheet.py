"""The style of the main window's own pieces, on top of the theme's style sheet."""

from __future__ import annotations

from widgets.theme import Tokens


def sheet(t: Tokens) -> str:
    """The rules, in the tokens' colours."""
    pills = "\n".join(
        f'#pill[role="{role}"] {{ background: {ground}; color: {text}; }}'
        for role, text, ground in (
            ("ok", t.ok, t.ok_bg),
            ("warn", t.warn, t.warn_bg),
            ("bad", t.bad, t.bad_bg),
            ("accent", t.link, t.accent_bg),
            ("muted", t.muted, t.pane2),
        )
    )
    edges = "\n".join(
        f'#toast[level="{level}"] {{ border-left: 3px solid {edge}; }}'
        for level, edge in (("red", t.bad), ("amber", t.warn), ("info", t.ok))
    )
    return f"""
#topbar, #statusbar, #dock, #dockHead {{ background: {t.pane}; }}
#topbar {{ border-bottom: 1px solid {t.line}; }}
#statusbar {{ border-top: 1px solid {t.line}; }}
#brand {{ font-size: 15px; font-weight: 700; }}
#key {{ border: 1px solid {t.line}; border-radius: 5px; color: {t.muted}; padding: 0 5px; font-size: 11px; }}
#flat {{ background: transparent; border: 1px solid transparent; font-weight: 400; color: {t.muted};
    padding: 4px 8px; }}
#flat:hover {{ background: {t.pane2}; }}
#flat:focus {{ border-color: {t.accent}; }}
#pill {{ border-radius: 9px; padding: 1px 9px; font-size: 12px; font-weight: 500; min-height: 17px; }}
{pills}
#page, #pageBody {{ background: {t.background}; border: none; }}
#card {{ background: {t.pane}; border: 1px solid {t.line}; border-radius: 9px; }}
#cardTitle {{ color: {t.muted}; font-size: 11px; font-weight: 600; letter-spacing: 0.3px; }}
#cardValue {{ font-size: 14px; font-weight: 700; }}
#title {{ font-size: 21px; font-weight: 700; }}
#heading {{ font-size: 15px; font-weight: 650; }}
#muted, #empty {{ color: {t.muted}; }}
#small {{ color: {t.muted}; font-size: 12px; }}
#strong {{ font-weight: 600; }}
#warnText {{ color: {t.warn}; }}
#badText {{ color: {t.bad}; }}
#okText {{ color: {t.ok}; }}
#meter::chunk {{ background: {t.accent}; border-radius: 4px; }}
#meter[over="true"]::chunk {{ background: {t.warn}; }}
#rule {{ background: {t.line}; border: none; }}
#taskRow {{ background: {t.pane}; border: none; border-bottom: 1px solid {t.line}; }}
#dock #page, #dock #pageBody {{ background: {t.pane}; }}
#dockTab {{ background: transparent; border: none; border-radius: 5px; color: {t.muted}; font-size: 11px;
    font-weight: 600; padding: 3px 5px; letter-spacing: 0.3px; }}
#dockTab:checked {{ color: {t.text}; background: transparent; }}
#dockTab:hover {{ background: {t.pane2}; }}
#dockTab:focus {{ border: 1px solid {t.accent}; }}
#log, #code {{ font-family: "JetBrains Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 12px; }}
#code[quiet="true"] {{ border: 1px solid {t.pane}; padding: 0; }}
#code[quiet="true"]:focus {{ border-color: {t.accent}; }}
#log {{ background: {t.background}; border: none; border-top: 1px solid {t.line}; border-radius: 0; }}
#toast {{ background: {t.pane}; border: 1px solid {t.line}; border-radius: 8px; }}
#toast QLabel {{ background: transparent; }}
{edges}
#danger {{ background: {t.bad}; border-color: {t.bad}; color: {t.pane}; }}
#danger:focus {{ border: 2px solid {t.text}; padding: 4px 11px; }}
#danger:disabled {{ background: {t.pane2}; border-color: {t.line}; color: {t.muted}; }}
#tabs::pane {{ border: none; border-top: 1px solid {t.line}; }}
#tabs > QTabBar {{ background: {t.pane}; }}
#tabs QTabBar::tab {{ background: {t.pane}; color: {t.muted}; padding: 10px 10px 9px 10px; margin-left: 6px;
    border: none; border-bottom: 2px solid transparent; }}
#tabs QTabBar::tab:selected {{ color: {t.text}; font-weight: 600; border-bottom: 2px solid {t.accent}; }}
#tabs QTabBar::tab:selected:focus {{ background: {t.accent_bg}; }}
#tabs QTabBar::tab:hover:!selected {{ color: {t.text}; }}
#tabs QTabBar::close-button {{ subcontrol-position: right; }}
#consoleBar, #consoleLine {{ background: {t.pane}; }}
#consoleBar {{ border-bottom: 1px solid {t.line}; }}
#consoleSide {{ border-left: 1px solid {t.line}; }}
#consoleSide #page, #consoleSide #pageBody {{ background: {t.pane}; }}
#consoleLine {{ border-top: 1px solid {t.line}; }}
#stage {{ background: {t.background}; border: 1px solid {t.background}; }}
#stage[lit="true"] {{ border-color: {t.accent}; }}
#stage[full="true"] {{ border: none; background: black; }}
#wall {{ background: {t.background}; }}
#stage QScrollArea, #stage QScrollArea > QWidget {{ background: {t.background}; }}
#topStrip {{ background: {t.pane}; border: 1px solid {t.line}; border-top: none; border-bottom-left-radius: 9px;
    border-bottom-right-radius: 9px; }}
#right {{ background: {t.pane}; }}
QDialog, QDialog #page, QDialog #pageBody, QDialog #plain {{ background: {t.pane}; border: none; }}
QLineEdit[bad="true"], QPlainTextEdit[bad="true"], QComboBox[bad="true"] {{ border-color: {t.bad}; }}
#palette {{ background: {t.pane}; border: 1px solid {t.line}; border-radius: 10px; }}
#palette QLineEdit {{ border: none; border-bottom: 1px solid {t.line}; border-radius: 0; padding: 10px 12px;
    font-size: 15px; }}
#banner {{ background: {t.warn_bg}; color: {t.warn}; border-radius: 8px; }}
#banner[role="bad"] {{ background: {t.bad_bg}; color: {t.bad}; }}
#banner[role="ok"] {{ background: {t.ok_bg}; color: {t.ok}; }}
#banner[role="ask"] {{ background: {t.accent_bg}; color: {t.link}; }}
#banner QLabel {{ color: {t.text}; }}
"""
