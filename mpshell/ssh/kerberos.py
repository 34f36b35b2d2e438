"""Whether the user has credentials of Kerberos, with which ssh(1) may log in (GSSAPIAuthentication)."""

from __future__ import annotations

import os
from collections.abc import Mapping


def has_credentials(environ: Mapping[str, str]) -> bool:
    """Return whether a cache of tickets is named or at one of its usual places.

    Many systems have GSSAPIAuthentication on for everybody; without tickets ssh(1) goes on to the next method.
    """
    if environ.get("KRB5CCNAME"):
        return True
    if os.path.exists(f"/tmp/krb5cc_{os.getuid()}"):
        return True
    try:
        with open("/proc/keys", encoding="utf-8", errors="replace") as keys:
            return any("krb" in line for line in keys)
    except OSError:
        return False
