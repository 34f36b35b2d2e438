"""Known host keys: whether a presented key is known, unknown, changed or revoked, by the rules of ssh(1).

    files ──► lines, by key and by name ──► `check_key(name, key)` ──► KNOWN, UNKNOWN, CHANGED, REVOKED

Lines are found by the presented key: a hashed name is computed only for the few lines that hold that key, not
for the whole file. To distinguish unknown from changed, all hashed lines have to be compared with the name
(`slices`), which is done only if a key is not known. Pure except for reading the files.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from mpshell.ssh.text import match_hostname

KNOWN, UNKNOWN, CHANGED, REVOKED, UNDECIDED = "known", "unknown", "changed", "revoked", "undecided"

_PLAIN, _AUTHORITY, _REVOKED = b"", b"@cert-authority", b"@revoked"

#: The most hashed lines that are compared at once, at a fraction of the cost of a connection; more need
#: `slices`.
AT_ONCE = 64

#: The number of lines between two turns of a loop.
_SLICE = 500

#: Bytes of the end of a key in base64 by which it is found: more than 200 bits of it.
_END = 40

_DEFAULT_PORT = 22

#: The number of read files that are kept, by their names and data of stat(2).
_read: dict[tuple[object, ...], KnownHosts] = {}
_KEPT = 8


class Line(NamedTuple):
    """A line of a file: marker, names, type and key in base64 as they stand there, and all of it."""

    marker: bytes
    names: bytes
    type: bytes
    key: bytes
    text: bytes


class Verdict(NamedTuple):
    """The verdict on a presented key, and the line that it is based on."""

    state: str
    line: Line | None = None


def host_name(host: str, port: int, alias: str | None) -> str:
    """Return the name under which a host's key is looked up (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
    if alias is not None:
        return alias.lower()
    return host.lower() if port == _DEFAULT_PORT else f"[{host.lower()}]:{port}"


def without_port(name: str) -> str | None:
    """Return the name without its port, None for one that has none."""
    return name[1:].rpartition("]:")[0] if name.startswith("[") and "]:" in name else None


def key_type(blob: bytes) -> str:
    """Return the type at the beginning of a key's blob, "" for an invalid blob."""
    try:
        return _strings(blob, 1)[0].decode()
    except ValueError:
        return ""


def rsa_bits(blob: bytes) -> int | None:
    """Return the size of an RSA key, None for another key."""
    if key_type(blob) != "ssh-rsa":
        return None
    try:
        return int.from_bytes(_strings(blob, 3)[2], "big").bit_length()
    except ValueError:
        return 0


def _strings(blob: bytes, count: int) -> list[bytes]:
    """Return the first strings of a blob (RFC 4251, 5); ValueError when it is too short."""
    found: list[bytes] = []
    for _ in range(count):
        size = int.from_bytes(blob[:4], "big")
        if len(blob) < 4 + size or len(blob) < 4:
            raise ValueError("a key ends too early")
        found.append(blob[4 : 4 + size])
        blob = blob[4 + size :]
    return found


