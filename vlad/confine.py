"""A process that gives up all it does not need: no other file, no network, no new process. For a decoder that a hostile clip may take over.

    python -m vlad.confine     (says whether this machine can, by trying what must not work)

In: nothing. Out: the calling process, whose open files are all that it has from then on. seccomp's allow-list of system calls (Linux), by the system's
libseccomp over ctypes: its bindings for Python were last released in 2021, or are not on the index; twenty lines replace them. Knows nothing of vlad.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Sequence

ALLOW, ERROR = 0x7FFF0000, 0x00050000
EQUAL, MASKED = 4, 7  # scmp_compare
ALL_THREADS = 4  # SCMP_FLTATR_CTL_TSYNC: those that numpy started already too
NOTHING = "/tmp/vlad-nothing"  # noqa: S108 - tried to be made, and never is
CLONE_THREAD, EMPTY_PATH = 0x10000, 0x1000
# What decoding, encoding and Python's memory need. Everything else is refused with EPERM.
CALLS = (
    "read", "readv", "pread64", "write", "writev", "lseek", "fstat", "close", "dup", "fcntl",
    "mmap", "munmap", "mremap", "mprotect", "madvise", "brk",
    "futex", "set_robust_list", "rseq", "sched_yield", "sched_getaffinity", "gettid", "getpid", "membarrier",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall",
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "getrandom", "getrusage", "sysinfo", "poll", "ppoll", "select", "pselect6",
    "exit", "exit_group",
)  # fmt: skip
# And to talk on a connection that is there already; to get pictures of a device that is open.
TALK = (
    "recvfrom", "recvmsg", "sendto", "sendmsg", "getsockopt", "setsockopt", "getpeername", "getsockname", "shutdown",
)  # fmt: skip
DEVICE = ("ioctl",)


class _Compare(ctypes.Structure):
    _fields_ = [
        ("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64),
    ]  # fmt: skip


def confine(more: Sequence[str] = ()) -> None:
    """For good. more: further system calls, of TALK or DEVICE. Raises OSError where this system has no seccomp, or no libseccomp."""
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, f"{sys.platform} has no seccomp")
    try:
        lib = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        raise OSError(errno.ENOENT, "libseccomp is not here; install libseccomp2") from None
    lib.seccomp_init.restype = ctypes.c_void_p
    lib.seccomp_init.argtypes = [ctypes.c_uint32]
    lib.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    lib.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_Compare),
    ]  # fmt: skip
    lib.seccomp_load.argtypes = [ctypes.c_void_p]
    rules = lib.seccomp_init(ERROR | errno.EPERM)

    def rule(call: str, action: int, *where: _Compare) -> None:
        number = lib.seccomp_syscall_resolve_name(call.encode())
        if number >= 0:  # else this kind of machine has no such call
            _right(lib.seccomp_rule_add_array(rules, action, number, len(where), (_Compare * len(where))(*where)))

    _right(lib.seccomp_attr_set(rules, ALL_THREADS, 1))
    for call in (*CALLS, *more):
        rule(call, ALLOW)
    rule("clone", ALLOW, _Compare(0, MASKED, CLONE_THREAD, CLONE_THREAD))  # a thread, no process
    rule("clone3", ERROR | errno.ENOSYS)  # its flags cannot be seen: libc then asks clone
    rule("newfstatat", ALLOW, _Compare(3, EQUAL, EMPTY_PATH, 0))  # of an open file
    rule("prlimit64", ALLOW, _Compare(2, EQUAL, 0, 0))  # looks, and sets nothing
    _right(lib.seccomp_load(rules))


def _right(code: int) -> None:
    if code:
        raise OSError(-code, f"seccomp: {os.strerror(-code)}")


def leaks() -> list[str]:
    """What can still be done that must not be, by trying it. For a process that confined itself."""
    found = []
    for name, attempt in (
        ("opens files", lambda: os.close(os.open("/etc/hostname", os.O_RDONLY))), ("writes files", lambda: os.open(NOTHING, os.O_CREAT)),
        ("opens sockets", lambda: socket.socket().close()), ("speaks UDP", lambda: socket.socket(type=socket.SOCK_DGRAM).close()),
        ("lists folders", lambda: os.listdir("/")), ("forks", _fork), ("runs programs", lambda: os.execv("/bin/true", ["true"])),  # noqa: S606 - must not work
        ("kills", lambda: os.kill(os.getppid(), 0)), ("removes files", lambda: os.unlink(NOTHING)),
    ):  # fmt: skip
        try:
            attempt()
            found.append(name)
        except OSError as error:
            if error.errno != errno.EPERM:
                found.append(name)
    return found


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def state() -> str:
    """'' where decoders are confined on this machine, else why not. Asks a process of its own."""
    said = subprocess.run(
        [sys.executable, "-m", "vlad.confine"], capture_output=True, text=True, timeout=30, check=False
    )
    return said.stdout.strip() if said.returncode == 0 else f"it ended with {said.returncode}"


def main() -> int:
    """See `state`."""
    try:
        confine()
    except OSError as error:
        print(error.strerror)
        return 0
    found = leaks()
    print("it " + ", ".join(found) if found else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
