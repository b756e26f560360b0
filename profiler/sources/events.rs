//! What every source of kind `events` does to load, attach and count its BPF object, and what it is
//! told.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use libbpf_rs::{Link, MapCore, MapFlags, Object, Program, UprobeOpts, skel::Skel};

use super::{Base, Options, load, paths::until_nul};
use crate::{
    bpf, callers,
    model::{CallTotals, Event, Field, Stats, Value},
    target::COMM_BYTES,
};

/// Bytes of a source's ring buffer, unless told otherwise.
pub const RING_BYTES: u32 = 8 << 20;

/// A source of kind `events`.
pub trait Events: Sync {
    /// Its word on the command line.
    fn name(&self) -> &'static str;

    /// What its events tell besides time, process and thread.
    fn fields(&self) -> &'static [Field];

    /// Loads its kernel half. Nothing is traced before [`EventStream::start`].
    ///
    /// # Errors
    /// The kernel or our privileges do not allow it: says what is missing.
    fn open(&self, options: &Options, filters: &Filters, base: &Base) -> Result<EventStream>;

    /// What was counted, where only totals are wanted and the kernel half keeps them.
    ///
    /// # Errors
    /// They cannot be read.
    fn totals(&self, _stream: &EventStream) -> Result<Option<Vec<CallTotals>>> {
        Ok(None)
    }

    /// What a stack that was sent beside a record is found by, if one was; see [`Filters::stacks`].
    fn stack_of(&self, _record: &[u8]) -> Option<callers::Key> {
        None
    }

    /// The event of a record; none if it is not one that we know.
    fn decode<'a>(&self, record: &'a [u8]) -> Option<Event<'a>>;
}

/// Which events are wanted, besides whose.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    /// Only what failed.
    pub failed: bool,
    /// Also what failed, where it is left out otherwise.
    pub with_failed: bool,
    /// Processes that lived, and system calls that took, this at least.
    pub least_age: Duration,
    /// Signals by their numbers; none: all.
    pub signals: Vec<u32>,
    /// Address family, 4 or 6.
    pub family: Option<u32>,
    /// Local ports; none: all.
    pub local_ports: Vec<u16>,
    /// Remote ports; none: all.
    pub remote_ports: Vec<u16>,
    /// Program or library, where the source has to know one.
    pub file: Option<PathBuf>,
    /// System calls, or classes of them; with `!`: not them. None: all.
    pub calls: Vec<String>,
    /// Only totals, where the kernel half keeps them.
    pub totals: bool,
    /// Bytes of data that are shown of a system call.
    pub data_bytes: u32,
    /// User stacks too, where a source has them.
    pub stacks: bool,
    /// Only what stands in columns, where the rest costs something.
    pub shown_only: bool,
    /// Bytes of a ring buffer: a power of two, and of pages.
    pub ring_bytes: u32,
    /// Events a second at most; 0: all.
    pub per_second: u64,
    /// Of signals only those that end a process for certain.
    pub deadly: bool,
}

/// What became of events, as the kernel counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventCounts {
    /// Sent to us.
    pub sent: u64,
    /// Lost, for want of room in the ring buffer or to build them.
    pub lost: u64,
    /// 32-bit system calls, which are not decoded.
    pub compat: u64,
    /// Left out, for being too many in a second.
    pub left_out: u64,
}

/// A function to probe.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Program or library.
    pub file: PathBuf,
    /// Where in the file it begins.
    pub offset: usize,
}

/// A source at work.
pub struct EventStream {
    links: Vec<Link>,
    probes: Vec<Probe>,
    skel: Box<dyn Skel<'static>>,
    attach: Option<Attach>,
}

/// Attaches an object where its sections do not say it.
pub type Attach = Box<dyn Fn(&Object) -> Result<Vec<Link>>>;

impl EventStream {
    /// A loaded object, and the functions that its uprobes go to.
    pub fn new(skel: impl Skel<'static> + 'static, probes: Vec<Probe>) -> Self {
        Self { links: Vec::new(), probes, skel: Box::new(skel), attach: None }
    }

    /// A loaded object that `attach` attaches.
    pub fn attached_by(
        skel: impl Skel<'static> + 'static,
        attach: impl Fn(&Object) -> Result<Vec<Link>> + 'static,
    ) -> Self {
        Self { attach: Some(Box::new(attach)), ..Self::new(skel, Vec::new()) }
    }

