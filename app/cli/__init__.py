"""The command line: the same services as the window, one async function per verb."""
