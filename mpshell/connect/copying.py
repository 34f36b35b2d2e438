"""Copies of single files over a connection: by SFTP, as scp(1) makes them, or as the input of a script there.

    to a node:    SourceFile here ──► SFTP, written in place
                  SourceFile here ──► the script that `mpshell.worker.atomic` has for the receiving side
    from a node:  SFTP ──► TargetFile here, written in place, or WholeFile, renamed when it is complete

Names in SFTP are bytes that no shell reads, and a file has its mode from the moment it is made. Only the script
can make sure that a directory is its own. A directory goes over scp(1); nothing has been copied
then. In the thread of an engine, called by its loop; calls that may block are made in threads.
"""

from __future__ import annotations

import os
import posixpath
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any

import asyncssh
from asyncssh.constants import (
    FILEXFER_TYPE_DIRECTORY,
    FILEXFER_TYPE_REGULAR,
    FILEXFER_TYPE_UNKNOWN,
    FXF_CREAT,
    FXF_READ,
    FXF_WRITE,
)

from mpshell.connect import carrier, failures
from mpshell.connect.carrier import SshCarrier
from mpshell.connect.files import SourceFile, TargetFile, WholeFile
from mpshell.wire.templates import encode_template, fill

if TYPE_CHECKING:
    import asyncio

    from mpshell.connect.carrier import House
    from mpshell.connect.files import Files
    from mpshell.connect.login import Login
    from mpshell.engine.work import Execution
    from mpshell.ssh import setup
    from mpshell.wire.connect import FileCopy
    from mpshell.wire.messages import Template

    RemoteFile = asyncssh.SFTPClientFile

#: Bytes of one request, and how many requests may be unanswered: no more than that is on its way.
_REQUEST, _REQUESTS = 1 << 15, 32

#: Bytes of one call about a file here.
_PIECE = 1 << 18

#: The status of a copy that has failed, as scp(1) has it.
_FAILED = 1

#: Not cut off when it is opened: a node that is this host, or shares its files, may have opened the source.
_WRITING = FXF_WRITE | FXF_CREAT

#: A node may omit the type of a path.
_FILES = (FILEXFER_TYPE_REGULAR, FILEXFER_TYPE_UNKNOWN)

#: The rights of a file, and those that a node may have left out.
_RIGHTS, _USUAL = 0o777, 0o666


def name_of(address: str) -> str:
    """Return the name that ssh(1) has for a node of which scp(1) has the address [USER@][HOST]."""
    user, at, host = address.rpartition("@")
    return f"{user}{at}{host[1:-1]}" if host.startswith("[") and host.endswith("]") else address


def copy_carrier(
    family: House, execution: Execution, made: setup.Setup, place: setup.Target, files: Files, copy: FileCopy
) -> SshCarrier:  # fmt: skip
    """Return the carrier of a copy to a place, or from it."""
    kind = Fetching if copy.reverse else Feeding if copy.script else Sending
    return kind(family, execution, made, place, files, copy)


class CopyCarrier(SshCarrier):
    """The copy of one file; its status is 0 or `_FAILED`."""

    def __init__(
        self, family: House, execution: Execution, made: setup.Setup, place: setup.Target, files: Files,
        copy: FileCopy,
    ) -> None:  # fmt: skip
        super().__init__(family, execution, made, place)
        self._files = files
        self._copy = copy
        self._from = os.fsencode(copy.source)
        self._to = self._filled(copy.target)

    @property
    def _node(self) -> str:
        return name_of(self.execution.node)

    @property
    def has_input(self) -> bool:
        """It reads its file, and nothing else."""
        return False

    def _filled(self, template: Template) -> bytes:
        """Return the text of a template for this node."""
        execution = self.execution
        node, part = os.fsencode(execution.node), os.fsencode(execution.part)
        return fill([encode_template(template)], node, execution.index, part)[0]

    def _done(self, status: int = 0) -> None:
        """Be over, unless something else has ended it."""
        if self.state is not carrier.ENDED:
            self._finish()
            self._owner.ended(self.execution, status, False)

    def _failed(self, path: bytes, problem: str) -> None:
        """Write why it has failed, and be over."""
        if self.state is not carrier.ENDED:
            self._note(path, problem)
            self._done(_FAILED)

    def _note(self, path: bytes, problem: str) -> None:
        self._say(f"mpshell: {os.fsdecode(path)}: {problem}")


