"""ClusterShell's module paths in lower case, where `mpshell` has no module of that name.

`mpshell.engine` and `mpshell.worker` look here for modules that are not in their own folders (their
`__path__`).
"""
