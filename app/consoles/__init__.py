"""Protocol engines and sessions of consoles, without Qt."""