class Feeding(CopyCarrier):
    """A copy to a node by a script there, which reads the file and makes its target in one step."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._input = carrier.OPEN_INPUT
        self._has_room: asyncio.Future[None] | None = None

    def _command(self) -> bytes:
        return self._filled(self._copy.script)

    async def _open(self, way: Login) -> None:
        source = SourceFile(self._from, self._copy.first or 0)
        try:
            await self._files.open(source)
            if self.state is not carrier.OPENING or not await self._start(way):
                return
            while piece := await self._files.call(source.read, _PIECE):
                if not await self._feed(memoryview(piece)):
                    return
            self.close_input()
        except OSError as error:
            self._failed(self._from, error.strerror or str(error))
        finally:
            self._files.close(source)

    async def _feed(self, data: memoryview) -> bool:
        """Pass bytes to the script; return whether it reads on."""
        while data:
            taken = self.write(data)
            if taken is None:
                return False
            if not taken:
                self._has_room = self._loop.create_future()
                self.await_room(self._on_has_room)
                await self._has_room
            data = data[taken:]
        return True

    def _on_has_room(self) -> None:
        if self._has_room is not None and not self._has_room.done():
            self._has_room.set_result(None)

    def _finish(self) -> None:
        super()._finish()
        # The code that waits for room closes the file.
        self._on_has_room()


class SftpCarrier(CopyCarrier, ABC):
    """A copy over SFTP."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        #: The path on the node, and the one here.
        self._there, self._here = self._from, self._to
        if not self._copy.reverse:
            self._there, self._here = self._here, self._there
        self._there = _from_home(self._there)

    async def _open(self, way: Login) -> None:
        access = self._access
        try:
            client = await way.open_connection().start_sftp_client(path_encoding=None)
            if self.state is carrier.OPENING and access.login is way:
                access.channel_opened()
                self.state = carrier.RUNNING
                await self._transfer(client)
                client.exit()
                # All that was asked of the server is answered.
                access.ended()
                self._done()
        except (asyncssh.Error, OSError, ValueError) as error:
            # Until there is a session no file has been touched.
            if access.login is way and not access.try_anew():
                self._on_error(error)
        finally:
            if access.login is way:
                # Only after an error that the library did not expect: a node's answers are any bytes.
                self._fail(failures.cut(access.target))

    def _on_error(self, error: asyncssh.Error | OSError | ValueError) -> None:
        place = self._access.target
        gone = isinstance(error, (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection))
        if gone or not self._access.is_open:
            self._fail(failures.cut(place))
        elif isinstance(error, asyncssh.ChannelOpenError):
            self._fail(failures.refused(place, error))
        elif isinstance(error, asyncssh.Error):
            self._failed(self._there, error.reason)
        elif isinstance(error, OSError):
            self._failed(self._here, error.strerror or str(error))
        else:
            self._failed(self._there, f"the node's answer cannot be read: {error}")

    @abstractmethod
    async def _transfer(self, client: asyncssh.SFTPClient) -> None:
        """Make the copy; asyncssh.Error, OSError, ValueError if it fails."""


class Sending(SftpCarrier):
    """A copy to a node, written in place."""

    async def _transfer(self, client: asyncssh.SFTPClient) -> None:
        source = SourceFile(self._here)
        try:
            found: os.stat_result = await self._files.open(source)
            there = await _look(client, self._there)
            if there is not None and there.type == FILEXFER_TYPE_DIRECTORY:
                self._there = posixpath.join(self._there, os.fsencode(self._copy.name))
            mode = asyncssh.SFTPAttrs(permissions=found.st_mode & _RIGHTS)
            remote: RemoteFile = await client.open(
                self._there, _WRITING, mode, encoding=None, block_size=0
            )
            size = await self._write(source, remote, min(_REQUEST, client.limits.max_write_len))
            await self._complete(remote, size, found)
        finally:
            self._files.close(source)

    async def _write(self, source: SourceFile, remote: RemoteFile, length: int) -> int:
        """Write a whole file, and return its size."""
        offset = 0
        written: deque[asyncio.Task[int]] = deque()
        try:
            while piece := await self._files.call(source.read, _PIECE):
                for at in range(0, len(piece), length):
                    if len(written) >= _REQUESTS:
                        await written.popleft()
                    part = piece[at : at + length]
                    written.append(self._loop.create_task(remote.write(part, offset)))
                    offset += len(part)
            while written:
                await written.popleft()
        finally:
            for request in written:
                request.cancel()
        return offset

    async def _complete(self, remote: RemoteFile, size: int, found: os.stat_result) -> None:
        """Give a file its size and, with `preserve`, its mode and times; close it."""
        there = await remote.stat()
        if there.type in _FILES and (there.size or 0) > size:
            await remote.setstat(asyncssh.SFTPAttrs(size=size))
        if self._copy.preserve:
            times = {"atime": int(found.st_atime), "mtime": int(found.st_mtime)}
            kept = asyncssh.SFTPAttrs(permissions=found.st_mode & _RIGHTS, **times)
            try:
                await remote.setstat(kept)
            except asyncssh.SFTPError as error:
                # Another user's file that may be written: no failure for scp(1) either.
                self._note(self._there, f"mode and times: {error.reason}")
        await remote.close()


