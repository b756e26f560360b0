//! Names of the numbers that system calls take as arguments, where they have some (the kernel's
//! uapi headers; its types do not tell them).

use crate::sources::linux;

type Names = &'static [(u64, &'static str)];

const PROTECTION: Names =
    &[(1, "PROT_READ"), (2, "PROT_WRITE"), (4, "PROT_EXEC"), (0x100_0000, "PROT_GROWSDOWN")];

const MAPPING: Names = &[
    (3, "MAP_SHARED_VALIDATE"),
    (1, "MAP_SHARED"),
    (2, "MAP_PRIVATE"),
    (0x10, "MAP_FIXED"),
    (0x20, "MAP_ANONYMOUS"),
    (0x40, "MAP_32BIT"),
    (0x100, "MAP_GROWSDOWN"),
    (0x800, "MAP_DENYWRITE"),
    (0x2000, "MAP_LOCKED"),
    (0x4000, "MAP_NORESERVE"),
    (0x8000, "MAP_POPULATE"),
    (0x10000, "MAP_NONBLOCK"),
    (0x20000, "MAP_STACK"),
    (0x40000, "MAP_HUGETLB"),
    (0x100000, "MAP_FIXED_NOREPLACE"),
];

const AT: Names = &[
    (0x100, "AT_SYMLINK_NOFOLLOW"),
    (0x200, "AT_REMOVEDIR"),
    (0x400, "AT_SYMLINK_FOLLOW"),
    (0x800, "AT_NO_AUTOMOUNT"),
    (0x1000, "AT_EMPTY_PATH"),
];

const ACCESS: Names = &[(4, "R_OK"), (2, "W_OK"), (1, "X_OK")];

const SOCKET: Names = &[(0o4000, "SOCK_NONBLOCK"), (0o2000000, "SOCK_CLOEXEC")];
const SOCKET_TYPES: [&str; 7] =
    ["0", "SOCK_STREAM", "SOCK_DGRAM", "SOCK_RAW", "SOCK_RDM", "SOCK_SEQPACKET", "SOCK_DCCP"];

const MESSAGE: Names = &[
    (1, "MSG_OOB"),
    (2, "MSG_PEEK"),
    (0x20, "MSG_TRUNC"),
    (0x40, "MSG_DONTWAIT"),
    (0x100, "MSG_WAITALL"),
    (0x4000, "MSG_NOSIGNAL"),
    (0x8000, "MSG_MORE"),
    (0x4000_0000, "MSG_CMSG_CLOEXEC"),
];

const CLONE: Names = &[
    (0x100, "CLONE_VM"),
    (0x200, "CLONE_FS"),
    (0x400, "CLONE_FILES"),
    (0x800, "CLONE_SIGHAND"),
    (0x4000, "CLONE_VFORK"),
    (0x10000, "CLONE_THREAD"),
    (0x20000, "CLONE_NEWNS"),
    (0x40000, "CLONE_SYSVSEM"),
    (0x80000, "CLONE_SETTLS"),
    (0x100000, "CLONE_PARENT_SETTID"),
    (0x200000, "CLONE_CHILD_CLEARTID"),
    (0x1000000, "CLONE_CHILD_SETTID"),
    (0x10000000, "CLONE_NEWUSER"),
    (0x20000000, "CLONE_NEWPID"),
    (0x40000000, "CLONE_NEWNET"),
];

const WAIT: Names = &[(1, "WNOHANG"), (2, "WUNTRACED"), (8, "WCONTINUED")];

const WHENCE: [&str; 5] = ["SEEK_SET", "SEEK_CUR", "SEEK_END", "SEEK_DATA", "SEEK_HOLE"];
const SHUTDOWN: [&str; 3] = ["SHUT_RD", "SHUT_WR", "SHUT_RDWR"];
const MASK: [&str; 3] = ["SIG_BLOCK", "SIG_UNBLOCK", "SIG_SETMASK"];
const EPOLL: [&str; 4] = ["0", "EPOLL_CTL_ADD", "EPOLL_CTL_DEL", "EPOLL_CTL_MOD"];
const FCNTL: [&str; 10] = [
    "F_DUPFD", "F_GETFD", "F_SETFD", "F_GETFL", "F_SETFL", "F_GETLK", "F_SETLK", "F_SETLKW",
    "F_SETOWN", "F_GETOWN",
];
const CLOCKS: [&str; 8] = [
    "CLOCK_REALTIME",
    "CLOCK_MONOTONIC",
    "CLOCK_PROCESS_CPUTIME_ID",
    "CLOCK_THREAD_CPUTIME_ID",
    "CLOCK_MONOTONIC_RAW",
    "CLOCK_REALTIME_COARSE",
    "CLOCK_MONOTONIC_COARSE",
    "CLOCK_BOOTTIME",
];
const FUTEX: [&str; 14] = [
    "FUTEX_WAIT",
    "FUTEX_WAKE",
    "FUTEX_FD",
    "FUTEX_REQUEUE",
    "FUTEX_CMP_REQUEUE",
    "FUTEX_WAKE_OP",
    "FUTEX_LOCK_PI",
    "FUTEX_UNLOCK_PI",
    "FUTEX_TRYLOCK_PI",
    "FUTEX_WAIT_BITSET",
    "FUTEX_WAKE_BITSET",
    "FUTEX_WAIT_REQUEUE_PI",
    "FUTEX_CMP_REQUEUE_PI",
    "FUTEX_LOCK_PI2",
];
const ADVICE: [&str; 10] = [
    "MADV_NORMAL",
    "MADV_RANDOM",
    "MADV_SEQUENTIAL",
    "MADV_WILLNEED",
    "MADV_DONTNEED",
    "5",
    "6",
    "7",
    "MADV_FREE",
    "MADV_REMOVE",
];
const LIMITS: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

