"""Consoles on the screen: pictures and terminals in tabs, windows, tiles and on the wall."""
