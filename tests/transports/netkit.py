"""A stand-in for rsh(1) and rcp(1) of netkit, for machines whose system has dropped them.

    netkit.py rsh [-dnKx] [-l USER] HOST COMMAND...
    netkit.py rcp [-dkprx] SOURCE... TARGET

It takes the same command line, speaks the protocol of rcmd(3) and that of rcp(1) with the same messages and
exit statuses, and needs root for a privileged port, as the real ones do. As a node's rcp (-f, -t) it is the
other side of a copy.
"""

from __future__ import annotations

import contextlib
import getopt
import getpass
import os
import re
import shlex
import signal
import socket
import stat
import sys
import threading
from pathlib import Path
from typing import BinaryIO, NoReturn

PORT = 514


def fail(text: str) -> NoReturn:
    print(text, file=sys.stderr, flush=True)
    raise SystemExit(1)


# -- rcmd(3) ----------------------------------------------------------------------------------------


def privileged(family: int) -> socket.socket:
    """Return a socket with a port below 1024: the server trusts no other."""
    for port in range(1023, 511, -1):
        sock = socket.socket(family)
        try:
            sock.bind(("", port))
        except PermissionError as error:
            sock.close()
            fail(f"rcmd: socket: {error.strerror}")
        except OSError:
            sock.close()
            continue
        return sock
    fail("rcmd: socket: All ports in use")


def connect(host: str) -> socket.socket:
    """Connect to the server of a host; a port with a lingering last connection is passed over."""
    try:
        found = socket.getaddrinfo(host, PORT, type=socket.SOCK_STREAM)
    except OSError:
        fail(f"{host}: Unknown host")
    error: OSError | None = None
    for family, _, _, _, address in found:
        for _ in range(64):
            sock = privileged(family)
            try:
                sock.connect(address)
            except OSError as failed:
                sock.close()
                error = failed
                if not isinstance(failed, FileExistsError) and failed.errno != 99:
                    break  # neither EADDRINUSE nor EADDRNOTAVAIL
            else:
                return sock
    fail(f"{host}: {error.strerror if error else 'Unknown host'}")


def rcmd(
    host: str, user: str, command: str, *, with_stderr: bool
) -> tuple[socket.socket, socket.socket | None]:
    """Start a command on a host; return its connection, and the second one that has its stderr."""
    sock = connect(host)
    listener, second = None, None
    if with_stderr:
        listener = privileged(sock.family)
        listener.listen(1)
    port = str(listener.getsockname()[1]) if listener else ""
    words = (port, getpass.getuser(), user, command)
    sock.sendall(os.fsencode(f"{words[0]}\0"))
    if listener:
        second, _ = listener.accept()
        listener.close()
    sock.sendall(b"".join(os.fsencode(word) + b"\0" for word in words[1:]))
    answer = sock.recv(1)
    if answer != b"\0":
        with contextlib.suppress(OSError):
            sys.stderr.buffer.write(sock.makefile("rb").read())
        raise SystemExit(1)
    return sock, second


# -- rsh(1) -----------------------------------------------------------------------------------------


def send_input(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := os.read(0, 65536):
            sock.sendall(data)
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


def copy_out(sock: socket.socket, fd: int) -> None:
    with contextlib.suppress(ConnectionError):
        while data := sock.recv(65536):
            while data:
                data = data[os.write(fd, data) :]


def rsh(words: list[str]) -> None:
    user, without_input = getpass.getuser(), False
    options, rest = getopt.getopt(words, "8KLdenxk:l:")
    for name, value in options:
        user = value if name == "-l" else user
        without_input = without_input or name == "-n"
    if len(rest) < 2:
        fail("usage: rsh [-nd] [-l login] host [command]")
    sock, second = rcmd(rest[0], user, " ".join(rest[1:]), with_stderr=True)
    assert second is not None

    def forward(number: int, frame: object) -> None:
        second.send(bytes([number]))

    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, forward)
    if not without_input:  # as netkit's does, -n sends no end of the input
        threading.Thread(target=send_input, args=(sock,), daemon=True).start()
    errors = threading.Thread(target=copy_out, args=(second, 2))
    errors.start()
    copy_out(sock, 1)
    errors.join()
    os._exit(0)  # without a wait for the thread that reads stdin


# -- the protocol of rcp(1) -------------------------------------------------------------------------


