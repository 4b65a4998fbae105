"""Backends: the world, one folder per platform behind one small contract. No Qt, no SQLite, no app."""
