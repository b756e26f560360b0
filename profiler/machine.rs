//! Facts about this machine that several parts need.

use std::{fs, sync::OnceLock};

use anyhow::{Context, Result, bail};
use libbpf_rs::btf::{Btf, types::Enum};

/// CPUs that are online, in order.
///
/// # Errors
/// sysfs is not mounted.
pub fn online_cpus() -> Result<Vec<usize>> {
    let path = "/sys/devices/system/cpu/online";
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let cpus = parse_cpus(&text).with_context(|| format!("{path} reads {text:?}"))?;
    if cpus.is_empty() {
        bail!("{path} names no CPU");
    }
    Ok(cpus)
}

/// A list of CPUs as sysfs writes it: `0-3,8`.
fn parse_cpus(text: &str) -> Result<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<usize>()?..=last.parse()?);
    }
    Ok(cpus)
}

/// Name, kernel release and architecture of the machine, as uname(2) gives them.
pub fn uname() -> (String, String, String) {
    match nix::sys::utsname::uname() {
        Ok(name) => {
            let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
            (text(name.nodename()), text(name.release()), text(name.machine()))
        }
        Err(_) => Default::default(),
    }
}

/// True if the kernel attaches BPF programs so: `way` is an enumerator of its `enum bpf_attach_type`.
/// That it has the functions which go with it says less: those of sessions are there since Linux 6.10,
/// for kprobes, and for uprobes since 6.13.
pub fn attaches(way: &str) -> bool {
    let Ok(btf) = Btf::from_vmlinux() else { return false };
    let ways = btf.type_by_name::<Enum<'_>>("bpf_attach_type");
    ways.is_some_and(|ways| ways.iter().any(|each| each.name.is_some_and(|name| name == way)))
}

/// Now, ns on CLOCK_MONOTONIC: the clock of every sample.
pub fn monotonic_ns() -> u64 {
    clock_ns(nix::time::ClockId::CLOCK_MONOTONIC)
}

/// Now, ns since the Unix epoch.
pub fn unix_ns() -> u64 {
    clock_ns(nix::time::ClockId::CLOCK_REALTIME)
}

/// CPU time that this process has used, user and system, seconds.
pub fn cpu_seconds() -> f64 {
    clock_ns(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID) as f64 / 1e9
}

/// Time that all CPUs were busy since boot, ns, in steps of 10 ms; 0 if it is not known.
pub fn busy_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let words = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
    // user, nice, system, then idle and iowait, irq, softirq, steal (proc(5)).
    let busy = ticks.iter().enumerate().filter(|(at, _)| *at < 3 || (5..8).contains(at));
    busy.map(|(_, ticks)| ticks * 10_000_000).sum()
}

/// Peak resident memory of this process, bytes.
pub fn peak_rss() -> u64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF);
    // ru_maxrss is in KiB (getrusage(2)).
    usage.map_or(0, |usage| usage.max_rss() as u64 * 1024)
}

/// Resident memory of this process now, bytes; 0 if it is not known.
pub fn rss() -> u64 {
    // proc(5): the second number of statm is the resident set, in pages.
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 =
        text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * rustix::param::page_size() as u64
}

/// The most threads that name frames and build tables: more would only need more memory at once.
pub const WORKERS_MAX: usize = 4;

/// Starts the threads that rayon's calls run on, at most `most`, unless there are some.
///
/// # Errors
/// No more threads are allowed.
pub fn start_workers(most: usize) -> Result<()> {
    static STARTED: OnceLock<()> = OnceLock::new();
    if STARTED.set(()).is_err() {
        return Ok(());
    }
    let count = std::thread::available_parallelism().map_or(1, usize::from).min(most);
    rayon::ThreadPoolBuilder::new()
        .num_threads(count)
        .thread_name(|_| "rprof-work".into())
        .build_global()
        .context("cannot start threads")
}

/// Lets the calling thread, and those that it starts later, run ahead of what it measures: on a
/// busy machine it would else come too late to empty the kernel's buffers. Without CAP_SYS_NICE it
/// stays as it is.
pub fn run_ahead() {
    let _ = rustix::process::setpriority_process(None, NICE);
}

/// Lets all threads of this process run ahead: it is about to end, and somebody waits for that.
pub fn run_all_ahead() {
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let thread = task.file_name().to_str().and_then(|name| name.parse().ok());
        // The system call takes threads for processes (setpriority(2), under BUGS).
        if let Some(thread) = thread.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::setpriority_process(Some(thread), NICE);
        }
    }
}

/// Ahead of everything that did not ask for the same, and behind what is in real time.
const NICE: i32 = -15;

fn clock_ns(clock: nix::time::ClockId) -> u64 {
    clock.now().map_or(0, |now| now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        assert_eq!(parse_cpus("0-3,8\n").unwrap(), [0, 1, 2, 3, 8]);
        assert_eq!(parse_cpus("0").unwrap(), [0]);
        assert!(parse_cpus("0-x").is_err());
    }
}
