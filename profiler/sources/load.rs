//! What every source of kind `stacks` does to load, fill, read and explain its BPF object.

use std::{cell::RefCell, rc::Rc};

use anyhow::{Context, Result};
use libbpf_rs::{
    MapCore, MapFlags, MapMut, ProgramInput, ProgramMut, ProgramType, RingBuffer, RingBufferBuilder,
};
use symbolizer::kernel;

use super::{KernelSymbol, Options};
use crate::{
    bpf::{self, Plain},
    collector::Batch,
    model::Stats,
};

/// Snapshots of stacks (16 KiB mostly, 252 KiB at most) that the kernel may send between two looks
/// at its ring buffer. They wake us, so this bounds the time that a storm of new processes can take.
pub const SNAPSHOTS: u64 = 64;

/// `enum target_state`.
const TARGET_ACTIVE: u32 = 1;
const TARGET_AT_EXEC: u32 = 2;

/// True if processes that a target starts become targets.
pub fn follows_children(options: &Options) -> bool {
    options.target.is_by_pid() && !options.target.no_children
}

/// Sets the knobs of `bpf/target.bpf.h`. A macro, since each skeleton has
/// its own type for the same fields.
macro_rules! configure {
    ($rodata:expr, $options:expr) => {{
        let (rodata, target) = (&mut *$rodata, &$options.target);
        rodata.filter_pid = target.is_by_pid();
        if let Some(comm) = &target.comm {
            rodata.filter_comm = true;
            for (to, from) in rodata.target_comm.iter_mut().zip(comm.bytes()) {
                *to = from as i8;
            }
        }
        if let Some(uid) = target.uid {
            rodata.filter_uid = true;
            rodata.target_uid = uid;
        }
        if let Some(cgroup) = &target.cgroup {
            rodata.filter_cgroup = true;
            rodata.target_cgroup = cgroup.id;
            rodata.target_cgroup_level = cgroup.level;
        }
    }};
}
pub(super) use configure;

/// Sets the knobs of `bpf/stacks.bpf.h` for source number `number` of a session.
macro_rules! number {
    ($rodata:expr, $options:expr, $base:expr, $number:expr) => {{
        let rodata = &mut *$rodata;
        rodata.source = $number;
        rodata.frame_pointers_only = $options.frame_pointers;
        rodata.fingerprint_key = $base.fingerprint_key();
        rodata.wakeup_bytes = $base.wakeup_bytes();
        rodata.wakeup_pause = $base.wakeup_pause().as_nanos() as u64;
    }};
}
pub(super) use number;

/// A key that nobody can guess: std seeds each of its hashers from the system's random source.
pub fn random_key() -> [u64; 2] {
    use std::hash::{BuildHasher, RandomState};
    [RandomState::new().hash_one(0), RandomState::new().hash_one(1)]
}

/// Puts the pids of the target into its map.
pub fn set_targets(map: &impl MapCore, options: &Options) -> Result<()> {
    for &pid in &options.target.pids {
        let state = if options.at_exec == Some(pid) { TARGET_AT_EXEC } else { TARGET_ACTIVE };
        map.update(&pid.to_ne_bytes(), &state.to_ne_bytes(), MapFlags::ANY)
            .with_context(|| format!("cannot add process {pid} to the targets"))?;
    }
    Ok(())
}

/// The two ring buffers; what they carry ends up in `batch`.
pub fn ring(
    records: &MapMut<'_>,
    snapshots: &MapMut<'_>,
    batch: &Rc<RefCell<Batch>>,
) -> Result<RingBuffer<'static>> {
    let mut builder = RingBufferBuilder::new();
    // Snapshots first: the kernel stack of each was announced among the records before.
    let to = Rc::clone(batch);
    builder.add(snapshots, move |bytes: &[u8]| {
        to.borrow_mut().push_snapshot(bytes);
        0
    })?;
    let to = Rc::clone(batch);
    builder.add(records, move |bytes: &[u8]| {
        to.borrow_mut().push(bytes);
        0
    })?;
    builder.build().context("cannot map the ring buffer")
}

/// Sets every entry of an array of fingerprints to zero.
pub fn clear(map: &MapMut<'_>) -> Result<()> {
    let empty = bpf::fingerprint::default();
    for slot in 0..map.max_entries() {
        map.update(&slot.to_ne_bytes(), bpf::bytes(&empty), MapFlags::ANY)?;
    }
    Ok(())
}

/// Adds the kernel's counters to `stats`.
pub fn count(counters: &bpf::counters, stats: &mut Stats) {
    stats.samples += counters.samples - counters.samples_lost;
    stats.lost += counters.samples_lost;
    stats.truncated += counters.kernel_truncated;
    stats.kernel_failed += counters.kernel_failed;
}

/// Where the kernel's own accounting of our time is off, takes what the programs measured.
pub fn or_own_run_time(counters: &bpf::counters, stats: &mut Stats) {
    if stats.overhead.bpf_ns == 0 {
        (stats.overhead.bpf_ns, stats.overhead.bpf_runs) = (counters.run_ns, counters.samples);
    }
}

