//! What this machine allows: each thing that rprof can use, what is lost without it, and how to
//! get it.

use std::{fs, path::Path};

use anyhow::{Result, bail};
use libbpf_rs::MapType;
use perf_event::{
    Builder,
    events::{Hardware, Software},
};
use serde::Serialize;

use crate::{machine, sources::has_syscall_programs};

/// Capabilities, by their numbers in linux/capability.h.
pub const CAPABILITIES: [(&str, u32, &str); 5] = [
    ("CAP_BPF", 39, "loading BPF programs"),
    ("CAP_PERFMON", 38, "sampling all processes and reading kernel stacks"),
    ("CAP_SYS_PTRACE", 19, "names in processes of other users"),
    ("CAP_CHECKPOINT_RESTORE", 40, "names in files that were deleted or replaced"),
    ("CAP_SYS_ADMIN", 21, "the kernel's account of rprof's BPF time; rprof measures it itself"),
];

/// How many of them recording cannot do without.
const NEEDED: usize = 2;

const BTF: &str = "/sys/kernel/btf/vmlinux";

/// How a check came out.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// There.
    Yes,
    /// Not there; something is lost.
    Less,
    /// Not there; nothing can be recorded.
    No,
}

/// One thing that rprof can use.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// Whether it is there.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What is lost without it; empty if it is there.
    pub lost: &'static str,
    /// How to get it; empty if it is there.
    pub remedy: String,
}

/// Fails if this machine or our privileges do not allow recording at all.
///
/// # Errors
/// What is missing, and how to get it.
pub fn check_recording() -> Result<()> {
    let missing = missing_capabilities(NEEDED);
    if !missing.is_empty() {
        bail!("recording needs {}; {}", missing.join(" and "), privilege_remedy());
    }
    for check in [btf(), perf_events()] {
        if check.verdict == Verdict::No {
            bail!("{}: {}; {}", check.name, check.found, check.remedy);
        }
    }
    Ok(())
}

/// Checks everything.
pub fn examine() -> Vec<Check> {
    vec![
        privileges(),
        btf(),
        ring_buffer(),
        syscall_programs(),
        perf_events(),
        pmu(),
        sample_rate(),
        cgroup2(),
        kallsyms(),
        paranoid(),
        uprobes(),
        uprobe_multi(),
        uprobe_session(),
        tracefs(),
        viewer_user(),
    ]
}

fn yes(name: &'static str, found: impl Into<String>) -> Check {
    let (lost, remedy) = ("", String::new());
    Check { name, verdict: Verdict::Yes, found: found.into(), lost, remedy }
}

fn privileges() -> Check {
    let missing = missing_capabilities(CAPABILITIES.len());
    if missing.is_empty() {
        let who = if nix::unistd::geteuid().is_root() { "root" } else { "capabilities" };
        return yes("privileges", who);
    }
    let needed = !missing_capabilities(NEEDED).is_empty();
    let first = CAPABILITIES.iter().find(|(name, ..)| *name == missing[0]);
    Check {
        name: "privileges",
        verdict: if needed { Verdict::No } else { Verdict::Less },
        found: format!("without {}", missing.join(", ")),
        lost: first.map_or("", |(.., purpose)| purpose),
        remedy: privilege_remedy(),
    }
}

/// Two ways to get capabilities. Root is not told to use sudo: where root lacks them, a container
/// withholds them.
fn privilege_remedy() -> String {
    let all: Vec<String> = CAPABILITIES.iter().map(|(name, ..)| name.to_lowercase()).collect();
    let all = all.join(",");
    if nix::unistd::geteuid().is_root() {
        let add = all.to_uppercase().replace("CAP_", "--cap-add ").replace(',', " ");
        return format!(
            "this root has no such capability, as in a container: start it with {add}, or run \
             rprof on the host"
        );
    }
    let binary = std::env::current_exe().unwrap_or_else(|_| "rprof".into());
    format!(
        "run it with sudo, or give it to the program: sudo setcap {all}=ep {}",
        binary.display()
    )
}

fn missing_capabilities(first: usize) -> Vec<&'static str> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    let missing = CAPABILITIES[..first].iter().filter(|(_, bit, _)| mask >> bit & 1 == 0);
    missing.map(|(name, ..)| *name).collect()
}

fn btf() -> Check {
    if Path::new(BTF).exists() {
        return yes("BTF", BTF);
    }
    Check {
        name: "BTF",
        verdict: Verdict::No,
        found: format!("there is no {BTF}"),
        lost: "recording",
        remedy: "a kernel built with CONFIG_DEBUG_INFO_BTF=y".into(),
    }
}

/// A feature of the kernel that is there or not; `verdict` is what it is without it.
fn feature(
    name: &'static str,
    there: bool,
    verdict: Verdict,
    lost: &'static str,
    since: &'static str,
) -> Check {
    if there {
        return yes(name, "supported");
    }
    Check {
        name,
        verdict,
        found: "not supported, or not for us".into(),
        lost,
        remedy: since.into(),
    }
}

fn ring_buffer() -> Check {
    let there = MapType::RingBuf.is_supported().unwrap_or(false);
    let since = "Linux 5.8 or later and CAP_BPF";
    feature("BPF ring buffer", there, Verdict::No, "recording", since)
}

fn syscall_programs() -> Check {
    let lost = "asking the kernel for its names; all of /proc/kallsyms is read instead";
    let since = "Linux 5.14 or later and CAP_BPF";
    feature("BPF syscall programs", has_syscall_programs(), Verdict::Less, lost, since)
}

