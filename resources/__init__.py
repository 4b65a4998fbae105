"""Icons, fonts and themes."""