class KnownHosts:
    """The lines of some files."""

    def __init__(self, files: Iterable[str]) -> None:
        self._files: list[tuple[str, list[bytes]]] = []
        #: Lines whose name is not hashed or that have a marker, by the key that they hold.
        self._by_key: dict[bytes, list[Line]] = {}
        #: The others by the end of their text, which is that of the key unless something follows it.
        self._by_end: Mapping[bytes, list[bytes] | bytes] = {}
        self._by_name: dict[str, list[Line]] = {}
        self._patterns: list[Line] = []
        self._hashed: list[bytes] = []
        #: Lines with a hashed name that were found for a name, by the name.
        self._scanned: dict[str, tuple[Line, ...]] = {}
        for file in files:
            try:
                with open(file, "rb") as opened:
                    texts = opened.read().split(b"\n")
            except OSError:
                # As ssh(1) does: without its lines no key is known.
                continue
            self._files.append((file, texts))
            self._add_all(texts)

    def _add_all(self, texts: list[bytes]) -> None:
        """Take lines: those with a hashed name are not examined, which is the main cost of a large file."""
        hashed = [text for text in texts if text[:3] == b"|1|"]
        # The end of a file that has nothing else is an empty text.
        if len(hashed) < len(texts) - (texts[-1] == b""):
            for text in texts:
                if text[:3] != b"|1|" and (line := parse(text)) is not None:
                    self._add(line)
        if self._hashed:
            self._hashed += hashed
            self._index_by_end()
        elif hashed:
            self._hashed = hashed
            self._by_end = {text[-_END:]: text for text in hashed}
            if len(self._by_end) < len(hashed):
                self._index_by_end()

    def _index_by_end(self) -> None:
        """The same for several lines with one key: hosts that share it, or two files."""
        found: dict[bytes, list[bytes]] = {}
        for text in self._hashed:
            found.setdefault(text[-_END:], []).append(text)
        self._by_end = found

    def _add(self, line: Line) -> None:
        self._by_key.setdefault(line.key, []).append(line)
        if line.names.startswith(b"|1|"):
            self._hashed.append(line.text)
        elif b"*" in line.names or b"?" in line.names or b"!" in line.names:
            self._patterns.append(line)
        else:
            for name in os.fsdecode(line.names).lower().split(","):
                self._by_name.setdefault(name, []).append(line)

    def _with_key(self, blob: bytes) -> Iterator[Line]:
        """Return the lines that hold a key, except those without a marker whose name is hashed."""
        return filter(holds_key, self._by_key.get(base64.b64encode(blob), ()))

    def _hashed_with_key(self, blob: bytes) -> Iterator[Line]:
        """Return the lines without a marker that hold a key and have a hashed name."""
        key = base64.b64encode(blob)
        found = self._by_end.get(key[-_END:], ())
        first = [found] if isinstance(found, bytes) else found
        for text in first:
            yield from _holding(text, key)
        # Text follows the key there: searched only if none of the others was the right one.
        for text in self._hashed:
            if key in text and text not in first:
                yield from _holding(text, key)

    def place(self, line: Line) -> str:
        """Return where a line stands."""
        for file, texts in self._files:
            if line.text in texts:
                return f"{file} line {texts.index(line.text) + 1}"
        return "accepted in this run"

    @classmethod
    def of(cls, files: Iterable[str]) -> KnownHosts:
        """Return the present content of files; unchanged ones are not read again."""
        names = tuple(files)
        key = tuple(_signature(name) for name in names)
        found = _read.get(key)
        if found is None:
            if len(_read) >= _KEPT:
                del _read[next(iter(_read))]
            found = _read[key] = cls(names)
        return found

    def accept(self, name: str, blob: bytes, hashed: bool) -> str:
        """Take a new key as known from now on; return the line for the file, without its end."""
        fields = key_type(blob).encode(), base64.b64encode(blob)
        plain = parse(b" ".join((os.fsencode(name), *fields)))
        if plain is not None:
            self._add(plain)
        names = hash_name(name) if hashed else os.fsencode(name)
        return os.fsdecode(b" ".join((names, *fields)))

    def check_key(self, name: str, blob: bytes) -> Verdict:
        """Return the verdict on a plain key of a host."""
        verdict = self._check(name, blob)
        if verdict.state == UNKNOWN and (plain := without_port(name)) is not None:
            # A key that is known under the name without the port counts too, and nothing else there.
            other = self._match(plain, blob)
            if other is not None and other.state == KNOWN:
                return other
        return verdict

    def _check(self, name: str, blob: bytes) -> Verdict:
        found = self._match(name, blob)
        if found is not None:
            return found
        lines = self._known_lines(name)
        if lines is None:
            return Verdict(UNDECIDED)
        for line in lines:
            if line.marker == _PLAIN:
                return Verdict(CHANGED, line)
        return Verdict(UNKNOWN)

    def _match(self, name: str, blob: bytes) -> Verdict | None:
        """Return the verdict of the lines with that very key, None when none is for the name."""
        known: Line | None = None
        for line in self._with_key(blob):
            if line.marker != _AUTHORITY and self._is_for(line, name):
                if line.marker == _REVOKED:
                    return Verdict(REVOKED, line)
                known = known or line
        if known is None:
            known = next(
                (line for line in self._hashed_with_key(blob) if self._is_for(line, name)), None
            )
        return None if known is None else Verdict(KNOWN, known)

    def check_authority(self, name: str, authority: bytes, blob: bytes) -> Verdict:
        """Return the verdict on the authority that has signed a host's certificate.

        `blob` is the key in the certificate, which may itself be revoked.
        """
        verdict = self._check_authority(name, authority, blob)
        if verdict.state == UNKNOWN and (plain := without_port(name)) is not None:
            other = self._check_authority(plain, authority, blob)
            return other if other.state == KNOWN else verdict
        return verdict

    def _check_authority(self, name: str, authority: bytes, blob: bytes) -> Verdict:
        trusted: Line | None = None
        for key in (authority, blob):
            for line in self._with_key(key):
                if line.marker == _PLAIN or not self._is_for(line, name):
                    continue
                if line.marker == _REVOKED:
                    return Verdict(REVOKED, line)
                if key is authority:
                    trusted = trusted or line
        return Verdict(UNKNOWN) if trusted is None else Verdict(KNOWN, trusted)

    def known_types(self, name: str) -> tuple[frozenset[str], bool] | None:
        """Return the types of the keys known for a name, and whether an authority is known for it.

        None when the lines with hashed names would have to be looked through first.
        """
        lines = self._known_lines(name)
        if lines is None:
            return None
        types = frozenset(plain_type(line) for line in lines if line.marker == _PLAIN)
        return types, any(line.marker == _AUTHORITY for line in lines)

    def _known_lines(self, name: str) -> list[Line] | None:
        """Return all lines for a name, None when that needs a scan."""
        hashed = self._scanned.get(name)
        if hashed is None:
            if len(self._hashed) > AT_ONCE:
                return None
            hashed = self._scanned[name] = tuple(scan(self._hashed, name))
        lines = [*self._by_name.get(name, ()), *hashed]
        lines += (line for line in self._patterns if self._is_for(line, name))
        return [line for line in lines if holds_key(line)]

    def _is_for(self, line: Line, name: str) -> bool:
        if line.names.startswith(b"|1|"):
            return is_hash_of(line.names, name)
        return match_hostname(name, os.fsdecode(line.names))

    def slices(self, name: str) -> Iterator[None]:
        """Look through the hashed lines for a name, some of them between one yield and the next."""
        found: list[Line] = []
        for at in range(0, len(self._hashed), _SLICE):
            found += scan(self._hashed[at : at + _SLICE], name)
            yield
        self._scanned[name] = tuple(found)


