"""Which system calls a job may make: an allow-list, made from what Python, NumPy and PaddlePaddle were seen to need.

Three answers to the rest: calls that some library tries and can do without get an error; calls that only an escape needs
end the process; whatever is not named here does not exist (ENOSYS), so that libraries fall back on older calls.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

_NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET (clone(2))
_SET_ID_BITS = 0o6000
_MAKES_FILE = 0o100 | 0o20000000  # O_CREAT, __O_TMPFILE
_SOCKET_TYPE = 0xFF
_ANY = 0xFFFFFFFF


def _named(names: str) -> frozenset[str]:
    return frozenset(names.split())


ALLOWED = _named(
    """
    access alarm arch_prctl brk capget chdir chown clock_getres clock_gettime clock_nanosleep close close_range
    copy_file_range dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd
    eventfd2 execve exit exit_group faccessat faccessat2 fallocate fchdir fchown fchownat fdatasync
    fgetxattr flistxattr fork fstat fstatfs fsync ftruncate futex futex_waitv futimesat get_mempolicy
    get_robust_list getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid
    getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname getsockopt
    gettid gettimeofday getuid getxattr kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown
    lgetxattr link linkat listxattr llistxattr lseek lstat madvise mbind membarrier mkdir mkdirat mlock mlock2
    mlockall mprotect mremap msync munlock munlockall munmap nanosleep newfstatat pause pidfd_open
    pidfd_send_signal pipe pipe2 poll ppoll pread64 preadv prlimit64 pselect6 pwrite64 pwritev pwritev2 read
    readlink readlinkat readv rename renameat renameat2 restart_syscall rmdir rseq
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
    sched_getscheduler sched_setaffinity sched_yield select sendfile set_mempolicy set_robust_list
    set_tid_address setitimer setpgid setpriority setrlimit setsid setsockopt shutdown sigaltstack signalfd signalfd4
    splice stat statfs statx symlink symlinkat sync_file_range sysinfo tee tgkill time timer_create timer_delete
    timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate
    umask uname unlink unlinkat utime utimensat utimes vfork wait4 waitid write writev
    """
)

REFUSED = _named(
    """
    accept accept4 add_key adjtimex bind capset chroot clock_adjtime clock_settime connect execveat fadvise64
    fanotify_init fanotify_mark ioprio_set io_uring_enter io_uring_register io_uring_setup kcmp keyctl listen
    memfd_create memfd_secret migrate_pages mknod mknodat move_pages mq_getsetattr mq_notify mq_open
    mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd name_to_handle_at perf_event_open
    pidfd_getfd process_madvise process_mrelease readahead request_key sched_setattr sched_setparam sched_setscheduler
    seccomp semctl semget semop semtimedop setdomainname setfsgid setfsuid setgid setgroups sethostname setregid
    setresgid setresuid setreuid settimeofday setuid setxattr lsetxattr fsetxattr removexattr lremovexattr
    fremovexattr shmat shmctl shmdt shmget socket sync syncfs syslog unshare userfaultfd vhangup vmsplice
    """
)
"""Refused with EPERM. `clone3` and `openat2` are in none of the lists on purpose: their flags lie in memory, where no filter
sees them, and libraries take the older calls when these do not exist. So is `flock`: a lock on a file of the image, which may be
taken on what can only be read, is seen by every other job of the machine. Libraries go on without one that does not exist.
`mincore` tells which pages of such a file are in memory, `fadvise64` and `readahead` change it."""

KILLED = _named(
    """
    acct bpf delete_module finit_module fsconfig fsmount fsopen fspick init_module ioperm iopl kexec_file_load
    kexec_load lookup_dcookie modify_ldt mount mount_setattr move_mount open_by_handle_at open_tree pivot_root
    process_vm_readv process_vm_writev ptrace quotactl quotactl_fd reboot setns swapoff swapon umount2 uselib
    """
)
"""No library makes these in earnest: whoever does is ended."""


@dataclass(frozen=True)
class Where:
    """A condition on one argument: `argument & mask == value`."""

    argument: int
    value: int
    mask: int = 0xFFFFFFFF_FFFFFFFF


_PRCTL_OPTIONS = (
    1,  # PR_SET_PDEATHSIG
    2,  # PR_GET_PDEATHSIG
    3,  # PR_GET_DUMPABLE
    15,  # PR_SET_NAME
    16,  # PR_GET_NAME
    21,  # PR_GET_SECCOMP
    23,  # PR_CAPBSET_READ
    29,  # PR_SET_TIMERSLACK
    30,  # PR_GET_TIMERSLACK
    38,  # PR_SET_NO_NEW_PRIVS
    39,  # PR_GET_NO_NEW_PRIVS
    41,  # PR_SET_THP_DISABLE
    42,  # PR_GET_THP_DISABLE
    0x53564D41,  # PR_SET_VMA: names of memory ranges
)
_PR_SET_DUMPABLE = 4
_IOCTLS = (
    0x5401,  # TCGETS: whether it is a terminal
    0x5413,  # TIOCGWINSZ
    0x541B,  # FIONREAD
    0x5421,  # FIONBIO
    0x5450,  # FIONCLEX
    0x5451,  # FIOCLEX
)

_FILE_COMMANDS = (
    0,  # F_DUPFD
    1,  # F_GETFD
    2,  # F_SETFD
    3,  # F_GETFL
    4,  # F_SETFL
    6,  # F_SETLK
    7,  # F_SETLKW
    37,  # F_OFD_SETLK
    38,  # F_OFD_SETLKW
    1030,  # F_DUPFD_CLOEXEC
    1031,  # F_SETPIPE_SZ
    1032,  # F_GETPIPE_SZ
    1034,  # F_GET_SEALS
)
"""Not among them: asking for others' locks (F_GETLK), for as with `flock` two jobs could speak by locks on files of the image: on
these a job can only have locks that exclude no other's. And leases, which hold up whoever opens the file on this machine,
and signals (F_SETOWN, F_SETSIG, F_NOTIFY)."""
_MAP_HUGETLB = 0x40000
_MSG_OOB = 1

CONDITIONAL: dict[str, tuple[tuple[Where, ...], ...]] = {
    "clone": ((Where(0, 0, _NEW_NAMESPACES),),),
    "chmod": ((Where(1, 0, _SET_ID_BITS),),),
    "fchmod": ((Where(1, 0, _SET_ID_BITS),),),
    "fchmodat": ((Where(2, 0, _SET_ID_BITS),),),
    "creat": ((Where(1, 0, _SET_ID_BITS),),),
    "open": ((Where(1, 0, _MAKES_FILE),), (Where(2, 0, _SET_ID_BITS),)),
    "openat": ((Where(2, 0, _MAKES_FILE),), (Where(3, 0, _SET_ID_BITS),)),
    "fcntl": tuple((Where(1, command),) for command in _FILE_COMMANDS),
    "mmap": ((Where(3, 0, _MAP_HUGETLB),),),  # huge pages are the machine's, and no ceiling counts them
    "personality": ((Where(0, _ANY),),),  # asks, changes nothing
    "prctl": (*((Where(0, option),) for option in _PRCTL_OPTIONS), (Where(0, _PR_SET_DUMPABLE), Where(1, 0))),
    "ioctl": tuple((Where(1, request),) for request in _IOCTLS),
    # A pair without names, for pipes between a job's own processes: streams, which take no other address.
    "socketpair": ((Where(0, socket.AF_UNIX), Where(1, socket.SOCK_STREAM, _SOCKET_TYPE)),),
    # Urgent bytes are a corner of the kernel's code that no library needs.
    "sendto": ((Where(4, 0), Where(3, 0, _MSG_OOB)),),
    "sendmsg": ((Where(2, 0, _MSG_OOB),),),
    "sendmmsg": ((Where(3, 0, _MSG_OOB),),),
    "recvfrom": ((Where(3, 0, _MSG_OOB),),),
    "recvmsg": ((Where(2, 0, _MSG_OOB),),),
    "recvmmsg": ((Where(3, 0, _MSG_OOB),),),
    "preadv2": ((Where(5, 0),),),  # with RWF_NOWAIT it tells whether a page is in memory
}
"""Allowed under any one of these conditions; otherwise an error."""
