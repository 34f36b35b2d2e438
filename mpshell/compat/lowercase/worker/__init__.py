"""Found as part of `mpshell.worker`."""
