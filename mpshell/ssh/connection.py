"""A connection that trusts host keys, and logs in, as ssh(1) does with the same configuration."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import asyncssh
from asyncssh.constants import MSG_IGNORE, MSG_KEXINIT
from asyncssh.packet import Boolean, PacketDecodeError, SSHPacket, SSHPacketLogger
from asyncssh.public_key import (
    SSHKeyPair,
    SSHLocalKeyPair,
    SSHOpenSSHCertificate,
    decode_ssh_certificate,
    decode_ssh_public_key,
)

from mpshell.ssh import algorithms, certificates, hostkeys
from mpshell.ssh.connecting import supported
from mpshell.ssh.hostkeys import Verdict
from mpshell.ssh.password import SentPassword
from mpshell.ssh.setup import Target, acceptable
from mpshell.wire.messages import FREED, REFUSED, TAKEN
from mpshell.wire.notices import NOTICE_REASON

#: Why a connection was given up before a login.
HOSTKEY, UNDECIDED, KEX = "hostkey", "undecided", "kex"

#: Keys that are offered where a password may follow: servers end a connection with the sixth failure.
_MOST_KEYS = 5

_COOKIE = 16

_NONE, _PUBLICKEY = b"none", b"publickey"

#: A notice, which the two key exchanges follow.
WEAKER_KEX = (
    "over a key exchange that is not quantum-safe, where ssh(1) would agree on one that is (ssh_kex "
    '"require" takes ssh(1) for these)'
)


class Refusal(NamedTuple):
    """The reason why this side has given up a connection, and the key concerned.

    UNDECIDED requires `Setup.settle`, KEX ssh(1): nothing has run, and there was no login.
    """

    reason: str
    detail: str
    blob: bytes = b""
    #: The host that it was about: the node, or one on the way.
    target: Target | None = None


class _Silence:
    """A log that makes no texts: AsyncSSH's own makes them before it looks whether anybody wants them."""

    def get_child(self, *context: object, **more: object) -> _Silence:
        return self

    def write(self, *message: object, **more: object) -> None:
        pass

    debug1 = debug2 = packet = debug = info = warning = error = write


_SILENCE = _Silence()


def _no_log(*about: object, **more: object) -> None:
    """Make no text about a packet."""


def silence(channel: asyncssh.SSHClientChannel[Any]) -> None:
    """Let a channel make no texts about its packets, one for each of a command's seven."""
    # On the object: AsyncSSH makes the channel, of its own class, and makes the text before it looks for a log.
    channel.log_sent_packet = channel.log_received_packet = _no_log  # type: ignore[method-assign]


