"""Work on many files at once, in their order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item, Found = TypeVar("Item"), TypeVar("Found")
THREADS = min(16, os.cpu_count() or 1)  # Pillow decodes, and hashlib hashes, outside the GIL


def in_order(function: Callable[[Item], Found], items: Iterable[Item], ahead: int = 4 * THREADS) -> Iterator[Found]:
    """Yields the function's result for each item, computed by threads; at most `ahead` results wait to be taken."""
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: deque[Future[Found]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # nobody takes the rest
            for future in waiting:
                future.cancel()
