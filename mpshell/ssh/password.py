"""A password that is asked for once, held in memory only, and given to few.

It goes to hosts whose key is known, and to nobody any more once it has been refused three times: an account
that is locked after some failures stays open.
"""

from __future__ import annotations

from typing import NoReturn

#: Refusals after which it is not sent again.
MOST_REFUSALS = 3


class Secret:
    """A password that no text, trace or pickle shows; `reveal` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))


#: States of a password: it may be sent; it has been refused too often; there is none.
USABLE, STOPPED, ABSENT = "usable", "stopped", "absent"

#: Events: a host has taken it, a host has refused it.
TAKEN, REFUSED = "taken", "refused"


class Password:
    """Decides for each host whether the password of a run is sent to it.

    | state | TAKEN | REFUSED |
    |---|---|---|
    | USABLE | stay | STOPPED with the third |
    | STOPPED | stay | stay |
    | ABSENT | - | - |
    """

    def __init__(self, secret: Secret | None) -> None:
        self._secret = secret
        self.state = ABSENT if secret is None else USABLE
        self.refusals = 0

    def for_host(self, key_was_known: bool) -> Secret | None:
        """Return the password for a host, None when it gets none."""
        return self._secret if self.state == USABLE and key_was_known else None

    def note(self, event: str) -> None:
        """Take what a host has done with it, this engine's or another's."""
        if self.state == USABLE and event == REFUSED:
            self.refusals += 1
            if self.refusals >= MOST_REFUSALS:
                self.state, self._secret = STOPPED, None

    def why_not(self, key_was_known: bool) -> str:
        """Return why a host gets none, "" when it does or when there is no password."""
        if self.state == STOPPED:
            return f"the password was refused {self.refusals} times, and is not sent any more"
        if self.state == USABLE and not key_was_known:
            return "the password is sent only to hosts whose key is known"
        return ""