def _signature(file: str) -> tuple[object, ...]:
    try:
        about = os.stat(file)
    except OSError:
        return (file,)
    return file, about.st_dev, about.st_ino, about.st_mtime_ns, about.st_size


def parse(text: bytes) -> Line | None:
    """Return a line of known_hosts, None for one that holds no key."""
    fields = text.split(None, 4)
    marker = _PLAIN
    if not fields or fields[0].startswith(b"#"):
        return None
    if fields[0].startswith(b"@"):
        marker = fields.pop(0)
        if marker not in (_AUTHORITY, _REVOKED):
            return None
    if len(fields) < 3:
        return None
    return Line(marker, fields[0], fields[1], fields[2], text)


def _holding(text: bytes, key: bytes) -> Iterator[Line]:
    """Return the line of a text if it has no marker and holds a key, in base64."""
    line = parse(text)
    if line is not None and line.marker == _PLAIN and line.key == key and holds_key(line):
        yield line


def holds_key(line: Line) -> bool:
    """Return whether a line's key is one of the type that the line names; others count for nothing."""
    try:
        return key_type(base64.b64decode(line.key, validate=True)) == plain_type(line)
    except ValueError:
        return False


def plain_type(line: Line) -> str:
    """Return the type of a line's key: the names of RSA's signatures are taken for it too."""
    named = line.type.decode(errors="replace")
    return "ssh-rsa" if named.startswith("rsa-sha2-") else named


def scan(texts: Iterable[bytes], name: str) -> Iterator[Line]:
    """Return the lines of some with hashed names that are for a name."""
    for text in texts:
        line = parse(text)
        if line is not None and is_hash_of(line.names, name):
            yield line


def is_hash_of(names: bytes, name: str) -> bool:
    """Return whether a hashed name of known_hosts is that of a host."""
    try:
        _, _, salt, digest = names.split(b"|")
        return hmac.digest(binascii.a2b_base64(salt), os.fsencode(name), "sha1") == (
            binascii.a2b_base64(digest)
        )
    except ValueError:
        return False


def hash_name(name: str) -> bytes:
    """Return a host's name as `HashKnownHosts` has it written."""
    salt = os.urandom(20)
    digest = hmac.digest(salt, os.fsencode(name), "sha1")
    return b"|1|" + base64.b64encode(salt) + b"|" + base64.b64encode(digest)
