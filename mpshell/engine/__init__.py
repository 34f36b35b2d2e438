"""The code of the fork server and of the engine processes. It knows no Task, worker or handler."""

#: ClusterShell's module names in lower case, for users: nothing is looked for there by an engine.
__path__.append(f"{__path__[0]}/../compat/lowercase/engine")