class Connection(asyncssh.SSHClientConnection):
    """A connection to a target; `options.protocol_factory` is to be set before, as for any of AsyncSSH's."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: Target, **more: Any) -> None:
        target.options.host, target.options.port = target.host, target.port
        super().__init__(loop, target.options, **more)
        self.target = target
        self.refusal: Refusal | None = None
        self.notices: list[str] = []
        #: The line to append to the target's `new_hosts_file`.
        self.accepted: str | None = None
        #: Whether the host's key was known before: a password goes nowhere else.
        self.key_was_known = False
        #: The server's key as it was presented.
        self._presented = b""
        #: The keys that were offered for the login, None as long as none were.
        self._offered: tuple[bytes, ...] | None = None
        #: The one that is offered now.
        self._pair: SSHKeyPair | None = None
        #: A login without any proof is still to be asked for.
        self._owes_none = False
        #: Whether the last proof of the login was a key's.
        self._by_key = False
        #: The password, once it may be sent, which it is a single time.
        self._sending: SentPassword | None = None
        #: The mark of the password that the server has taken.
        self._password_mark: bytes | None = None
        self._has_asked = self._was_questioned = False
        #: When the server has last sent anything, after the login.
        self._heard_at = 0.0

    # -- the host's key -------------------------------------------------------------------------------

    def validate_server_host_key(self, key_data: bytes) -> asyncssh.SSHKey:
        """Return the key that a server has presented; HostKeyNotVerifiable when it is not trusted."""
        self._presented = key_data
        try:
            key = self._certified(key_data) or decode_ssh_public_key(self._plain(key_data))
        except ValueError as error:
            raise self._refused(HOSTKEY, f"the server's host key cannot be read: {error}") from None
        self._server_host_key = key
        bits = hostkeys.rsa_bits(key.public_data)
        smallest = self.target.profile.smallest_rsa
        if bits is not None and bits < smallest:
            raise self._refused(
                HOSTKEY, f"the host key has {bits} bits, and {smallest} are required"
            )
        return key

    def _plain(self, key_data: bytes) -> bytes:
        """Return the blob of a plain key, or of the one in a certificate, if it is trusted."""
        certificate = _certificate(key_data)
        blob = key_data if certificate is None else certificate.key.public_data
        target = self.target
        verdict = target.hosts.check_key(target.known_name, blob)
        if not target.ordered and verdict.state != hostkeys.KNOWN:
            state = hostkeys.REVOKED if verdict.state == hostkeys.REVOKED else hostkeys.UNDECIDED
            verdict = verdict._replace(state=state)
        self._judge(verdict, blob)
        return blob

    def _certified(self, key_data: bytes) -> asyncssh.SSHKey | None:
        """Return the key in a certificate of an authority that is known, None when it counts as a plain key."""
        certificate = _certificate(key_data)
        if certificate is None:
            return None
        blob, profile = certificate.key.public_data, self.target.profile
        verdict = self.target.hosts.check_authority(
            self.target.known_name, certificate.signing_key.public_data, blob
        )
        if verdict.state == hostkeys.REVOKED:
            self._judge(verdict, blob)
            return certificate.key
        if verdict.state != hostkeys.KNOWN:
            return None
        name = profile.alias or self.target.host
        if certificates.fault(certificate, key_data, name, profile.ca_signatures) is not None:
            # ssh(1) goes on with the key in it as a plain one.
            return None
        self.key_was_known = True
        return certificate.key

    def _judge(self, verdict: Verdict, blob: bytes) -> None:
        """Accept or refuse a key, by the verdict on it."""
        target = self.target
        if verdict.state == hostkeys.UNDECIDED:
            raise self._refused(UNDECIDED, "the host's key is not among those found by key", blob)
        if not acceptable(target.profile, verdict.state):
            raise self._refused(HOSTKEY, self._words(verdict, blob), blob)
        self.key_was_known = verdict.state == hostkeys.KNOWN
        if verdict.state == hostkeys.UNKNOWN:
            hashed = target.profile.hash_known_hosts
            self.accepted = target.hosts.accept(target.known_name, blob, hashed)

    def _words(self, verdict: Verdict, blob: bytes) -> str:
        name, kind = self.target.known_name, hostkeys.key_type(blob)
        if verdict.state == hostkeys.UNKNOWN:
            return f"no host key is known for {name}, and it has presented one of type {kind}"
        place = "" if verdict.line is None else f" ({self.target.hosts.place(verdict.line)})"
        if verdict.state == hostkeys.REVOKED:
            return f"the host key of {name} is revoked{place}"
        return f"the host key of {name} has changed{place}"

    def _refused(self, reason: str, detail: str, blob: bytes = b"") -> Exception:
        self.refusal = Refusal(reason, detail, blob, self.target)
        return asyncssh.HostKeyNotVerifiable(detail)

    # -- the key exchange -----------------------------------------------------------------------------

    def _on_kexinit(self, pkttype: int, pktid: int, packet: SSHPacket) -> Awaitable[None] | None:
        if not self._session_id and not self._check_kex(packet.get_remaining_payload()):
            self._force_close(asyncssh.KeyExchangeFailed("no quantum-safe key exchange"))
            return None
        return super()._process_kexinit(pkttype, pktid, packet)

    def _check_kex(self, payload: bytes) -> bool:
        """Note a weaker key exchange than ssh(1) would take; return whether the connection may go on."""
        try:
            packet = SSHPacket(payload)
            packet.get_bytes(_COOKIE)
            server = [name.decode("ascii", "replace") for name in packet.get_namelist()]
        except PacketDecodeError:
            return True  # AsyncSSH finds it too, and ends the connection
        wanted = self.target.profile.kex
        ours = supported("kexalgorithms", wanted)
        better = algorithms.weaker_kex(wanted, ours, server)
        if better is None:
            return True
        taken = algorithms.agreed(ours, server) or "none"
        if self.target.require_quantum_safe:
            self.refusal = Refusal(KEX, f"{better} is needed, and AsyncSSH has only {taken}")
            return False
        self.notices.append(f"{WEAKER_KEX}{NOTICE_REASON}{taken} in place of {better}")
        return True

    _packet_handlers = {
        **asyncssh.SSHClientConnection._packet_handlers,
        MSG_KEXINIT: _on_kexinit,
    }

    # -- packets ----------------------------------------------------------------------------------------

    def _reset_keepalive_timer(self) -> None:
        """Note that the server has sent something; the timer checks that. AsyncSSH makes one each time."""
        self._heard_at = self._loop.time()
        if self._keepalive_timer is None:
            super()._reset_keepalive_timer()

    def _keepalive_timer_callback(self) -> None:
        """Ask the server for a sign of life if it has sent nothing for the whole interval."""
        left = self._heard_at + self._keepalive_interval - self._loop.time()
        if left > 0:
            self._keepalive_timer = self._loop.call_later(left, self._keepalive_timer_callback)
        else:
            super()._keepalive_timer_callback()

    @property
    def logger(self) -> Any:
        """The log of the connection, its channels and its login."""
        return _SILENCE

    log_sent_packet = log_received_packet = staticmethod(_no_log)

    def send_packet(
        self, pkttype: int, *args: bytes, handler: SSHPacketLogger | None = None
    ) -> None:
        """Send a packet, without the empty one that AsyncSSH puts before each.

        It hides the state of a cipher in CBC mode (RFC 4251, 9.3.1), and ssh(1) sends none with the others.
        """
        if pkttype != MSG_IGNORE or self._enc_alg_cs.endswith(b"-cbc"):
            super().send_packet(pkttype, *args, handler=handler)

    # -- the login --------------------------------------------------------------------------------------

    async def public_key_auth_requested(self) -> SSHKeyPair | None:
        if self._offered is None:
            pairs = await self.target.identities.keys()
            self._offered = self.target.identities.blobs
            most = len(pairs) if self.target.password is None else _MOST_KEYS
            # Copies: AsyncSSH notes the server's algorithm of signatures in them.
            self._client_keys = [self._own(pair) for pair in pairs[:most]]
        self._pair = await super().public_key_auth_requested()
        return self._pair

    async def send_userauth_request(
        self, method: bytes, *args: bytes, key: Any = None, trivial: bool = True
    ) -> None:
        """Send a request for a login; for a key that servers are likely to take with its signature at once."""
        pair = self._pair
        if method != _PUBLICKEY or key or not (pair and self.target.identities.is_likely(pair)):
            await super().send_userauth_request(method, *args, key=key, trivial=trivial)
            return
        try:
            await super().send_userauth_request(
                method, Boolean(True), *args[1:], key=pair, trivial=False
            )
        except ValueError:
            # An algorithm that the library here does not sign with.
            self.try_next_auth()

    def _own(self, pair: SSHKeyPair) -> SSHKeyPair:
        """Return a copy of a key pair, with its algorithms in the order of the configuration."""
        mine = copy.copy(pair)
        order = {name.encode(): at for at, name in enumerate(self.target.profile.signatures)}
        mine.sig_algorithms = sorted(pair.sig_algorithms, key=lambda a: order.get(a, len(order)))
        return mine

    @property
    def used_password(self) -> bool:
        """Whether the host was sent the password."""
        return self._sending is not None or self._password_mark is not None

    async def password_auth_requested(self) -> str | None:
        """Return the password once, when it may be sent; None when this host gets none."""
        password = self.target.password
        if password is None or self._has_asked:
            return None
        self._has_asked = True
        self._sending = await password.permitted(self.key_was_known)
        return None if self._sending is None else self._sending.secret.reveal()

    async def kbdint_auth_requested(self) -> str | None:
        password = self.target.password
        if password is None or self._has_asked or not self._kbdint_auth or self._was_questioned:
            return None
        # Once: if a server refuses the method without a question, try the next one.
        self._was_questioned = True
        return "" if password.may_get_it(self.key_was_known) else None

    async def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> Sequence[str] | None:
        if not prompts:
            return []
        if len(prompts) > 1 or "password" not in prompts[0][0].lower():
            return None
        text = await self.password_auth_requested()
        return None if text is None else [text]

    def try_next_auth(self, *, next_method: bool = False) -> None:
        self._note(REFUSED)
        self._pair = None
        if self._auth is None and self._auth_methods == [_NONE] and self._begins_with_a_key:
            # Where all others have taken the key it is not asked first whether any is needed.
            self._auth_methods = [_PUBLICKEY]
            self._owes_none = True
        elif self._owes_none and len(self._auth_methods) <= next_method:
            self._owes_none = False
            self._auth_methods.append(_NONE)
        super().try_next_auth(next_method=next_method)

    @property
    def _begins_with_a_key(self) -> bool:
        methods = self._preferred_auth or ()
        return methods[:1] == [_PUBLICKEY] and self.target.identities.first_is_likely

    def logged_in(self) -> None:
        """Note that the server has let the user in."""
        self._note(TAKEN)
        if self._sending is not None:
            self._password_mark = self._sending.mark
        pair, self._pair = self._pair, None
        self._by_key = pair is not None
        if isinstance(pair, SSHLocalKeyPair):
            self.target.identities.taken = pair.public_data

    def _note(self, event: str) -> None:
        """Note how the server has answered the password."""
        if self._sending is not None:
            self._sending.answered(event)

    def _cleanup(self, exc: Exception | None) -> None:
        # In place of an answer: a server ends the connection after too many failures.
        self._note(FREED if exc is None else REFUSED)
        super()._cleanup(exc)

    # -- for another command ----------------------------------------------------------------------------

    def may_stay(self, with_password: bool) -> bool:
        """Return whether it may serve later commands: its key or password can be checked again."""
        return with_password if self.used_password else self._by_key

    def rest(self) -> None:
        """Hold no private key and no password while no command runs over it."""
        self._client_keys = []
        self._sending = None
        if self.target.password is not None:
            self.target = replace(self.target, password=None)

    def serves(self, target: Target, with_password: bool) -> bool:
        """Return whether a new connection to a target of the same profile would be the same as this one.

        The keys of the user have to be those of the login, and the key of the host a known one; the password
        that has opened it, if any, has to be given again (`with_password`).
        """
        mark, password = self._password_mark, target.password
        if mark is not None and not (with_password and password and password.has_mark(mark)):
            return False
        if self._offered is None:
            # No key was asked for: a password alone has opened it.
            if mark is None:
                return False
        elif self._offered != target.identities.blobs:
            return False
        before, self.target = self.target, target
        # Files that have not changed are one object.
        return before.hosts is target.hosts or self._is_known()

    def _is_known(self) -> bool:
        """Return whether the files know the host's key now; no new key is accepted here."""
        try:
            if self._certified(self._presented) is not None:
                return True
            certificate = _certificate(self._presented)
        except (ValueError, asyncssh.HostKeyNotVerifiable):
            return False
        blob = self._presented if certificate is None else certificate.key.public_data
        verdict = self.target.hosts.check_key(self.target.known_name, blob)
        return verdict.state == hostkeys.KNOWN

    @property
    def auth_notes(self) -> str:
        """Why keys or the password were not offered, "" when all were."""
        notes = list(self.target.identities.notes)
        if self.target.password is not None:
            notes.append(self.target.password.why_not(self.key_was_known))
        return "; ".join(note for note in notes if note)


def _certificate(blob: bytes) -> SSHOpenSSHCertificate | None:
    """Return the certificate of a blob, None for a plain key; ValueError when it cannot be read."""
    if not certificates.is_certificate(hostkeys.key_type(blob)):
        return None
    found = decode_ssh_certificate(blob)
    return found if isinstance(found, SSHOpenSSHCertificate) else None
