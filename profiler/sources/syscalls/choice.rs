//! Which system calls are wanted: `-e open,close`, `-e file,network`, `-e !futex`.

use anyhow::{Result, bail};

use super::{
    Known,
    recipe::Kind,
    table::{CALLS_MAX, Call},
};
use crate::nearest::nearest;

/// Classes, in the words of strace.
const CLASSES: [&str; 6] = ["file", "desc", "network", "memory", "process", "signal"];

const NETWORK: [&str; 19] = [
    "socket",
    "socketpair",
    "bind",
    "listen",
    "accept",
    "accept4",
    "connect",
    "getsockname",
    "getpeername",
    "sendto",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "sendmmsg",
    "recvmmsg",
    "setsockopt",
    "getsockopt",
    "shutdown",
    "sendfile",
];
const MEMORY: [&str; 26] = [
    "brk",
    "mmap",
    "munmap",
    "mremap",
    "mprotect",
    "pkey_mprotect",
    "madvise",
    "mincore",
    "msync",
    "mlock",
    "mlock2",
    "munlock",
    "mlockall",
    "munlockall",
    "mbind",
    "set_mempolicy",
    "get_mempolicy",
    "migrate_pages",
    "move_pages",
    "remap_file_pages",
    "shmat",
    "shmdt",
    "process_madvise",
    "pkey_alloc",
    "pkey_free",
    "mseal",
];
const PROCESS: [&str; 16] = [
    "fork",
    "vfork",
    "clone",
    "clone3",
    "execve",
    "execveat",
    "exit",
    "exit_group",
    "wait4",
    "waitid",
    "kill",
    "tkill",
    "tgkill",
    "pidfd_open",
    "pidfd_send_signal",
    "unshare",
];
const SIGNAL: [&str; 16] = [
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigpending",
    "rt_sigtimedwait",
    "rt_sigqueueinfo",
    "rt_sigsuspend",
    "rt_sigreturn",
    "rt_tgsigqueueinfo",
    "sigaltstack",
    "kill",
    "tkill",
    "tgkill",
    "signalfd",
    "signalfd4",
    "pause",
    "pidfd_send_signal",
];

/// Whether each call is wanted, by number. No words: all of them; words with `!` take away.
///
/// # Errors
/// There is no such call or class.
pub fn choose(words: &[String], known: &Known) -> Result<Vec<bool>> {
    let negative = |word: &&String| word.starts_with('!');
    // What is only taken away is taken from all.
    let mut wanted = vec![words.iter().all(|word| negative(&word)); CALLS_MAX];
    for word in words {
        let (name, value) = match word.strip_prefix('!') {
            Some(name) => (name, false),
            None => (&**word, true),
        };
        let mut any = false;
        for (number, call) in known.table.calls() {
            if call.name == name || is_of(name, call, &known.kinds[number as usize]) {
                wanted[number as usize] = value;
                any = true;
            }
        }
        if !any {
            let calls = known.table.calls().map(|(_, call)| call.name.clone());
            let near = nearest(name, calls.chain(CLASSES.map(str::to_owned)));
            bail!("no system call {name}{near}; classes are {}", CLASSES.join(", "));
        }
    }
    Ok(wanted)
}

fn is_of(class: &str, call: &Call, kinds: &[Kind]) -> bool {
    let name = &*call.name;
    match class {
        // What takes a path; names of other things are texts as well.
        "file" => {
            let path = |(arg, kind): (&super::table::Arg, &Kind)| {
                *kind == Kind::Text && !matches!(&*arg.name, "name" | "key" | "type" | "_type")
            };
            call.args.iter().zip(kinds).any(path) || matches!(name, "getcwd" | "fchdir")
        }
        "desc" => kinds.contains(&Kind::File),
        "network" => NETWORK.contains(&name),
        "memory" => MEMORY.contains(&name),
        "process" => PROCESS.contains(&name),
        "signal" => SIGNAL.contains(&name),
        _ => false,
    }
}