class Fetching(SftpCarrier):
    """A copy from a node."""

    async def _transfer(self, client: asyncssh.SFTPClient) -> None:
        found = await client.stat(self._there)
        whole = bool(self._copy.temporary)
        if found.type == FILEXFER_TYPE_DIRECTORY:
            if whole:
                self._failed(self._there, "is a directory, which cannot be copied atomically")
            else:
                self._finish()
                self._family.fall_back(self.execution, "a directory")
        elif found.type not in _FILES:
            self._failed(self._there, "not a regular file")
        else:
            remote: RemoteFile = await client.open(
                self._there, FXF_READ, encoding=None, block_size=0
            )
            await self._take(client, remote, whole)

    async def _take(self, client: asyncssh.SFTPClient, remote: RemoteFile, whole: bool) -> None:
        """Copy an open file."""
        found = await remote.stat()
        permissions = _USUAL if found.permissions is None else found.permissions
        mode = permissions & _RIGHTS
        target = TargetFile(self._here, mode)
        if whole:
            target = WholeFile(self._here, mode, self._filled(self._copy.temporary))
            mode = permissions & 0o7777
        try:
            await self._files.open(target)
            expected, length = found.size or 0, min(_REQUEST, client.limits.max_read_len)
            size = await self._read(remote, target, length, expected)
            await remote.close()
            kept = (mode, (found.atime or 0, found.mtime or 0)) if self._copy.preserve else None
            problem = await self._files.call(target.finish, expected if whole else size, kept)
            if problem is not None:
                self._note(self._here, problem)
        finally:
            self._files.close(target)

    async def _read(
        self, remote: RemoteFile, target: TargetFile, length: int, expected: int
    ) -> int:
        """Read a file to its end, which is expected at a size, and return its size."""
        asked: deque[asyncio.Task[bytes]] = deque()
        pieces: list[bytes] = []
        ahead = size = written = 0
        at_end = False
        try:
            while not at_end:
                while not asked or (len(asked) < _REQUESTS and ahead <= expected):
                    asked.append(self._loop.create_task(remote.read(length, ahead)))
                    ahead += length
                data = await _filled_up(remote, await asked.popleft(), length, size)
                at_end = len(data) < length
                pieces.append(data)
                size += len(data)
                if size - written >= _PIECE or at_end:
                    await self._files.call(target.write, b"".join(pieces))
                    pieces.clear()
                    written = size
        finally:
            for request in asked:
                request.cancel()
        return size


async def _filled_up(remote: RemoteFile, data: bytes, length: int, offset: int) -> bytes:
    """Return the bytes at an offset, of which a node may give fewer than there are; fewer at the end only."""
    while 0 < len(data) < length:
        more: bytes = await remote.read(length - len(data), offset + len(data))
        if not more:
            break
        data += more
    if len(data) > length:
        raise ValueError(f"{len(data)} bytes for {length}")
    return data


async def _look(client: asyncssh.SFTPClient, path: bytes) -> asyncssh.SFTPAttrs | None:
    """Return the attributes of a path on a node, None if there is nothing visible."""
    try:
        return await client.stat(path)
    except asyncssh.SFTPError as error:
        if isinstance(error, (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection)):
            raise
        return None


def _from_home(path: bytes) -> bytes:
    """Return a path with `~` in a form for SFTP, whose initial directory is the user's own."""
    if path == b"~":
        return b"."
    return path[2:].lstrip(b"/") or b"." if path.startswith(b"~/") else path
