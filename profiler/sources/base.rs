//! What the sources of a session share, in the kernel and here: the ring buffers, the stacks that
//! were sent, unwind tables, and the targets. It lends its maps to each source's own object.

use std::{
    cell::RefCell,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd},
    rc::Rc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use libbpf_rs::{
    Link, MapCore, MapFlags, MapHandle, OpenObject, RingBuffer,
    skel::{OpenSkel, Skel, SkelBuilder},
};

use super::{KernelSymbol, Options, load};
use crate::{
    bpf::{self, base},
    collector::Batch,
    model::Stats,
    unwind,
};

/// The maps that sources take from here, by their names.
const SHARED: [&str; 11] = [
    "targets",
    "records",
    "snapshots",
    "seen",
    "processes",
    "waking",
    "source_counters",
    "unwind_chunks",
    "unwind_files",
    "unwind_mappings",
    "unwind_processes",
];

/// Key of what may still be sent, in `waking` of `bpf/stacks.bpf.h`.
const SNAPSHOTS_LEFT: [u8; 4] = 0u32.to_ne_bytes();

/// Snapshots between two looks where each sample is wanted whole, and bytes of a ring buffer for
/// nearly all of them (most are of 16 KiB).
const SNAPSHOTS_MANY: u64 = 2048;
const SNAPSHOTS_RING: u32 = 1 << 25;

/// The least bytes of a record in a ring buffer, which begins with 8 of the kernel's own: a stack of
/// one frame.
const RECORD_LEAST: u32 = 40;

/// Bytes that a ring buffer has where none is needed: one page, the least that there is.
const NO_RING: u32 = 4096;

/// The shared object at work.
pub struct Base {
    // Before the skeleton, so that it is gone first.
    ring: Option<RingBuffer<'static>>,
    links: Vec<Link>,
    batch: Rc<RefCell<Batch>>,
    skel: base::BaseSkel<'static>,
    wakeup_bytes: u64,
    wakeup_pause: Duration,
    /// How many may be sent between two looks.
    snapshots: u64,
    /// Records that are read at one look: as many as there is room for. What samples memory, or the
    /// CPU, has more of them come of those that are read.
    records: usize,
    fingerprint_key: [u64; 2],
}

impl Base {
    /// Loads it for sources that send this many samples a second, at most as a rule.
    ///
    /// # Errors
    /// The kernel or our privileges do not allow it: says what is missing.
    pub fn open(options: &Options, samples_a_second: u64) -> Result<Self> {
        Self::load(options, Some(load::ring_bytes(samples_a_second)), load::SNAPSHOTS)
    }

    /// As [`Base::open`], for samples that are each wanted whole: many more may be of processes whose
    /// tables are not loaded yet.
    ///
    /// # Errors
    /// As [`Base::open`].
    pub fn for_each(options: &Options, samples_a_second: u64) -> Result<Self> {
        Self::load(options, Some(load::ring_bytes(samples_a_second)), SNAPSHOTS_MANY)
    }

    /// Loads what is needed to know targets, for sources that take no stacks.
    ///
    /// # Errors
    /// As [`Base::open`].
    pub fn without_stacks(options: &Options) -> Result<Self> {
        Self::load(options, None, 0)
    }

    fn load(options: &Options, ring_bytes: Option<u32>, snapshots: u64) -> Result<Self> {
        // Once for each run of rprof: what borrows from it may then live as long as it needs.
        let storage = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = base::BaseSkelBuilder::default().open(storage)?;
        let rodata = open.maps.rodata_data.as_deref_mut().context("base.bpf.c has no .rodata")?;
        rodata.filter_children = load::follows_children(options);
        open.maps.records.set_max_entries(ring_bytes.unwrap_or(NO_RING))?;
        if snapshots == SNAPSHOTS_MANY {
            open.maps.snapshots.set_max_entries(SNAPSHOTS_RING)?;
        }
        if ring_bytes.is_none() {
            open.maps.snapshots.set_max_entries(NO_RING)?;
            open.maps.seen.set_max_entries(1)?;
            open.maps.unwind_mappings.set_max_entries(1)?;
        }
        let progs = &mut open.progs;
        progs.target_fork.set_autoload(load::follows_children(options));
        progs.target_exec.set_autoload(options.at_exec.is_some());
        progs.target_free.set_autoload(options.target.is_by_pid());
        progs.unwind_exec.set_autoload(ring_bytes.is_some());
        progs.unwind_free.set_autoload(ring_bytes.is_some());
        progs.name_symbols.set_autoload(load::has_syscall_programs());
        let skel = open.load().map_err(load::explain)?;
        load::set_targets(&skel.maps.targets, options)?;
        let batch = Rc::new(RefCell::new(Batch::default()));
        let ring = match ring_bytes {
            Some(_) => Some(load::ring(&skel.maps.records, &skel.maps.snapshots, &batch)?),
            None => None,
        };
        Ok(Self {
            ring,
            links: Vec::new(),
            batch,
            skel,
            wakeup_bytes: u64::from(ring_bytes.unwrap_or_default()) / 2,
            wakeup_pause: options.wakeup_pause,
            snapshots,
            records: (ring_bytes.unwrap_or_default() / RECORD_LEAST) as usize + snapshots as usize,
            fingerprint_key: load::random_key(),
        })
    }

