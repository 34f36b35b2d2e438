"""The keys that a user may log in with: files, certificates and the agent's, in the order of ssh(1).

Read once, at the first login of an engine, and never sent over a channel. A key with a passphrase that no agent
holds is not offered, and reported in `notes`: the user is not asked.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from typing import Any, NamedTuple

import asyncssh
from asyncssh.agent import SSHAgentKeyPair
from asyncssh.public_key import SSHCertificate, SSHKey, SSHKeyPair, SSHLocalKeyPair

from mpshell.ssh.agent import Agent, AgentError, AgentKey
from mpshell.ssh.hostkeys import key_type, rsa_bits


class IdentityFiles(NamedTuple):
    """The configuration of the user's keys."""

    #: Files of keys, with whether the user has named them.
    files: tuple[tuple[str, bool], ...]
    certificates: tuple[str, ...]
    agent: str | None
    only: bool
    smallest_rsa: int


class _Key(NamedTuple):
    """A key or certificate of a file: its blob, and its private key unless only an agent could have it."""

    path: str
    blob: bytes
    private: SSHKey | None
    certificate: SSHCertificate | None = None

    def pair(self) -> SSHKeyPair | None:
        if self.private is None:
            return None
        return SSHLocalKeyPair(self.private, None, self.certificate, None)


