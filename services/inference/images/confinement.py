"""What a process that decodes hostile files gives up before it reads the first: files, network, and other processes.

With a seccomp filter (Linux 3.17, no privileges needed) only the calls of LISTED still work; anything else is EPERM.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct

PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 4, 22, 38, 2  # prctl(2)
MAX_FILES = 8

# Memory, waiting, signals of one's own, clocks, and what is open already. By architecture: its number in the filter's
# data (linux/audit.h), and those of its calls.
LISTED = {
    "x86_64": (
        0xC000003E,
        (
            *(0, 1, 3, 5, 7, 8, 9, 10, 11, 12),  # read write close fstat poll lseek mmap mprotect munmap brk
            *(13, 14, 15, 19, 20),  # rt_sigaction rt_sigprocmask rt_sigreturn readv writev
            *(24, 25, 28, 35, 39, 60),  # sched_yield mremap madvise nanosleep getpid exit
            *(96, 98, 131, 186, 202),  # gettimeofday getrusage sigaltstack gettid futex
            *(204, 219, 228, 229, 230),  # sched_getaffinity restart_syscall clock_gettime clock_getres clock_nanosleep
            *(231, 271, 273, 318, 324, 334),  # exit_group ppoll set_robust_list getrandom membarrier rseq
        ),
    ),
    "aarch64": (
        0xC00000B7,
        (
            *(57, 62, 63, 64, 65, 66, 73, 80),  # close lseek read write readv writev ppoll fstat
            *(93, 94, 98, 99, 101, 113),  # exit exit_group futex set_robust_list nanosleep clock_gettime
            *(114, 115, 123, 124, 128),  # clock_getres clock_nanosleep sched_getaffinity sched_yield restart_syscall
            *(
                132,
                134,
                135,
                139,
                165,
                169,
            ),  # sigaltstack rt_sigaction rt_sigprocmask rt_sigreturn getrusage gettimeofday
            *(169, 172, 178, 214, 215, 216, 222, 226),  # gettimeofday getpid gettid brk munmap mremap mmap mprotect
            *(233, 278, 283, 293),  # madvise getrandom membarrier rseq
        ),
    ),
}
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000  # SECCOMP_RET_…
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
NUMBER, ARCHITECTURE = 0, 4  # offsets in struct seccomp_data


def confine(memory_bytes: int) -> bool:
    """Gives everything up. Whether the filter is in force too; without it (another architecture, a kernel or a
    container that refuses it) the limits and the lost privileges remain."""
    os.environ.clear()
    os.chdir("/")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for limit, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_NOFILE, MAX_FILES),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    if _filter(libc):
        return True
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # also of a log that standard error leads to, hence only here
    return False


def _filter(libc: ctypes.CDLL) -> bool:
    listed = LISTED.get(platform.machine())
    if listed is None:
        return False
    code = program(*listed)
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: the number of instructions, padding, and where they stand.
    head = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer)))
    return bool(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, head, 0, 0) == 0)


def program(architecture: int, calls: tuple[int, ...]) -> bytes:
    """The filter's instructions: these calls are allowed, others refused, another architecture's end the process."""
    lines = [
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_IF_EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
    ]
    for call in calls:
        lines += [(JUMP_IF_EQUAL, 0, 1, call), (RETURN, 0, 0, ALLOW)]
    lines.append((RETURN, 0, 0, REFUSE))
    return b"".join(struct.pack("@HBBI", *line) for line in lines)