class Peer:
    """The other side of a copy: lines, answers, data, and how many errors there were."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self.source = source
        self.sink = sink
        self.of_user = sink is not sys.stdout.buffer
        self.errors = 0

    def send(self, data: bytes) -> None:
        self.sink.write(data)
        self.sink.flush()

    def complain(self, text: str) -> None:
        """Report an error here and to the other side."""
        self.errors += 1
        message = os.fsencode(f"rcp: {text}\n")
        self.send(b"\1" + message)
        self.show(message)

    def show(self, message: bytes) -> None:
        """Print a message on the side of the user: the node's side has no stderr but the protocol's way."""
        if self.of_user:
            sys.stderr.buffer.write(message)
            sys.stderr.flush()

    def answered(self) -> bool:
        """Read an answer; return whether it is a good one. A fatal one ends the program."""
        kind = self.source.read(1)
        if kind == b"\0":
            return True
        if not kind:
            fail("rcp: lost connection")
        self.errors += 1
        self.show(self.source.readline())
        if kind == b"\2":
            raise SystemExit(1)
        return False


class Sender:
    """The side that reads files (-f on a node)."""

    def __init__(self, peer: Peer, preserve: bool, tree: bool) -> None:
        self.peer = peer
        self.preserve = preserve
        self.tree = tree

    def send(self, path: str) -> None:
        try:
            found = os.stat(path)
            if stat.S_ISDIR(found.st_mode) and self.tree:
                self._send_directory(path, found)
            elif stat.S_ISREG(found.st_mode):
                self._send_file(path, found)
            else:
                self.peer.complain(f"{path}: not a plain file")
        except OSError as error:
            self.peer.complain(f"{path}: {error.strerror}")

    def _send_times(self, found: os.stat_result) -> bool:
        if not self.preserve:
            return True
        self.peer.send(b"T%d 0 %d 0\n" % (found.st_mtime, found.st_atime))
        return self.peer.answered()

    def _send_directory(self, path: str, found: os.stat_result) -> None:
        names = sorted(os.listdir(path))
        name = os.fsencode(path.rstrip("/").rpartition("/")[2])
        if not self._send_times(found):
            return
        self.peer.send(b"D%04o %d %s\n" % (stat.S_IMODE(found.st_mode), 0, name))
        if not self.peer.answered():
            return
        for inner in names:
            self.send(f"{path}/{inner}")
        self.peer.send(b"E\n")
        self.peer.answered()

    def _send_file(self, path: str, found: os.stat_result) -> None:
        with open(path, "rb") as file:
            name = os.fsencode(path.rpartition("/")[2])
            if not self._send_times(found):
                return
            size = found.st_size
            self.peer.send(b"C%04o %d %s\n" % (stat.S_IMODE(found.st_mode), size, name))
            if not self.peer.answered():
                return
            while size:
                data = file.read(min(size, 1 << 20))
                if not data:  # it has become shorter: the size is promised
                    data = bytes(min(size, 1 << 20))
                self.peer.sink.write(data)
                size -= len(data)
            self.peer.send(b"\0")
            self.peer.answered()


class Receiver:
    """The side that writes files (-t on a node)."""

    def __init__(self, peer: Peer, preserve: bool) -> None:
        self.peer = peer
        self.preserve = preserve

    def receive(self, target: str, to_directory: bool) -> None:
        if to_directory and not os.path.isdir(target):
            self.peer.complain(f"{target}: Not a directory")
            raise SystemExit(1)
        self.peer.send(b"\0")
        times: tuple[int, int] | None = None
        while line := self.peer.source.readline():
            kind, rest = line[:1], line[1:].rstrip(b"\n")
            if kind in b"\1\2":
                self.peer.errors += 1
                self.peer.show(line[1:])
                if kind == b"\2":
                    raise SystemExit(1)
            elif kind == b"E":
                self.peer.send(b"\0")
                return
            elif kind == b"T":
                modified, _, accessed, _ = rest.split()
                times = (int(accessed), int(modified))
                self.peer.send(b"\0")
            else:
                self._receive_one(target, kind, rest, times)
                times = None

    def _receive_one(
        self, target: str, kind: bytes, rest: bytes, times: tuple[int, int] | None
    ) -> None:
        found = re.fullmatch(rb"([0-7]{4}) (\d+) (.+)", rest, re.S)
        if found is None or kind not in b"CD" or b"/" in found[3] or found[3] in (b".", b".."):
            self.peer.send(b"\2rcp: protocol screwup: %s\n" % rest)
            raise SystemExit(1)
        mode, size, name = int(found[1], 8), int(found[2]), os.fsdecode(found[3])
        path = f"{target}/{name}" if os.path.isdir(target) else target
        try:
            if kind == b"D":
                self._receive_directory(path, mode)
            else:
                self._receive_file(path, mode, size)
            if times is not None:
                os.utime(path, times)
        except OSError as error:
            self.peer.complain(f"{path}: {error.strerror}")

    def _receive_directory(self, path: str, mode: int) -> None:
        if os.path.isdir(path):
            if self.preserve:
                os.chmod(path, mode)
        else:
            os.mkdir(path, mode | 0o700)
        self.receive(path, to_directory=False)
        if self.preserve:
            os.chmod(path, mode)

    def _receive_file(self, path: str, mode: int, size: int) -> None:
        failed: OSError | None = None
        fd = os.open(path, os.O_WRONLY | os.O_CREAT, mode)
        with open(fd, "wb", buffering=0) as file:
            self.peer.send(b"\0")
            left = size
            while left:
                data = self.peer.source.read(min(left, 1 << 16))
                if not data:
                    fail("rcp: lost connection")
                left -= len(data)
                try:
                    while data and failed is None:
                        data = data[file.write(data) :]
                except OSError as error:
                    failed = error  # the rest is read and dropped: the next file follows it
            if failed is None and stat.S_ISREG(os.fstat(fd).st_mode):
                os.truncate(fd, size)
            if self.preserve:
                os.fchmod(fd, mode)
        good = self.peer.answered()
        if failed is not None:
            self.peer.complain(f"{path}: {failed.strerror}")
        elif good:
            self.peer.send(b"\0")


# -- rcp(1) -----------------------------------------------------------------------------------------


def remote(word: str) -> tuple[str, str, str] | None:
    """Return user, host and path of a remote name, or None for a local one."""
    found = re.match(r"(?:([^/@:\[]+)@)?(?:\[([^/\]]+)\]|([^/:\[]+)):(.*)", word, re.S)
    if found is None:
        return None
    return found[1] or getpass.getuser(), found[2] or found[3], found[4] or "."


def rcp(words: list[str]) -> int:
    pairs, names = getopt.getopt(words, "dfk:prtx")
    options = {name for name, _ in pairs}
    preserve, tree = "-p" in options, "-r" in options
    if "-f" in options or "-t" in options:
        peer = Peer(sys.stdin.buffer, sys.stdout.buffer)
        if "-t" in options:
            Receiver(peer, preserve).receive(names[0], "-d" in options)
        else:
            peer.answered()
            for name in names:
                Sender(peer, preserve, tree).send(name)
        return int(peer.errors > 0)
    if len(names) < 2:
        fail("usage: rcp [-p] f1 f2; or: rcp [-rp] f1 ... fn directory")
    *sources, target = names
    flags = " -r" * tree + " -p" * preserve
    errors = 0
    there = remote(target)
    if there is not None:
        if any(map(remote, sources)):
            fail("rcp: from node to node: not by this stand-in")
        user, host, path = there
        # Unquoted, as rcp(1) does: the shell of the node reads it.
        sock, _ = rcmd(
            host, user, f"rcp{flags}{' -d' * (len(sources) > 1)} -t {path}", with_stderr=False
        )
        peer = Peer(sock.makefile("rb"), sock.makefile("wb"))
        if peer.answered():
            for source in sources:
                Sender(peer, preserve, tree).send(source)
        return int(peer.errors > 0)
    if len(sources) > 1 and not Path(target).is_dir():
        fail(f"rcp: {target}: Not a directory")
    for source in sources:
        here = remote(source)
        if here is None:
            errors += os.system(f"cp{flags} -- {shlex.quote(source)} {shlex.quote(target)}") != 0
            continue
        sock, _ = rcmd(here[1], here[0], f"rcp{flags} -f {here[2]}", with_stderr=False)
        peer = Peer(sock.makefile("rb"), sock.makefile("wb"))
        Receiver(peer, preserve).receive(target, to_directory=False)
        errors += peer.errors
    return int(errors > 0)


def main() -> None:
    try:
        if sys.argv[1] == "rsh":
            rsh(sys.argv[2:])
        raise SystemExit(rcp(sys.argv[2:]))
    except getopt.GetoptError as error:
        fail(f"{sys.argv[1]}: {error}")
    except BrokenPipeError:
        fail(f"{sys.argv[1]}: lost connection")


if __name__ == "__main__":
    main()
