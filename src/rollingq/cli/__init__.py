"""The command line: one file a command, found by name, imported when it is called."""
