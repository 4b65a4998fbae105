"""The stream as tokens: runs of text, controls, escape sequences (ECMA-48 5.4, DEC STD 070, xterm ctlseqs).

What is whole and regular is found by one expression. Everything else (a sequence that the input cuts in two, controls
inside of a sequence, strings) goes character by character through a state machine that keeps only bounded state.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from app.consoles.terminal.csi import CSI
from app.consoles.terminal.escapes import ESCAPES, control
from app.consoles.terminal.screen import Screen
from app.consoles.terminal.strings import device_control, system_command

TOKEN = re.compile(
    "((?:[ -~\t\u00a0-\u02ff]*+\r\n){3,}+)"
    "|([^\x00-\x1f\x7f-\x9f]+)"
    "|\x1b\\[([0-9;:]*+)m"
    "|\x1b\\[([<-?]?+)([0-9;:]*+)([ -/]?+)([@-~])"
    "|(.)",
    re.DOTALL,
)
REGULAR = re.compile("([<-?]?)([0-9;:]*)([ -/]?)([@-~])")
SEQUENCE = 256
"""A control sequence may be so long; a longer one is read to its end and ignored."""
STRING = 256 * 1024
"""Characters of an OSC or DCS string; a longer one is read to its end and ignored."""
STRING_PART = re.compile("[^\n\x07\x18\x1a\x1b\x9c]+")


class State(Enum):
    GROUND = auto()
    ESCAPE = auto()
    CSI = auto()
    STRING = auto()
    STRING_ESCAPE = auto()


class Parser:
    """Feeds a screen."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self._state = State.GROUND
        self._kept: list[str] = []
        self._length = 0
        self._kind = ""

    def feed(self, text: str) -> None:
        at, end = 0, len(text)
        while at < end:
            at = self._ground(text, at) if self._state is State.GROUND else self._slow(text, at)

    def _ground(self, text: str, at: int) -> int:
        """Regular tokens, up to the first that is not. Returns where to go on."""
        screen = self.screen
        styles = screen.styles
        for token in TOKEN.finditer(text, at):
            kind = token.lastindex
            if kind == 2:
                screen.print(token[2])
            elif kind == 3:
                number = styles.sgr(screen.style, token[3])
                if number != screen.style:
                    screen.style = number
                    screen.grid.blank = styles.blank(number)
            elif kind == 8:
                character = token[8]
                if character == "\r":
                    screen.grid.x = 0
                elif character == "\n":
                    screen.index()
                    if screen.newline:
                        screen.grid.x = 0
                elif character == "\x1b":
                    self._begin(State.ESCAPE)
                    return token.end()
                else:
                    control(screen, character)
            elif kind == 7:
                self._csi(token[4], token[5], token[6], token[7])
            else:
                screen.lines(token[1])
        return len(text)

    def _csi(self, prefix: str, parameters: str, intermediate: str, final: str) -> None:
        action = CSI.get(prefix + intermediate + final)
        if action is not None:
            action(self.screen, parameters)

    def _begin(self, state: State) -> None:
        self._state = state
        self._kept.clear()
        self._length = 0

    def _slow(self, text: str, at: int) -> int:
        """One character, or one part of a string, in another state than GROUND."""
        if self._state is State.STRING and (part := STRING_PART.match(text, at)):
            self._keep(part[0], STRING)
            return part.end()
        character = text[at]
        if character in "\x18\x1a":
            self._state = State.GROUND
        elif self._state is State.STRING:
            if character == "\x1b":
                self._state = State.STRING_ESCAPE
            elif character != "\n":
                self._string()
            elif self._kind == "P":
                self._keep(character, STRING)
            else:
                # Noise on a serial line that looks like the start of a string must not swallow what follows.
                self._state = State.GROUND
                control(self.screen, character)
        elif self._state is State.STRING_ESCAPE:
            self._string()
            if character != "\\":
                self._begin(State.ESCAPE)
                return at
        elif character == "\x1b":
            self._begin(State.ESCAPE)
        elif character < " ":
            control(self.screen, character)
        elif self._state is State.CSI:
            self._sequence(character)
        else:
            self._escape(character)
        return at + 1

    def _keep(self, part: str, most: int) -> None:
        if self._length <= most:
            self._kept.append(part)
        self._length += len(part)

    def _sequence(self, character: str) -> None:
        """A character of a control sequence."""
        if "@" <= character <= "~":
            self._state = State.GROUND
            whole = REGULAR.fullmatch("".join(self._kept) + character)
            if whole and self._length <= SEQUENCE:
                self._csi(*whole.groups())
        elif character > "~":
            self._state = State.GROUND
            if character > "\x9f":
                self.screen.print(character)
        else:
            self._keep(character, SEQUENCE)

    def _escape(self, character: str) -> None:
        """A character after ESC: the start of a longer sequence, an intermediate, or the end."""
        if not self._kept and character == "[":
            self._begin(State.CSI)
        elif not self._kept and character in "]PX^_":
            self._begin(State.STRING)
            self._kind = character
        elif " " <= character <= "/":
            self._keep(character, SEQUENCE)
        else:
            self._state = State.GROUND
            action = ESCAPES.get("".join(self._kept) + character)
            if action is not None:
                action(self.screen)

    def _string(self) -> None:
        """The end of a string."""
        self._state = State.GROUND
        if self._length <= STRING:
            whole = "".join(self._kept)
            if self._kind == "]":
                system_command(self.screen, whole)
            elif self._kind == "P":
                device_control(self.screen, whole)
        self._kept.clear()
