"""A stand-in for rshd(8): speaks the protocol of rcmd(3) and runs each command, for tests on loopback.

    rshd.py ADDRESS...

Listens on port 514 (shell/tcp) of loopback addresses, which takes root, and authenticates nobody. Each
address is a node; a command finds its own in RSHD_NODE. It ends when its stdin does.
"""

import contextlib
import os
import selectors
import socket
import subprocess
import sys
import threading

PORT = 514


def read_string(connection: socket.socket) -> str:
    """Read up to a NUL."""
    text = b""
    while not text.endswith(b"\0"):
        byte = connection.recv(1)
        if not byte:
            raise EOFError
        text += byte
    return text[:-1].decode()


def connect_back(connection: socket.socket, port: int) -> socket.socket | None:
    """Open the second connection, for stderr: from a privileged port, as the client wants it."""
    if port == 0:
        return None
    here, there = connection.getsockname()[0], connection.getpeername()[0]
    for own in range(1023, 600, -1):
        second = socket.socket(connection.family)
        try:
            second.bind((here, own))
            second.connect((there, port))
        except OSError:
            second.close()
            continue
        return second
    raise OSError("no privileged port is free")


def serve(connection: socket.socket) -> None:
    with connection, contextlib.suppress(EOFError, OSError, ValueError):
        connection.settimeout(60)
        second = connect_back(connection, int(read_string(connection) or 0))
        read_string(connection)  # the user there
        read_string(connection)  # the user here
        command = read_string(connection)
        connection.sendall(b"\0")
        connection.settimeout(None)
        child = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=connection.fileno(),
            stdout=connection.fileno(),
            stderr=(connection if second is None else second).fileno(),
            env={**os.environ, "RSHD_NODE": connection.getsockname()[0]},
            start_new_session=True,
        )
        child.wait()
        if second is not None:
            second.close()
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def main() -> None:
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    for address in sys.argv[1:]:
        if not address.startswith("127.") and address != "::1":
            raise SystemExit(f"{address}: not on loopback")
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        server = socket.create_server((address, PORT), family=family, backlog=64)
        selector.register(server, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                os._exit(0)
            listener = key.fileobj
            assert isinstance(listener, socket.socket)
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
