"""Whether a host's certificate is good for a name, as sshkey_cert_check_host() of OpenSSH decides it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mpshell.ssh.agent import string

if TYPE_CHECKING:
    from asyncssh.public_key import SSHOpenSSHCertificate

_HOST = 2


def is_certificate(key_type: str) -> bool:
    return key_type.endswith("-cert-v01@openssh.com")


def fault(
    certificate: SSHOpenSSHCertificate, blob: bytes, name: str, algorithms: Sequence[str]
) -> str | None:
    """Return the fault of a certificate of a known authority, None if it is good."""
    try:
        certificate.validate(_HOST, None)
    except ValueError as error:
        return str(error)
    principals = [str(principal) for principal in certificate.principals]
    if principals and name.lower() not in principals:
        return "it is for another name"
    algorithm = signature_algorithm(certificate.signing_key.public_data, blob)
    return None if algorithm in algorithms else f"it is signed with {algorithm}"


def signature_algorithm(authority: bytes, blob: bytes) -> str:
    """Return the algorithm of the signature at the end of a certificate."""
    _, _, signature = blob.rpartition(string(authority))
    size = int.from_bytes(signature[4:8], "big")
    return signature[8 : 8 + size].decode("ascii", "replace")
