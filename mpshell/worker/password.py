"""The info key `ssh_password`: a password with which the engines' connections may log in to nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpshell.errors import WorkerError
from mpshell.runtime.secret import Secret

if TYPE_CHECKING:
    from mpshell.worker.scheduler import PublicTask


def password_of(task: PublicTask) -> Secret | None:
    """Return the password of a task, None for none; a function is called once, in the task's thread.

    Raise WorkerError for a function that does not return a text.
    """
    given = task.info("ssh_password")
    if given is None or isinstance(given, Secret):
        return given
    text = given()
    if not isinstance(text, str) or not text:
        kind = "an empty text" if text == "" else type(text).__name__
        raise WorkerError(f"the function ssh_password returns a password, not {kind}")
    task.set_info("ssh_password", text)
    return Secret(text)


def refuse_password(task: PublicTask, program: str) -> None:
    """Raise WorkerError if a password is set, for a program that cannot be given one."""
    if task.info("ssh_password") is not None:
        raise WorkerError(
            f"ssh_password: {program} is given no password; connections of the transport asyncssh are "
            "(-R asyncssh)"
        )


def refuse_far_password(task: PublicTask) -> None:
    """Raise WorkerError if a password is set: none is sent to other hosts."""
    if task.info("ssh_password") is not None:
        raise WorkerError(
            "ssh_password: no password is sent to engines on other hosts (info key 'launcher')"
        )
