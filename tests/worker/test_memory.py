"""How much memory a process says that it holds."""

import mmap

from worker.memory import free_memory, own_memory


def test_what_a_process_takes_is_counted_as_its_own() -> None:
    before = own_memory()
    with mmap.mmap(-1, 64 << 20) as taken:  # pages that no earlier test has left free in this process
        taken.write(b"x" * (64 << 20))
        assert own_memory() - before > 60 << 20
        assert free_memory("cpu") > 1
