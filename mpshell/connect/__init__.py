"""Connections that an engine makes itself, over AsyncSSH: loaded only in engines that host them."""
