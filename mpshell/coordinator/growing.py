"""Bytes that grow and finally become one text, without both being in memory at once."""

from __future__ import annotations

import io

from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    import mmap

#: From this size on they have pages of their own, which are freed one by one while the text is made.
#: Smaller texts are copied.
_PAGES_FROM = 1 << 22

#: The number of bytes that are moved at once, a multiple of a page.
_PIECE = 1 << 20


class Growing:
    """The output so far of an open stream. If there is no room to grow, it keeps all that it has."""

    __slots__ = ("_buffer", "_pages", "_size")

    def __init__(self) -> None:
        # Not io.BytesIO, which loses its content if it cannot grow.
        self._buffer = bytearray()
        self._pages: mmap.mmap | None = None
        #: The number of bytes in the pages.
        self._size = 0

    def __len__(self) -> int:
        return len(self._buffer) if self._pages is None else self._size

    def add(self, data: bytes) -> None:
        """Add bytes; MemoryError if there is no room for them."""
        end = len(self) + len(data)
        if self._pages is None:
            if end < _PAGES_FROM:
                self._buffer += data
                return
            self._pages = _new_pages(end + end // 8)
            self._size = len(self._buffer)
            self._pages[: self._size] = self._buffer
            self._buffer = bytearray()
        if end > len(self._pages):
            # The kernel moves pages without a copy (mremap(2)), and pages not written to yet take no memory.
            _resize(self._pages, end + end // 8)
        self._pages[self._size : end] = data
        self._size = end

    def text_size(self) -> int:
        """Return the number of bytes without a last newline."""
        size = len(self)
        return size - 1 if size and self.copy(size - 1, size) == b"\n" else size

    def rfind(self, byte: bytes, end: int) -> int:
        """Return the index of the last such byte before `end`, or -1."""
        if self._pages is None:
            return self._buffer.rfind(byte, 0, end)
        return self._pages.rfind(byte, 0, end)

    def copy(self, begin: int, end: int) -> bytes:
        """Return a copy of some of the bytes."""
        if self._pages is None:
            return bytes(memoryview(self._buffer)[begin:end])
        return self._pages[begin:end]

    def take(self, size: int) -> bytes:
        """Return the first `size` bytes as a text, and drop all.

        MemoryError if there is no room for the text: then everything is kept.
        """
        if self._pages is None:
            text, self._buffer = self.copy(0, size), bytearray()
            return text
        text = _moved(self._pages, size)
        self._pages.close()
        self._pages, self._size = None, 0
        return text


def _moved(pages: mmap.mmap, size: int) -> bytes:
    """Return bytes from the beginning of pages, which are freed as they are copied."""
    import mmap

    # These zeros take no memory before something is written there; and the value of a full buffer is
    # not a copy of it.
    text = io.BytesIO(bytes(size))
    done = 0
    try:
        with memoryview(pages) as view:
            while done < size:
                end = min(size, done + _PIECE)
                with view[done:end] as piece:
                    text.write(piece)
                begin, done = done, end
                pages.madvise(mmap.MADV_DONTNEED, begin, end - begin)
    except MemoryError:
        with text.getbuffer() as back:
            pages[:done] = back[:done]
        raise
    return text.getvalue()


def _new_pages(size: int) -> mmap.mmap:
    # Late: few outputs are so large.
    import mmap

    try:
        # Private: shared pages cannot grow beyond their first size (SIGBUS).
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"no room for {size} bytes") from error


def _resize(pages: mmap.mmap, size: int) -> None:
    try:
        pages.resize(size)
    except OSError as error:
        raise MemoryError(f"no room for {size} bytes") from error
