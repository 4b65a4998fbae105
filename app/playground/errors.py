"""What can go wrong with the playground, said with its cure."""

from __future__ import annotations


class PlaygroundError(Exception):
    """The playground cannot do this now. `cure` is what to do about it, a command where there is one."""

    def __init__(self, message: str, cure: str = "") -> None:
        super().__init__(f"{message}. Cure: {cure}" if cure else message)
        self.cure = cure
