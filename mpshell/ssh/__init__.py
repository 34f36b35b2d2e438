"""The in-process ssh client's settings: configuration files, host keys, keys of the user.

Used in engines that host connections, and for a check before a run in the user's process. Nothing here
connects. AsyncSSH is imported by the modules that need it (`setup`, `connection`, `connecting`, `identities`),
which are imported late.
"""