/// How a number reads that is the argument `name` of the call `call`; none if it has no names.
pub fn named(call: &str, name: &str, value: u64) -> Option<String> {
    let number = |names: &[&str]| names.get(value as usize).map(|name| (*name).to_owned());
    let flags = |names: Names| Some(linux::flags(value & 0xffff_ffff, names));
    match (call, name) {
        ("open" | "openat", "flags") => Some(linux::open_flags(value & 0xffff_ffff)),
        ("pipe2" | "dup3", "flags") if value != 0 => {
            Some(linux::open_flags(value & 0xffff_ffff).replace("O_RDONLY|", ""))
        }
        ("mmap" | "mprotect" | "pkey_mprotect", "prot") if value == 0 => Some("PROT_NONE".into()),
        ("mmap" | "mprotect" | "pkey_mprotect", "prot") => flags(PROTECTION),
        ("mmap", "flags") => flags(MAPPING),
        ("access" | "faccessat" | "faccessat2", "mode") if value == 0 => Some("F_OK".into()),
        ("access" | "faccessat" | "faccessat2", "mode") => flags(ACCESS),
        ("newfstatat" | "unlinkat" | "statx" | "linkat" | "fchownat" | "execveat", _)
            if matches!(name, "flag" | "flags") =>
        {
            flags(AT)
        }
        ("clone", "clone_flags") => {
            // The lowest byte is the signal that tells of its end.
            let rest = linux::flags(value & !0xff, CLONE);
            let signal = linux::signal(value as u32 & 0xff);
            Some(if value & 0xff == 0 { rest } else { format!("{rest}|{signal}") })
        }
        ("socket" | "socketpair", "family") => family(value),
        ("socket" | "socketpair", "type") => {
            let rest = value & !0xf & 0xffff_ffff;
            let kind = SOCKET_TYPES.get((value & 0xf) as usize)?;
            Some(if rest == 0 {
                (*kind).to_owned()
            } else {
                format!("{kind}|{}", linux::flags(rest, SOCKET))
            })
        }
        ("accept4", "flags") => flags(SOCKET),
        ("sendto" | "recvfrom" | "sendmsg" | "recvmsg" | "sendmmsg" | "recvmmsg", "flags") => {
            flags(MESSAGE)
        }
        ("shutdown", "how") => number(&SHUTDOWN),
        ("lseek", "whence") => number(&WHENCE),
        ("rt_sigprocmask", "how") => number(&MASK),
        ("epoll_ctl", "op") => number(&EPOLL),
        ("fcntl", "cmd") if value == 1030 => Some("F_DUPFD_CLOEXEC".into()),
        ("fcntl", "cmd") => number(&FCNTL),
        ("madvise", "behavior") => number(&ADVICE),
        ("prlimit64" | "getrlimit" | "setrlimit", "resource") => number(&LIMITS),
        (_, "which_clock") => number(&CLOCKS),
        ("futex", "op") => {
            let name = FUTEX.get((value & 0x7f) as usize)?;
            let private = if value & 0x80 != 0 { "_PRIVATE" } else { "" };
            let clock = if value & 0x100 != 0 { "|FUTEX_CLOCK_REALTIME" } else { "" };
            Some(format!("{name}{private}{clock}"))
        }
        ("wait4", "options") => flags(WAIT),
        ("rt_sigaction" | "kill" | "tkill" | "tgkill" | "pidfd_send_signal", "sig") => {
            Some(linux::signal(value as u32).into_owned())
        }
        _ => None,
    }
}

/// An address family.
pub fn family(value: u64) -> Option<String> {
    let name = match value {
        0 => "AF_UNSPEC",
        1 => "AF_UNIX",
        2 => "AF_INET",
        10 => "AF_INET6",
        16 => "AF_NETLINK",
        17 => "AF_PACKET",
        38 => "AF_ALG",
        40 => "AF_VSOCK",
        _ => return None,
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn arguments_have_names() {
        let name = |call, arg, value| named(call, arg, value).unwrap();
        assert_eq!(name("mmap", "flags", 0x22), "MAP_PRIVATE|MAP_ANONYMOUS");
        assert_eq!(name("mmap", "prot", 0), "PROT_NONE");
        assert_eq!(name("socket", "type", 0o2000001), "SOCK_STREAM|SOCK_CLOEXEC");
        assert_eq!(
            name("clone", "clone_flags", 0x0120_0011),
            "CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD"
        );
        assert_eq!(name("futex", "op", 0x81), "FUTEX_WAKE_PRIVATE");
        assert_eq!(name("openat", "flags", 0o2000000), "O_RDONLY|O_CLOEXEC");
        assert_eq!(named("getpid", "x", 1), None);
    }
}
