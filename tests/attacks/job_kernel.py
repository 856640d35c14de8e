"""A malicious job tries doors of the kernel that no training needs."""

from __future__ import annotations

from paddock.walls import Defence
from tests.attacks.jail import job

_CALLS, _NESTED, _CAPABILITIES = Defence.SECCOMP, Defence.NESTED_NAMESPACES, Defence.CAPABILITIES
_ENDED = "Whoever makes this call is ended by the filter."
_REFUSED = "The call is not among those allowed."

job(
    "user-namespace",
    "new_user_namespace",
    "a user namespace again",
    "The job makes a namespace in which it has all capabilities, and with them the faults behind them.",
    "The call is refused, and the walls' own namespace allows no further one.",
    "EPERM",
    off=(_CALLS, _NESTED),
)
job(
    "cloned-namespace",
    "cloned_namespace",
    "a child in a namespace of its own",
    "The same by clone.",
    "`clone` takes no flags of namespaces, and no further one is allowed.",
    "ENOSYS",
    off=(_CALLS, _NESTED),
)
job(
    "cloned-namespace-3",
    "cloned_namespace_by_new_call",
    "the same by clone3",
    "The flags are in memory, where no filter sees them.",
    "`clone3` does not exist inside; libraries take `clone`.",
    "ENOSYS",
    off=(_CALLS, _NESTED),
)
job(
    "enter-namespace",
    "enter_namespace",
    "entering a namespace (setns)",
    "The job enters a namespace that it has a file of.",
    _ENDED,
    "SIGSYS",
    off=(_CALLS, _CAPABILITIES, _NESTED),
)
job(
    "capabilities",
    "gain_capabilities",
    "capabilities",
    "The job looks for capabilities that it was left.",
    "It has none, and its bounding set is empty.",
    "NOTHING",
    off=(_CAPABILITIES,),
)
job(
    "change-user",
    "change_user",
    "another identity",
    "The job asks for another user.",
    _REFUSED,
    "EPERM",
    off=(_CALLS,),
)
job(
    "rename-host",
    "change_host_name",
    "another name for the machine",
    "The job renames the host.",
    "The call is refused, and there is no capability for it.",
    "EPERM",
    off=(_CALLS, _CAPABILITIES, _NESTED),
)
job(
    "host-clock",
    "set_clock",
    "the machine's clock",
    "The job adjusts the clock by which keepers and receipts are judged.",
    "All calls that set or adjust clocks are refused.",
    "EPERM",
    off=(_CALLS,),
)
job(
    "io-uring",
    "io_uring",
    "system calls that no filter sees (io_uring)",
    "The job hands its calls to the kernel in a ring.",
    "The call is not among those allowed, and a ring is locked memory, of which there is none.",
    "EPERM",
    off=(_CALLS, Defence.RLIMITS),
)
job(
    "user-fault",
    "user_fault",
    "the kernel held up in the middle of a copy",
    "The job handles page faults of the kernel itself, which makes its faults easier to use.",
    _REFUSED,
    "EPERM",
    off=(_CALLS,),
)
job(
    "secret-memory",
    "secret_memory",
    "memory that nobody else sees",
    "The job keeps data in memory that even the kernel does not map.",
    _REFUSED,
    "EPERM",
    off=(_CALLS,),
)
job(
    "memory-file-limits",
    "memory_file",
    "files beyond the size of its folders",
    "The job writes to files in memory that belong to no file system with a size.",
    _REFUSED,
    "EPERM",
    off=(_CALLS,),
)
job(
    "kernel-program",
    "kernel_program",
    "programs for the kernel (bpf)",
    "The job speaks to the loader of kernel programs.",
    _ENDED,
    "SIGSYS",
    off=(_CALLS,),
)
job(
    "performance-events",
    "performance_events",
    "the processor's counters",
    "The job measures other programs by the processor's counters.",
    _REFUSED,
    "EPERM",
    off=(_CALLS,),
    residual="its own clock is enough for coarser measurements",
)
job("other-kernel", "other_kernel", "another kernel (kexec)", "The job loads one.", _ENDED, "SIGSYS", off=(_CALLS,))
job(
    "kernel-module",
    "kernel_module",
    "a module of its own",
    "The job loads code into the kernel.",
    _ENDED,
    "SIGSYS",
    off=(_CALLS,),
)
job(
    "swap", "swap", "the machine's swap", "The job changes where memory is swapped to.", _ENDED, "SIGSYS", off=(_CALLS,)
)
job(
    "ports", "ports", "the processor's ports", "The job asks for raw input and output.", _ENDED, "SIGSYS", off=(_CALLS,)
)
job(
    "segments",
    "segments",
    "the processor's segments (modify_ldt)",
    "The job writes to a table of the processor, behind which faults were found.",
    _ENDED,
    "SIGSYS",
    off=(_CALLS,),
)
job(
    "no-randomisation",
    "no_randomisation",
    "addresses without chance",
    "The job turns off that addresses are random (personality).",
    "`personality` may be asked and not changed.",
    "ENOSYS",
    off=(_CALLS,),
)
job(
    "calls-of-i386",
    "calls_of_i386",
    "system calls by another table (i386)",
    "The job calls by `int 0x80`, where the same numbers mean other calls.",
    "Whoever calls by another architecture's table is ended.",
    "SIGSYS",
    off=(_CALLS,),
)
job(
    "calls-of-x32",
    "calls_of_x32",
    "system calls by another table (x32)",
    "The job calls by numbers that a filter of plain numbers does not know.",
    "Whoever calls by another architecture's table is ended.",
    "SIGSYS",
    off=(_CALLS,),
)
job(
    "kernel-addresses",
    "compare_kernel_addresses",
    "the order of the kernel's objects",
    "The job learns by comparing (kcmp) how the kernel lays objects out.",
    _REFUSED,
    "EPERM",
    off=(_CALLS,),
)
job(
    "dumpable-again",
    "dumpable_again",
    "dumps allowed again",
    "The job makes itself dumpable.",
    "`prctl` takes no value for that but 0.",
    "ENOSYS",
    off=(_CALLS,),
)
job(
    "disk-flush",
    "disk_flush",
    "the machine's disks kept busy",
    "The job has all of the machine's disks write everything.",
    _REFUSED,
    "EPERM",
    off=(_CALLS,),
)
job(
    "speak-by-locks",
    "lock_seen_by_others",
    "words to another job by locks",
    "The job locks a file of the installation, and a job of another contract on the same machine hears it: a way out that is no gateway.",
    "`flock` does not exist inside; libraries go on without it.",
    "ENOSYS",
    off=(_CALLS,),
)
job(
    "hear-locks",
    "locks_of_others",
    "listening to another job's locks",
    "The other end: the job asks who holds a lock on a file that it can only read.",
    "`fcntl` takes no such question; locks that a reader may have exclude nobody else's.",
    "ENOSYS",
    off=(_CALLS,),
)
job(
    "lease",
    "lease",
    "a lease on a file",
    "Whoever opens the file on this machine waits until the job gives it back.",
    "`fcntl` takes no leases.",
    "ENOSYS",
    off=(_CALLS,),
)
job(
    "huge-pages",
    "huge_pages",
    "the machine's huge pages",
    "They are set aside for others, and no control group counts them.",
    "`mmap` takes no huge pages.",
    "ENOSYS",
    off=(_CALLS,),
)
