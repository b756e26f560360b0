//! Names of the kernel's numbers: errors, signals, flags.

use std::borrow::Cow;

use nix::{errno::Errno, sys::signal::Signal};

/// Errors that only a tracer sees, as a call is about to be restarted (include/linux/errno.h).
const RESTARTS: [(i32, &str); 4] = [
    (512, "ERESTARTSYS"),
    (513, "ERESTARTNOINTR"),
    (514, "ERESTARTNOHAND"),
    (516, "ERESTART_RESTARTBLOCK"),
];

/// The name of an error, such as ENOENT.
pub fn errno(number: i32) -> Cow<'static, str> {
    if let Some((_, name)) = RESTARTS.iter().find(|(restart, _)| *restart == number) {
        return (*name).into();
    }
    match Errno::from_raw(number) {
        Errno::UnknownErrno => format!("errno {number}").into(),
        known => format!("{known:?}").into(),
    }
}

/// The first and the last real-time signal, as the kernel counts (include/uapi/asm/signal.h).
const SIGRTMIN: u32 = 32;
const SIGRTMAX: u32 = 64;

/// The name of a signal, such as SIGTERM.
pub fn signal(number: u32) -> Cow<'static, str> {
    match (i32::try_from(number).ok().and_then(|number| Signal::try_from(number).ok()), number) {
        (Some(signal), _) => signal.as_str().into(),
        (None, SIGRTMIN) => "SIGRTMIN".into(),
        (None, SIGRTMIN..=SIGRTMAX) => format!("SIGRTMIN+{}", number - SIGRTMIN).into(),
        (None, 0) => "0".into(),
        (None, _) => format!("signal {number}").into(),
    }
}

/// The number of a signal: a number, or a name with or without SIG.
pub fn signal_number(text: &str) -> Option<u32> {
    if let Ok(number) = text.parse() {
        return (1..=SIGRTMAX).contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    (1..=SIGRTMAX).find(|number| signal(*number) == name)
}

/// Flags by their bits, in the order of the list; what has no name is a number at the end.
pub fn flags(value: u64, names: &[(u64, &str)]) -> String {
    let mut text = String::new();
    let mut rest = value;
    let mut add = |word: &str| {
        if !text.is_empty() {
            text.push('|');
        }
        text.push_str(word);
    };
    for (bits, name) in names {
        if *bits != 0 && rest & bits == *bits {
            rest &= !bits;
            add(name);
        }
    }
    if rest != 0 || value == 0 {
        add(&if rest == 0 { "0".to_owned() } else { format!("{rest:#x}") });
    }
    text
}

/// Flags of open() on x86_64 (include/uapi/asm-generic/fcntl.h), those of several bits first.
const OPEN_FLAGS: [(u64, &str); 18] = [
    (0o20200000, "O_TMPFILE"),
    (0o4010000, "O_SYNC"),
    (0o100, "O_CREAT"),
    (0o200, "O_EXCL"),
    (0o400, "O_NOCTTY"),
    (0o1000, "O_TRUNC"),
    (0o2000, "O_APPEND"),
    (0o4000, "O_NONBLOCK"),
    (0o10000, "O_DSYNC"),
    (0o20000, "O_ASYNC"),
    (0o40000, "O_DIRECT"),
    (0o100000, "O_LARGEFILE"),
    (0o200000, "O_DIRECTORY"),
    (0o400000, "O_NOFOLLOW"),
    (0o1000000, "O_NOATIME"),
    (0o2000000, "O_CLOEXEC"),
    (0o10000000, "O_PATH"),
    (0o4000000, "__O_SYNC"),
];

/// What a file is opened for, and how: `O_RDONLY|O_CLOEXEC`.
pub fn open_flags(value: u64) -> String {
    // The lowest two bits are a number (fcntl.h: O_ACCMODE).
    let access = ["O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"][(value & 3) as usize];
    match value & !3 {
        0 => access.to_owned(),
        rest => format!("{access}|{}", flags(rest, &OPEN_FLAGS)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_signals_have_names() {
        assert_eq!(errno(2), "ENOENT");
        assert_eq!(errno(512), "ERESTARTSYS");
        assert_eq!(errno(4000), "errno 4000");
        assert_eq!(signal(9), "SIGKILL");
        assert_eq!(signal(34), "SIGRTMIN+2");
        assert_eq!(signal(99), "signal 99");
        for number in 1..=64 {
            assert_eq!(signal_number(&signal(number)), Some(number));
        }
        assert_eq!(signal_number("term"), Some(15));
        assert_eq!(signal_number("17"), Some(17));
        assert_eq!(signal_number("0"), None);
        assert_eq!(signal_number("SIGNOT"), None);
    }

    #[test]
    fn flags_have_names() {
        assert_eq!(open_flags(0o2000000), "O_RDONLY|O_CLOEXEC");
        assert_eq!(open_flags(0o1101), "O_WRONLY|O_CREAT|O_TRUNC");
        assert_eq!(open_flags(0o4010000), "O_RDONLY|O_SYNC");
        assert_eq!(open_flags(2), "O_RDWR");
        assert_eq!(open_flags(1 << 40), "O_RDONLY|0x10000000000");
    }
}
