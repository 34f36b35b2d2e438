"""Engines on other hosts: the launcher, the switchboard on this host, and the outpost on each other one."""