    /// Begins to trace.
    ///
    /// # Errors
    /// The kernel refuses to attach it.
    pub fn start(&mut self) -> Result<()> {
        if let Some(attach) = &self.attach {
            self.links = attach(self.skel.object())?;
            return Ok(());
        }
        for program in self.skel.object().progs_mut().filter(|program| program.autoload()) {
            let name = program.name().to_string_lossy().into_owned();
            let section = program.section().to_string_lossy().into_owned();
            // Called by others, or by us.
            if name.starts_with("decode_") || section == "syscall" {
                continue;
            }
            if !section.starts_with("ure") && !section.starts_with("upr") {
                let link = program
                    .attach()
                    .with_context(|| format!("cannot attach {name} ({section})"))?;
                self.links.push(link);
                continue;
            }
            for Probe { file, offset } in &self.probes {
                let options = UprobeOpts { retprobe: section == "uretprobe", ..Default::default() };
                let link = program.attach_uprobe_with_opts(-1, file, *offset, options);
                self.links.push(link.with_context(|| format!("cannot probe {}", file.display()))?);
            }
        }
        Ok(())
    }

    /// Ends tracing; what was traced can still be read.
    pub fn stop(&mut self) {
        self.links.clear();
    }

    /// Its ring buffer.
    ///
    /// # Errors
    /// The object has none.
    pub fn ring(&self) -> Result<impl MapCore + '_> {
        self.map("events")
    }

    /// What the kernel counted so far.
    pub fn counts(&self) -> EventCounts {
        let counters = self.map(".data.counters").ok().and_then(|map| {
            let value = map.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).ok().flatten()?;
            bpf::read::<bpf::event_counters>(&value)
        });
        let counters = counters.unwrap_or_default();
        EventCounts {
            sent: counters.sent,
            lost: counters.lost + counters.crowded,
            compat: counters.compat,
            left_out: counters.left_out,
        }
    }

    /// One of its maps.
    ///
    /// # Errors
    /// The object has none of that name.
    pub fn map(&self, name: &str) -> Result<libbpf_rs::Map<'_>> {
        // libbpf puts the object's name before a section's, cut so that the kernel takes it.
        let map =
            self.skel.object().maps().find(|map| map.name().to_string_lossy().ends_with(name));
        map.with_context(|| format!("the object has no map {name}"))
    }

    /// Adds what its programs cost so far to `stats`.
    pub fn cost(&self, stats: &mut Stats) {
        let programs: Vec<_> = self.skel.object().progs_mut().collect();
        load::add_run_time(&programs.iter().collect::<Vec<_>>(), stats);
    }

    /// Its programs, with the time that they ran.
    pub fn programs(&self) -> impl Iterator<Item = Program<'_>> {
        self.skel.object().progs()
    }
}

/// Opens a source's skeleton: sets what all of them have, lets `$set` do the rest to `$open`, loads it.
macro_rules! open_events {
    ($builder:ty, $options:expr, $filters:expr, $base:expr, |$open:ident| $set:block) => {{
        use libbpf_rs::skel::{OpenSkel, SkelBuilder};
        // Once for each run of rprof: what borrows from it may then live as long as it needs.
        let storage = Box::leak(Box::new(std::mem::MaybeUninit::uninit()));
        let mut $open = <$builder>::default().open(storage)?;
        let rodata = $open.maps.rodata_data.as_deref_mut();
        let rodata = anyhow::Context::context(rodata, "the object has no .rodata")?;
        $crate::sources::load::configure!(rodata, $options);
        rodata.own_pid = std::process::id();
        rodata.events_wakeup_bytes = u64::from($filters.ring_bytes) / 4;
        rodata.per_second = $filters.per_second;
        $open.maps.events.set_max_entries($filters.ring_bytes)?;
        $set
        $base.lend($open.open_object_mut())?;
        $open.load().map_err($crate::sources::load::explain)?
    }};
}
pub(super) use open_events;

/// The event at the head of a record, with these values.
pub fn event<'a>(record: &'a [u8], values: Vec<Value<'a>>) -> Option<Event<'a>> {
    let head = bpf::read::<bpf::event>(record)?;
    let comm = std::mem::offset_of!(bpf::event, comm);
    let comm = until_nul(record.get(comm..comm + head.comm.len())?);
    Some(Event { time: head.time, pid: head.pid, tid: head.tid, uid: head.uid, comm, values })
}

/// What follows the head `T` of a record: a path as given, unless `bytes` is an error, and names.
pub fn path_and_names<T>(record: &[u8], bytes: i32) -> Option<(Option<&[u8]>, &[u8])> {
    let text = record.get(size_of::<T>()..)?;
    match usize::try_from(bytes) {
        Ok(bytes) => {
            let (path, names) = text.split_at_checked(bytes)?;
            Some((Some(until_nul(path)), names))
        }
        Err(_) => Some((None, text)),
    }
}

/// A name of a thread that is in the middle of a record, at the field that `at` is the offset of.
pub fn comm_at(record: &[u8], at: usize) -> Option<&[u8]> {
    Some(until_nul(record.get(at..at + COMM_BYTES + 1)?))
}
