"""Fixtures of the command line: the ssh server is that of the tests of ssh."""

from tests.ssh.conftest import ssh_server

__all__ = ["ssh_server"]
