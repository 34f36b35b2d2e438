"""The command `mpshell`: options, nodes, a run and what is shown of it; on the public API alone."""
