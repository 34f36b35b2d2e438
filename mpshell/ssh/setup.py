"""Interim: how a node is connected to, by AsyncSSH's own reading of the configuration."""

from __future__ import annotations

import getpass
import os
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh


@dataclass(frozen=True)
class Request:
    user: str | None
    connect_timeout: float
    options: tuple[str, ...]
    kex: str = "prefer"


@dataclass(frozen=True)
class Target:
    host: str
    port: int
    user: str
    options: Any
    key: Hashable
    connect_timeout: float
    notices: tuple[str, ...] = ()

    def validate(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        return False


@dataclass(frozen=True)
class Fallback:
    reason: str


class Setup:
    def __init__(self, request: Request, environ: Mapping[bytes, bytes] = os.environb) -> None:
        self._request = request
        self._configs: list[Any] = []
        self._over: dict[str, str] = {}
        words = list(request.options)
        self._why = ""
        while words:
            word = words.pop(0)
            if word == "-F":
                self._configs = [words.pop(0)]
            elif word.startswith("-F"):
                self._configs = [word[2:]]
            elif word in ("-oForwardAgent=no", "-oForwardX11=no"):
                continue
            else:
                self._why = word
        self._shared: dict[Any, Any] = {}
        self._keys: dict[str, Any] = {}

    def resolve(self, node: str) -> Target | Fallback:
        if self._why:
            return Fallback(self._why)
        user = self._request.user or ()
        text = Path(self._configs[0]).read_text() if self._configs else ""
        if "ProxyCommand" in text or "ProxyJump" in text or "RemoteCommand" in text:
            return Fallback("Proxy")
        cfg = asyncssh.config.SSHClientConfig.load(
            None,
            [Path(c) for c in self._configs],
            False,
            False,
            False,
            getpass.getuser(),
            user,
            node,
            (),
        )
        get = cfg.get
        files = tuple(get("IdentityFile", ()) or ())
        known = tuple(get("UserKnownHostsFile", ()) or ())
        alias = get("HostKeyAlias", None)
        name = get("User", getpass.getuser())
        key = (name, files, known, alias, str(get("KexAlgorithms", ())))
        options = self._shared.get(key)
        if options is None:
            keys = [asyncssh.read_private_key(f) for f in files if not str(f).endswith(".pub")]
            options = self._shared[key] = asyncssh.SSHClientConnectionOptions(
                config=None,
                username=name,
                client_keys=keys or None,
                known_hosts=asyncssh.read_known_hosts([str(k) for k in known]),
                host_key_alias=alias,
                agent_path=None,
                login_timeout=0,
                kex_algs=["curve25519-sha256"],
                gss_host=None,
                preferred_auth=["publickey"],
                compression_algs=None,
                encryption_algs=[
                    "aes128-gcm@openssh.com",
                    "chacha20-poly1305@openssh.com",
                    "aes128-ctr",
                ],
            )
        return Target(
            str(get("Hostname", node)),
            int(get("Port", 22)),
            name,
            options,
            key,
            float(self._request.connect_timeout),
        )
