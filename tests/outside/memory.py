"""The memory of a running process, as a core dump would hold it."""

import contextlib
import os
import pathlib
import signal
import time

# Mapped by the kernel, the same for every process.
NOT_ITS_OWN = {"[vvar]", "[vvar_vclock]", "[vdso]", "[vsyscall]"}


@contextlib.contextmanager
def stopped(pid):
    """The process stands still meanwhile, so that what is read is of one moment."""
    os.kill(pid, signal.SIGSTOP)
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.001)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def mappings(pid):
    """Address, end and name of each part of the memory that can be read and is not a file's unchanged content."""
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        addresses, permissions, _, _, inode, *name = line.split(maxsplit=5)
        name = name[0] if name else ""
        is_file = inode != "0"
        if permissions[0] == "r" and name not in NOT_ITS_OWN and (permissions[1] == "w" or not is_file):
            begin, end = (int(address, 16) for address in addresses.split("-"))
            yield begin, end, name


def memory_of(pid):
    """All that a core dump of the process would hold, as one text of bytes."""
    with stopped(pid), pathlib.Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        parts = []
        for begin, end, _ in mappings(pid):
            memory.seek(begin)
            left = end - begin
            while left and (part := memory.read(left)):
                parts.append(part)
                left -= len(part)
            assert left == 0, f"memory at {begin:x} could not be read to its end"
        return b"".join(parts)
