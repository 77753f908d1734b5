"""How much memory a process says that it holds."""

from worker.memory import free_memory, own_memory


def test_what_a_process_takes_is_counted_as_its_own() -> None:
    before = own_memory()
    taken = bytearray(b"x") * (64 << 20)
    assert own_memory() - before > 60 << 20
    assert free_memory("cpu") > len(taken) // (64 << 20)