fn uprobe_multi() -> Check {
    let there = machine::attaches("BPF_TRACE_UPROBE_MULTI");
    let lost = "attaching to many functions at once is slow";
    feature("uprobe multi", there, Verdict::Less, lost, "Linux 6.6 or later")
}

fn uprobe_session() -> Check {
    let there = machine::attaches("BPF_TRACE_UPROBE_SESSION");
    let lost = "two probes instead of one at the start and end of a function";
    feature("uprobe session", there, Verdict::Less, lost, "Linux 6.13 or later")
}

fn perf_events() -> Check {
    let mut builder = Builder::new(Software::CPU_CLOCK);
    builder.any_pid().one_cpu(0).sample_frequency(1).exclude_kernel(false);
    match builder.build() {
        Ok(_) => yes("perf events", "cpu-clock"),
        Err(error) => {
            let built = Path::new("/proc/sys/kernel/perf_event_paranoid").exists();
            Check {
                name: "perf events",
                verdict: Verdict::No,
                found: format!("perf_event_open: {error}"),
                lost: "recording",
                remedy: match built {
                    true => "CAP_PERFMON, and no seccomp filter that forbids it".into(),
                    false => "a kernel built with CONFIG_PERF_EVENTS=y".into(),
                },
            }
        }
    }
}

fn pmu() -> Check {
    let mut builder = Builder::new(Hardware::CPU_CYCLES);
    builder.any_pid().one_cpu(0).sample_frequency(1).exclude_kernel(false);
    match builder.build() {
        Ok(_) => yes("hardware counters", "cycles"),
        Err(error) => Check {
            name: "hardware counters",
            verdict: Verdict::Less,
            found: error.to_string(),
            lost: "sampling by cycles and where interrupts are off; the CPU clock is used",
            remedy: "a PMU; in a virtual machine, its host has to pass one through".into(),
        },
    }
}

fn sysctl(name: &str) -> Option<String> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn sample_rate() -> Check {
    let name = "kernel.perf_event_max_sample_rate";
    match sysctl(name).and_then(|rate| rate.parse::<u64>().ok()) {
        Some(rate) if rate >= 999 => yes("sample rate", format!("up to {rate} Hz")),
        found => Check {
            name: "sample rate",
            verdict: Verdict::Less,
            found: found.map_or("not known".into(), |rate| format!("up to {rate} Hz only")),
            lost: "high sample rates",
            remedy: format!("sysctl {name}=100000"),
        },
    }
}

fn cgroup2() -> Check {
    match crate::target::cgroup2_mount() {
        Ok(mount) => yes("cgroup2", mount.display().to_string()),
        Err(_) => Check {
            name: "cgroup2",
            verdict: Verdict::Less,
            found: "not mounted".into(),
            lost: "--cgroup and --by cgroup",
            remedy: "mount -t cgroup2 none /sys/fs/cgroup".into(),
        },
    }
}

fn kallsyms() -> Check {
    let name = "kernel.kptr_restrict";
    let level = sysctl(name).unwrap_or_else(|| "?".into());
    let (found, remedy) = if !Path::new("/proc/kallsyms").exists() {
        ("there is no /proc/kallsyms".into(), "a kernel built with CONFIG_KALLSYMS=y".into())
    // A restriction on pointers hides nothing from the kernel's own %ps, but all of that file.
    } else if !has_syscall_programs() && symbolizer::kernel::symbolize(&[]).is_err() {
        (format!("{name} = {level} hides them"), format!("CAP_SYSLOG and sysctl {name}=1"))
    } else {
        return yes("kernel symbols", format!("{name} = {level}; not in the way"));
    };
    let lost = "names of kernel functions";
    Check { name: "kernel symbols", verdict: Verdict::Less, found, lost, remedy }
}

fn paranoid() -> Check {
    let name = "kernel.perf_event_paranoid";
    let level = sysctl(name).unwrap_or_else(|| "?".into());
    let privileged = missing_capabilities(NEEDED).is_empty();
    match privileged || level.parse::<i32>().is_ok_and(|level| level < 0) {
        true => yes("paranoid level", format!("{name} = {level}; not in the way")),
        false => Check {
            name: "paranoid level",
            verdict: Verdict::Less,
            found: format!("{name} = {level}"),
            lost: "sampling other processes without CAP_PERFMON",
            remedy: format!("CAP_PERFMON, or sysctl {name}=-1"),
        },
    }
}

fn uprobes() -> Check {
    let path = "/sys/bus/event_source/devices/uprobe";
    if Path::new(path).exists() {
        return yes("uprobes", path);
    }
    Check {
        name: "uprobes",
        verdict: Verdict::Less,
        found: format!("there is no {path}"),
        lost: "sources that probe functions of programs",
        remedy: "a kernel built with CONFIG_UPROBE_EVENTS=y".into(),
    }
}

/// Whom the agent's page is given to.
fn viewer_user() -> Check {
    match crate::agent::viewer_user(None) {
        Ok(user) => yes("agent's viewer", format!("runs as {}", user.name)),
        Err(error) => Check {
            name: "agent's viewer",
            verdict: Verdict::Less,
            found: error.to_string(),
            lost: "the page of `rprof agent`",
            remedy: "useradd --system rprof, or --listen none".into(),
        },
    }
}

fn tracefs() -> Check {
    let places = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
    let mounted = places.iter().find(|place| Path::new(place).join("events").exists());
    match mounted {
        Some(place) => yes("tracefs", *place),
        None => Check {
            name: "tracefs",
            verdict: Verdict::Less,
            found: "not mounted".into(),
            lost: "listing tracepoints; nothing that `record` does today",
            remedy: "mount -t tracefs none /sys/kernel/tracing".into(),
        },
    }
}
