//! What the keys of histograms are called: numbers of the kernel become words for people.

use std::net::{IpAddr, Ipv6Addr};

use super::cgroup::Cgroups;
use crate::{bpf::latency_key, model::Key};

/// Software interrupts by their numbers (include/linux/interrupt.h).
const VECTORS: [&str; 10] =
    ["hi", "timer", "net_tx", "net_rx", "block", "irq_poll", "tasklet", "sched", "hrtimer", "rcu"];

/// What a process and a thread are called, as the kernel half has it.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    /// Command name of the process.
    pub comm: &'a [i8; 16],
    /// Name of the thread.
    pub thread: &'a [i8; 16],
}

/// Names keys.
#[derive(Default)]
pub struct Keys {
    cgroups: Cgroups,
}

impl Keys {
    /// A label for each of `wanted`.
    pub fn labels(
        &mut self,
        wanted: &[Key],
        key: &latency_key,
        names: Names<'_>,
    ) -> Vec<(Key, String)> {
        wanted.iter().map(|&word| (word, self.label(word, key, names))).collect()
    }

    fn label(&mut self, wanted: Key, key: &latency_key, names: Names<'_>) -> String {
        match wanted {
            Key::Process => format!("{} ({})", text(&names.comm.map(|c| c as u8)), key.pid),
            Key::Thread => format!("{} ({})", text(&names.thread.map(|c| c as u8)), key.tid),
            Key::Cgroup => match self.cgroups.path(key.cgroup) {
                "" => format!("cgroup {}", key.cgroup),
                path => path.to_owned(),
            },
            Key::PidNamespace => key.pid_namespace.to_string(),
            Key::Cpu => key.cpu.to_string(),
            Key::Handler => text(&key.name),
            // Not of the kernel's making.
            Key::Collection | Key::Heap => String::new(),
            Key::Vector => match VECTORS.get(usize::from(key.number)) {
                Some(name) => (*name).to_owned(),
                None => key.number.to_string(),
            },
            Key::Result => result(key.number),
            Key::LocalAddress => address(&key.name[..16]),
            Key::RemoteAddress => address(&key.name[16..]),
            Key::LocalPort => key.local_port.to_string(),
            Key::RemotePort => key.remote_port.to_string(),
        }
    }
}

/// The bytes before a NUL, as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// How a connection ended that was asked for, by its errno.
fn result(errno: u16) -> String {
    match nix::errno::Errno::from_raw(i32::from(errno)) {
        _ if errno == 0 => "connected".into(),
        nix::errno::Errno::ECANCELED => "given up".into(),
        errno => errno.desc().to_lowercase(),
    }
}

fn address(bytes: &[u8]) -> String {
    let bytes: [u8; 16] = bytes.try_into().unwrap_or_default();
    IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_names() {
        let mut key = latency_key { pid: 7, tid: 8, cpu: 3, number: 3, ..Default::default() };
        let mut keys = Keys::default();
        let comm = *b"sh\0rubbish\0\0\0\0\0\0";
        let names = Names { comm: &comm.map(|b| b as i8), thread: &[b'x' as i8; 16] };
        let wanted = [Key::Process, Key::Thread, Key::Cpu, Key::Vector];
        let labels = keys.labels(&wanted, &key, names);
        let words: Vec<&str> = labels.iter().map(|(_, text)| &**text).collect();
        assert_eq!(words, ["sh (7)", "xxxxxxxxxxxxxxxx (8)", "3", "net_rx"]);
        key.number = 99;
        assert_eq!(keys.label(Key::Vector, &key, names), "99");
    }

    #[test]
    fn results_of_connections() {
        assert_eq!(result(0), "connected");
        assert_eq!(result(111), "connection refused");
        assert_eq!(result(110), "connection timed out");
        assert_eq!(result(125), "given up");
    }

    #[test]
    fn addresses_of_both_families() {
        let v4 = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1];
        assert_eq!(address(&v4), "127.0.0.1");
        let mut v6 = [0; 16];
        v6[15] = 1;
        assert_eq!(address(&v6), "::1");
    }
}