    /// Has an object that is not loaded yet use the maps here instead of its own of these names.
    ///
    /// # Errors
    /// No more descriptors are to be had.
    pub fn lend(&self, object: &mut OpenObject) -> Result<()> {
        let shared = self.skel.object();
        for mut map in object.maps_mut() {
            let name = map.name().to_owned();
            if !SHARED.iter().any(|known| *known == name) {
                continue;
            }
            let ours = shared.maps().find(|ours| ours.name() == name);
            let ours = ours.with_context(|| format!("base.bpf.c has no map {name:?}"))?;
            map.reuse_fd(ours.as_fd())?;
        }
        Ok(())
    }

    /// Bytes waiting in the ring buffer from which on a source is to wake us.
    pub fn wakeup_bytes(&self) -> u64 {
        self.wakeup_bytes
    }

    /// Time between two wake-ups for new processes, at least. Who is woken has to look again by
    /// itself after this time.
    pub fn wakeup_pause(&self) -> Duration {
        self.wakeup_pause
    }

    /// The key of fingerprints.
    pub fn fingerprint_key(&self) -> [u64; 2] {
        self.fingerprint_key
    }

    /// Begins to follow processes.
    ///
    /// # Errors
    /// The kernel refuses to attach.
    pub fn start(&mut self) -> Result<()> {
        self.allow_snapshots()?;
        let progs = &self.skel.progs;
        for program in [
            &progs.target_fork,
            &progs.target_exec,
            &progs.target_free,
            &progs.unwind_exec,
            &progs.unwind_free,
        ] {
            if program.autoload() {
                self.links.push(program.attach().context("cannot attach to a sched tracepoint")?);
            }
        }
        Ok(())
    }

    /// Ends following them.
    pub fn stop(&mut self) {
        self.links.clear();
    }

    /// Becomes readable when a buffer fills or a new process was sampled; none without stacks.
    pub fn wakeup_fd(&self) -> Option<BorrowedFd<'_>> {
        // Of both ring buffers.
        self.ring.as_ref().map(bpf::epoll_fd)
    }

    /// Moves what the kernel has ready into `batch`.
    ///
    /// # Errors
    /// The ring buffer is not readable.
    pub fn drain(&mut self, batch: &mut Batch) -> Result<()> {
        if let Some(ring) = &self.ring {
            let read = ring.consume_raw_n(self.records);
            ensure!(read >= 0, "cannot read the ring buffer: error {read}");
            self.allow_snapshots()?;
            self.batch.borrow_mut().move_to(batch);
        }
        Ok(())
    }

    /// Names kernel addresses: function and, for a module, the module.
    pub fn name_kernel(&self, addresses: &[u64]) -> Vec<Option<KernelSymbol>> {
        load::name_kernel(&self.skel.maps.kernel_symbols, &self.skel.progs.name_symbols, addresses)
    }

    /// Has the kernel announce every stack anew, since we are about to forget those we know.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn forget_stacks(&self) -> Result<()> {
        load::clear(&self.skel.maps.seen)
    }

    /// The maps that unwind tables go into.
    ///
    /// # Errors
    /// No more descriptors are to be had.
    pub fn unwind_maps(&self) -> Result<unwind::Maps> {
        let maps = &self.skel.maps;
        Ok(unwind::Maps {
            chunks: MapHandle::try_from(&maps.unwind_chunks)?,
            files: MapHandle::try_from(&maps.unwind_files)?,
            mappings: MapHandle::try_from(&maps.unwind_mappings)?,
            processes: MapHandle::try_from(&maps.unwind_processes)?,
        })
    }

    /// Adds what the kernel counted so far of source number `source` to `stats`; to those of the
    /// first also what is nobody's.
    pub fn count(&self, source: u32, stats: &mut Stats) {
        let counters = self.counters(source);
        load::count(&counters, stats);
        if source == 0 {
            let lost = self.skel.maps.bss_data.as_deref().map_or(0, |bss| bss.targets_lost);
            if lost > 0 {
                *stats.missed.entry("children not followed".into()).or_default() += lost;
            }
            let progs = &self.skel.progs;
            load::add_run_time(
                &[
                    &progs.target_fork,
                    &progs.target_exec,
                    &progs.target_free,
                    &progs.unwind_exec,
                    &progs.unwind_free,
                ],
                stats,
            );
        }
    }

    /// What the kernel counted so far of a source.
    pub fn counters(&self, source: u32) -> bpf::counters {
        let map = &self.skel.maps.source_counters;
        let value = map.lookup(&source.to_ne_bytes(), MapFlags::ANY).ok().flatten();
        value.and_then(|bytes| bpf::read(&bytes)).unwrap_or_default()
    }

    fn allow_snapshots(&self) -> Result<()> {
        self.skel
            .maps
            .waking
            .update(&SNAPSHOTS_LEFT, &self.snapshots.to_ne_bytes(), MapFlags::ANY)
            .context("cannot write to a map")
    }
}