/// Adds the time that our programs ran to `stats`.
pub fn add_run_time(programs: &[&ProgramMut<'_>], stats: &mut Stats) {
    use std::os::fd::AsFd;
    for program in programs.iter().filter(|program| program.autoload()) {
        let (time, runs) = bpf::run_time(program.as_fd());
        stats.overhead.bpf_ns += time;
        stats.overhead.bpf_runs += runs;
    }
}

/// True if the kernel can be asked for names (since 5.14); else /proc/kallsyms is read for them.
pub fn has_syscall_programs() -> bool {
    ProgramType::Syscall.is_supported().unwrap_or(false)
}

/// Names kernel addresses, by running `name_symbols` of `bpf/symbols.bpf.h` where it is loaded.
pub fn name_kernel(
    map: &MapMut<'_>,
    program: &ProgramMut<'_>,
    addresses: &[u64],
) -> Vec<Option<KernelSymbol>> {
    if !program.autoload() {
        return read_kallsyms(addresses);
    }
    let mut names = Vec::with_capacity(addresses.len());
    // Sized by the array in C.
    let mut question = bpf::symbols { count: 0, addresses: [0; 64], names: [[0; 192]; 64] };
    for chunk in addresses.chunks(question.addresses.len()) {
        question.count = chunk.len() as u64;
        question.addresses[..chunk.len()].copy_from_slice(chunk);
        let answer = ask(map, program, &question);
        names.extend((0..chunk.len()).map(|i| {
            let text: Vec<u8> = answer.as_ref()?.names[i]
                .iter()
                .map(|&c| c as u8)
                .take_while(|&c| c != 0)
                .collect();
            parse_symbol(&String::from_utf8_lossy(&text))
        }));
    }
    names
}

fn read_kallsyms(addresses: &[u64]) -> Vec<Option<KernelSymbol>> {
    // The kernel writes all of its symbols for each reading.
    if addresses.is_empty() {
        return Vec::new();
    }
    let functions = kernel::symbolize(addresses).unwrap_or_else(|error| {
        tracing::warn!("no names of kernel functions: {error}");
        vec![None; addresses.len()]
    });
    let symbol = |kernel::Function { name, module }| KernelSymbol { name, module };
    functions.into_iter().map(|function| function.map(symbol)).collect()
}

fn ask(
    map: &MapMut<'_>,
    program: &ProgramMut<'_>,
    question: &bpf::symbols,
) -> Option<bpf::symbols> {
    let key = 0u32.to_ne_bytes();
    map.update(&key, bpf::bytes(question), MapFlags::ANY).ok()?;
    program.test_run(ProgramInput::default()).ok()?;
    read_value(map, &key)
}

fn read_value<T: Plain>(map: &MapMut<'_>, key: &[u8]) -> Option<T> {
    bpf::read(&map.lookup(key, MapFlags::ANY).ok()??)
}

/// Takes apart what "%ps" prints: `name`, `name [module]`, or the address where there is no
/// symbol.
fn parse_symbol(text: &str) -> Option<KernelSymbol> {
    let (name, module) = match text.split_once(" [") {
        Some((name, module)) => (name, Some(module.trim_end_matches(']').to_owned())),
        None => (text, None),
    };
    let known = !name.is_empty() && !name.starts_with("0x");
    known.then(|| KernelSymbol { name: name.to_owned(), module })
}

/// Bytes that a ring buffer needs so that it holds what comes in four waits: samples with their
/// wake-up delayed, and a new stack of 30 frames for each.
pub fn ring_bytes(records_a_second: u64) -> u32 {
    let record = size_of::<bpf::sample>() as u64 + 2 * 256;
    let bytes = records_a_second * record * u64::from(super::POLL_MS) * 4 / 1000;
    bytes.clamp(1 << 20, 1 << 26).next_power_of_two() as u32
}

/// Why a BPF object could not be loaded, and the way out.
pub fn explain(error: libbpf_rs::Error) -> anyhow::Error {
    let reason = match error.kind() {
        // The verifier says no in the same word.
        libbpf_rs::ErrorKind::PermissionDenied if crate::doctor::check_recording().is_ok() => {
            "the verifier of this kernel refused rprof's BPF program, which loads on others: please \
             report it, with `uname -r` and what -vvv prints"
        }
        libbpf_rs::ErrorKind::PermissionDenied => {
            "the kernel refused the BPF program: a capability is missing (CAP_BPF and CAP_PERFMON), \
             or kernel lockdown or a security module forbids BPF; `rprof doctor` tells which"
        }
        libbpf_rs::ErrorKind::OutOfMemory => "not enough memory for the BPF maps",
        _ => "this kernel does not load rprof's BPF program; `rprof doctor` tells what it lacks",
    };
    anyhow::Error::new(error).context(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_symbols_are_taken_apart() {
        let symbol = |name: &str, module: Option<&str>| {
            Some(KernelSymbol { name: name.into(), module: module.map(Into::into) })
        };
        assert_eq!(parse_symbol("do_syscall_64"), symbol("do_syscall_64", None));
        assert_eq!(parse_symbol("ext4_sync_fs [ext4]"), symbol("ext4_sync_fs", Some("ext4")));
        assert_eq!(parse_symbol("0xffffffff81000000"), None);
        assert_eq!(parse_symbol(""), None);
    }
}