class Identities:
    """The key pairs of one configuration."""

    def __init__(self, wanted: IdentityFiles) -> None:
        self._wanted = wanted
        #: Why some keys are not offered.
        self.notes: list[str] = []
        #: The key of a file that the last server took, by its blob: others are likely to take it too.
        self.taken: bytes | None = None
        self._loading: asyncio.Task[list[SSHKeyPair]] | None = None
        self._agent: Agent | None = None

    async def keys(self) -> list[SSHKeyPair]:
        """Return the key pairs to offer, in order; the first call reads them, and the others wait for it."""
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(self._load())
        # The connection that waits may be given up; the others still want them.
        return await asyncio.shield(self._loading)

    def when_read(self, callback: Callable[[], object]) -> None:
        """Call back when the keys have been read, at once if they have been."""
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(self._load())
        if self._loading.done():
            callback()
        else:
            self._loading.add_done_callback(lambda loading: callback())

    @property
    def blobs(self) -> tuple[bytes, ...] | None:
        """The public keys and certificates that are offered, in order; None before they have been read."""
        loading = self._loading
        if loading is None or not loading.done() or loading.cancelled() or loading.exception():
            return None
        return tuple(pair.public_data for pair in loading.result())

    def is_likely(self, pair: SSHKeyPair) -> bool:
        """Return whether servers are likely to take a key, so that a signature with it is not in vain.

        No key of an agent is: its user may be asked for each signature.
        """
        return isinstance(pair, SSHLocalKeyPair) and pair.public_data == self.taken

    @property
    def first_is_likely(self) -> bool:
        """Whether the key that is offered first is likely to be taken."""
        blobs = self.blobs or ()
        return blobs[:1] == (self.taken,)

    async def _load(self) -> list[SSHKeyPair]:
        from_files = self._from_files(with_certificates=not self._wanted.certificates)
        held = await self._agent_keys()
        left = {key.blob: key for key in from_files}
        in_files = [blob for blob in held if left.pop(blob, None) is not None]
        others = [] if self._wanted.only else [blob for blob in held if blob not in in_files]
        pairs = [self._signed(certificate, from_files, held) for certificate in self._explicit()]
        pairs += [self._agent_pair(held[blob]) for blob in (*in_files, *others)]
        pairs += [key.pair() for key in left.values()]
        for key in left.values():
            if key.private is None:
                self._note(f"{key.path}: no agent holds its private key")
        return [pair for pair in pairs if pair is not None and self._is_large(pair)]

    def _explicit(self) -> list[SSHCertificate]:
        found = (self._certificate(path, True) for path in self._wanted.certificates)
        return [certificate for certificate in found if certificate is not None]

    def _is_large(self, pair: SSHKeyPair) -> bool:
        bits = rsa_bits(pair.key_public_data)
        return bits is None or bits >= self._wanted.smallest_rsa

    # -- files --------------------------------------------------------------------------------------

    def _from_files(self, with_certificates: bool) -> list[_Key]:
        """Return the keys of the files, each with its certificate after it."""
        found: dict[bytes, _Key] = {}
        for path, named in self._wanted.files:
            key = self._key(path, named)
            if key is None:
                continue
            found.setdefault(key.blob, key)
            made = self._certificate(f"{path}-cert.pub", False) if with_certificates else None
            if made is not None and made.key.public_data == key.blob:
                signed = _Key(path, made.public_data, key.private, made)
                found.setdefault(signed.blob, signed)
        return list(found.values())

    def _key(self, path: str, named: bool) -> _Key | None:
        private = self._read(path, named)
        if private is not None:
            return _Key(path, private.public_data, private)
        for public in (path, f"{path}.pub"):
            try:
                return _Key(path, asyncssh.read_public_key(public).public_data, None)
            except (OSError, ValueError):
                continue
        return None

    def _read(self, path: str, named: bool) -> SSHKey | None:
        """Return a private key, None when a file holds none that can be used."""
        try:
            with open(path, "rb") as file:
                about = os.fstat(file.fileno())
                if about.st_uid == os.getuid() and stat.S_IMODE(about.st_mode) & 0o077:
                    self._note(f"{path}: other users can read it, so it is not used")
                    return None
                data = file.read()
        except OSError as error:
            if named or not isinstance(error, FileNotFoundError):
                self._note(f"{path}: {error.strerror}")
            return None
        if b"PRIVATE KEY" not in data:
            return None
        try:
            key = asyncssh.import_private_key(data)
            if not key.algorithm.startswith(b"sk-"):
                return key
            self._note(f"{path}: a security key, which only ssh(1) can use")
        except asyncssh.KeyEncryptionError:
            self._note(f"{path}: has a passphrase, so only an agent can use it")
        except ValueError as error:
            # Without a passphrase an encrypted file is an import error too.
            locked = "passphrase" in str(error).lower()
            why = "has a passphrase, so only an agent can use it" if locked else str(error)
            self._note(f"{path}: {why}")
        return None

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _certificate(self, path: str, named: bool) -> SSHCertificate | None:
        try:
            return asyncssh.read_certificate(path)
        except OSError as error:
            if named:
                self._note(f"{path}: {error.strerror}")
        except ValueError as error:
            self._note(f"{path}: {error}")
        return None

    # -- the agent ----------------------------------------------------------------------------------

    async def _agent_keys(self) -> dict[bytes, AgentKey]:
        """Return the keys that the agent holds, by their blob, in its order."""
        if self._wanted.agent is None:
            return {}
        self._agent = Agent(self._wanted.agent)
        try:
            return {key.blob: key for key in await self._agent.keys()}
        except AgentError as error:
            self._note(str(error))
            self._close_agent()
            return {}

    def close(self) -> None:
        """Close the connection to the agent, and forget the keys; a later use has both anew."""
        self._loading = None
        self._close_agent()

    def _close_agent(self) -> None:
        if self._agent is not None:
            self._agent.close()

    def _agent_pair(self, key: AgentKey) -> SSHAgentKeyPair:
        agent: Any = self._agent  # it has the one method that the pair calls
        return SSHAgentKeyPair(agent, key_type(key.blob).encode(), key.blob, key.comment)

    def _signed(
        self, certificate: SSHCertificate, files: list[_Key], held: dict[bytes, AgentKey]
    ) -> SSHKeyPair | None:
        """Return a certificate of CertificateFile with the key pair that it is for."""
        blob = certificate.key.public_data
        if blob in held:
            made = self._agent_pair(held[blob])
            made.set_certificate(certificate)
            return made
        for key in files:
            if key.blob == blob and key.private is not None:
                return SSHLocalKeyPair(key.private, None, certificate, None)
        self._note("a certificate of CertificateFile has no private key here")
        return None
