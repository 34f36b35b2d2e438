"""Found as part of `mpshell.engine`."""
