"""Bodies of output that an engine ships once, however many of its clients have said the same."""

#: Bodies that an engine remembers to ship equal ones once (bytes); a bigger one is shipped as it is.
REMEMBERED = 1 << 24
REMEMBERED_BODIES = 1 << 16


class BodyTable:
    """Bodies shipped so far and their ids, bounded: when it is full it starts anew."""

    __slots__ = ("_ids", "_next", "_size", "floor", "new")

    def __init__(self) -> None:
        self._ids: dict[bytes, int] = {}
        self._size = 0
        self._next = 0
        #: Ids below it are not used in frames to come.
        self.floor = 0
        #: Bodies to ship with the next frame.
        self.new: list[tuple[int, bytes]] = []

    def ref(self, body: bytes) -> int:
        """Return the id of a body, which is shipped if it is new."""
        known = self._ids.get(body)
        if known is not None:
            return known
        number = self._next
        self._next += 1
        self.new.append((number, body))
        if len(body) <= REMEMBERED // 4:
            if self._size + len(body) > REMEMBERED or len(self._ids) >= REMEMBERED_BODIES:
                self._ids.clear()
                self._size = 0
                self.floor = number
            self._ids[body] = number
            self._size += len(body)
        return number

    def take(self) -> list[tuple[int, bytes]]:
        """Return the bodies to ship."""
        new = self.new
        self.new = []
        return new
