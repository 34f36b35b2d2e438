"""Bodies of output that an engine sends once, for any number of clients with the same output."""

#: Bytes of bodies that an engine remembers to send equal ones once; a larger body is always sent.
REMEMBERED = 1 << 24
REMEMBERED_BODIES = 1 << 16


class BodyTable:
    """Bodies shipped so far and their ids, bounded: when it is full it starts anew."""

    __slots__ = ("_ids", "_next", "_shipped_floor", "_size", "floor", "new")

    def __init__(self) -> None:
        self._ids: dict[bytes, int] = {}
        self._size = 0
        self._next = 0
        #: Ids below it are not given out any more; the frame that is being made may hold some.
        self.floor = 0
        self._shipped_floor = 0
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

    def take(self) -> tuple[list[tuple[int, bytes]], int]:
        """Return the bodies to ship, and the floor of this frame: it refers to nothing below."""
        new, floor = self.new, self._shipped_floor
        self.new = []
        self._shipped_floor = self.floor
        return new, floor
