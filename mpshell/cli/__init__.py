"""The command `mpshell`: options, nodes, a run and its display; on the public API alone."""
