//! What processes do to their address spaces: exec, new executable mappings, fork, exit.
//!
//! The kernel tells it as side-band records of a perf event that counts nothing (PERF_COUNT_SW_DUMMY
//! with mmap2, comm_exec and task set; perf_event_open(2)). They are written before the new code can
//! run and carry the clock of the samples, so even a process that has ended before anyone could
//! look at it in /proc has known mappings.

use std::{collections::BTreeMap, os::fd::BorrowedFd, time::Duration};

use anyhow::{Context, Result};
use perf_event::{Builder, Clock, SampleFlag, Sampler, data, events::Software};
use symbolizer::Mapping;

use crate::{bpf, machine};

/// Bytes of side-band buffer for each CPU: 1,500 mappings between two looks.
const RING_BYTES: usize = 256 << 10;
/// Bytes in a buffer from which on we are woken.
const WAKEUP_BYTES: usize = RING_BYTES / 4;
/// PERF_RECORD_MISC_COMM_EXEC: the name changed because of an exec.
const COMM_EXEC: u16 = 1 << 13;

/// Something that a process did.
#[derive(Clone, Debug)]
pub struct TaskEvent {
    /// When, ns, CLOCK_MONOTONIC.
    pub time: u64,
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// What.
    pub kind: TaskKind,
}

/// What a process did.
#[derive(Clone, Debug)]
pub enum TaskKind {
    /// It started another program: all its mappings are gone.
    Exec,
    /// It mapped code.
    Map(Mapping),
    /// It was started by this process, with a copy of its mappings.
    ForkedFrom(u32),
    /// Its last thread has ended.
    Exit,
}

/// The side-band buffers of all CPUs.
pub struct TaskEvents {
    samplers: BTreeMap<usize, Sampler>,
    /// For how long each event had been counting when it was last looked at.
    counted: BTreeMap<usize, Duration>,
    /// Records that were lost for want of room.
    pub lost: u64,
}

impl TaskEvents {
    /// Opens a buffer on each CPU that is online.
    ///
    /// # Errors
    /// The kernel does not allow it.
    pub fn open() -> Result<Self> {
        let mut events = Self { samplers: BTreeMap::new(), counted: BTreeMap::new(), lost: 0 };
        events.follow_cpus()?;
        Ok(events)
    }

    /// Follows CPUs that came online; returns those whose events had to be opened. The buffer of
    /// one that went away stays until then, for what is in it; to be called after
    /// [`TaskEvents::drain`].
    ///
    /// # Errors
    /// The kernel does not allow it.
    pub fn follow_cpus(&mut self) -> Result<Vec<usize>> {
        let mut opened = Vec::new();
        for cpu in machine::online_cpus()? {
            if self.is_counting(cpu) {
                continue;
            }
            let sampler = open(cpu).with_context(|| {
                format!("cannot follow the processes of CPU {cpu} with perf_event_open")
            })?;
            self.samplers.insert(cpu, sampler);
            self.counted.remove(&cpu);
            opened.push(cpu);
        }
        Ok(opened)
    }

    /// False if the CPU has no event, or went away since the last call: then its events stay as
    /// they were, even when it comes back, and nothing but their time standing still tells.
    fn is_counting(&mut self, cpu: usize) -> bool {
        let Some(sampler) = self.samplers.get_mut(&cpu) else { return false };
        let Some(counted) = sampler.read_full().ok().and_then(|data| data.time_enabled()) else {
            return true;
        };
        self.counted.insert(cpu, counted) != Some(counted)
    }

    /// Descriptors that become readable when a buffer fills.
    pub fn wakeup_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.samplers.values().map(|sampler| bpf::borrow_fd(sampler))
    }

    /// Everything that came since the last call, in order of time.
    pub fn drain(&mut self) -> Vec<TaskEvent> {
        let mut events = Vec::new();
        for sampler in self.samplers.values_mut() {
            while let Some(record) = sampler.next_record() {
                let bytes = record.to_contiguous();
                // With sample_id_all each record ends in what was asked for: its time.
                let Some(time) = bytes.last_chunk::<8>() else { continue };
                let time = u64::from_ne_bytes(*time);
                let exec = record.misc() & COMM_EXEC != 0;
                match record.parse_record() {
                    Ok(data::Record::Lost(lost)) => self.lost += lost.lost,
                    Ok(parsed) => events.extend(understand(parsed, time, exec)),
                    Err(_) => self.lost += 1,
                }
            }
        }
        events.sort_by_key(|event| event.time);
        events
    }
}

fn open(cpu: usize) -> std::io::Result<Sampler> {
    let mut builder = Builder::new(Software::DUMMY);
    builder
        .any_pid()
        .one_cpu(cpu)
        .sample(SampleFlag::TIME)
        .sample_id_all(true)
        .clockid(Clock::MONOTONIC)
        .mmap(true)
        .mmap2(true)
        .comm(true)
        .comm_exec(true)
        .task(true)
        .exclude_kernel(false)
        .exclude_hv(false)
        .wakeup_watermark(WAKEUP_BYTES)
        .enabled(true);
    builder.build()?.sampled(RING_BYTES)
}

fn understand(record: data::Record<'_>, time: u64, exec: bool) -> Option<TaskEvent> {
    let (pid, kind) = match record {
        data::Record::Comm(comm) if exec => (comm.pid, TaskKind::Exec),
        // Threads come and go with the pid of their process on both sides.
        data::Record::Fork(fork) if fork.pid != fork.ppid => {
            (fork.pid, TaskKind::ForkedFrom(fork.ppid))
        }
        data::Record::Exit(exit) if exit.pid == exit.tid => (exit.pid, TaskKind::Exit),
        data::Record::Mmap2(map) => (map.pid, TaskKind::Map(mapping(&map))),
        _ => return None,
    };
    Some(TaskEvent { time, pid, kind })
}

fn mapping(map: &data::Mmap2<'_>) -> Mapping {
    let device = (map.maj().unwrap_or_default(), map.min().unwrap_or_default());
    let name = map.filename.split(|&byte| byte == 0).next().unwrap_or_default();
    // The kernel says it here as it does in /proc/PID/maps.
    let kept = name.strip_suffix(b" (deleted)");
    Mapping {
        start: map.addr,
        end: map.addr.saturating_add(map.len),
        offset: map.pgoff,
        device,
        inode: map.ino().unwrap_or_default(),
        executable: true,
        path: String::from_utf8_lossy(kept.unwrap_or(name)).into_owned(),
        deleted: kept.is_some(),
    }
}
