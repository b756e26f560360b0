//! The kind `latency`: what a source of it is told, and what those have in common that count in
//! the kernel.

use std::{net::IpAddr, os::fd::BorrowedFd, time::Duration};

use anyhow::{Context, Result, bail};
use libbpf_rs::{Link, Object, skel::Skel};

use super::{Base, Options, events::Attach, load};
use crate::{
    bpf,
    collector::{Gathered, Histograms},
    model::{Histogram, Key, Stats},
    resolve::{KeyNames, Keys},
};

/// The most keys that the kernel counts at a time; 2.5 kB each, and as much for the next interval.
const KEYS_MAX: usize = 4096;
/// Handlers of hardware interrupts, more than any machine has.
const HANDLERS_MAX: usize = 256;
/// More than the kernel has of either.
const VECTORS_MAX: usize = 16;
const RESULTS_MAX: usize = 64;

/// What to measure, besides whom.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// What to keep apart.
    pub by: Vec<Key>,
    /// Only times of at least this, ns.
    pub least: u64,
    /// Only on this CPU.
    pub cpu: Option<u32>,
    /// This end of connections.
    pub local: End,
    /// The other end.
    pub remote: End,
    /// Only connections of this family.
    pub family: Option<Family>,
    /// Tell each by itself too.
    pub each: bool,
    /// Of collectors of garbage, only those whose probes cost hardly anything: Java's.
    pub cheap: bool,
}

/// A family of addresses; an IPv6 socket that talks to an IPv4 address is of the one that it was
/// made for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What one end of a connection has to be; what is none may be anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct End {
    /// Address.
    pub address: Option<IpAddr>,
    /// Port.
    pub port: Option<u16>,
}

impl End {
    /// The address as the kernel half has it: 16 bytes, IPv4 as ::ffff:a.b.c.d.
    pub(super) fn bytes(&self) -> Option<[u8; 16]> {
        Some(match self.address? {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        })
    }
}

/// A part of a question that not every source can be asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ability {
    /// Only one CPU.
    Cpu,
    /// Ends of connections.
    Ends,
    /// Each by itself.
    Each,
    /// Whom: a process or a command.
    Processes,
}

/// A source of kind `latency`.
pub trait Latency: Sync {
    /// Its word on the command line.
    fn name(&self) -> &'static str;

    /// What its times can be kept apart by.
    fn keys(&self) -> &'static [Key];

    /// What they are kept apart by where nobody says.
    fn usual_keys(&self) -> &'static [Key];

    /// What else it can be asked.
    fn abilities(&self) -> &'static [Ability];

    /// Loads its kernel half. Nothing is measured before [`Gauge::start`].
    ///
    /// # Errors
    /// The kernel or our privileges do not allow it: says what is missing.
    fn open(&self, options: &Options, question: &Question, base: &Base) -> Result<Box<dyn Gauge>>;
}

/// A source of kind `latency` at work.
pub trait Gauge {
    /// Begins to measure.
    ///
    /// # Errors
    /// The kernel refuses to attach it.
    fn start(&mut self) -> Result<()>;

    /// Ends measuring; what was measured can still be gathered.
    fn stop(&mut self);

    /// Becomes readable when there is something to [`Gauge::drain`]; none if there never is.
    fn wakeup_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// How long until [`Gauge::drain`] has something to do, though nothing is to be read.
    fn due(&self) -> Duration {
        Duration::MAX
    }

    /// Takes in what cannot wait for the end of an interval.
    ///
    /// # Errors
    /// A buffer cannot be read.
    fn drain(&mut self, _into: &mut Gathered) -> Result<()> {
        Ok(())
    }

    /// Adds what its programs cost so far to `stats`.
    fn cost(&self, _stats: &mut Stats) {}

    /// Takes in all that was measured so far.
    ///
    /// # Errors
    /// A map cannot be read.
    fn gather(&mut self, into: &mut Gathered) -> Result<()>;
}

/// Checks that `source` can be asked `question` of that target.
///
/// # Errors
/// It cannot: says what it can be asked instead.
pub fn check(source: &dyn Latency, options: &Options, question: &Question) -> Result<()> {
    let name = source.name();
    if let Some(key) = question.by.iter().find(|key| !source.keys().contains(key)) {
        let known: Vec<&str> = source.keys().iter().map(|key| key.word()).collect();
        bail!("{name} is not told apart by {}; it is by {}", key.word(), known.join(", "));
    }
    let ends = [question.local, question.remote];
    let target = &options.target;
    let asked = [
        (Ability::Cpu, question.cpu.is_some(), "--cpu"),
        (
            Ability::Ends,
            question.family.is_some()
                || ends.iter().any(|end| end.address.is_some() || end.port.is_some()),
            "families, addresses or ports of connections",
        ),
        (Ability::Each, question.each, "--each"),
        (
            Ability::Processes,
            target.is_by_pid() || target.comm.is_some(),
            "--pid or --comm, since packets come in on behalf of no process",
        ),
    ];
    let refused =
        asked.iter().find(|(ability, asked, _)| *asked && !source.abilities().contains(ability));
    match refused {
        Some((.., words)) => bail!("{name} does not go with {words}"),
        None => Ok(()),
    }
}

/// Sets the knobs of `bpf/latency.bpf.h`.
macro_rules! ask {
    ($rodata:expr, $question:expr) => {{
        use $crate::model::Key;
        let (rodata, question) = (&mut *$rodata, $question);
        rodata.by_process = question.by.contains(&Key::Process);
        rodata.by_thread = question.by.contains(&Key::Thread);
        rodata.by_cgroup = question.by.contains(&Key::Cgroup);
        rodata.by_pid_namespace = question.by.contains(&Key::PidNamespace);
        rodata.by_cpu = $crate::sources::latency::is_by_cpu(&question.by);
        rodata.least = question.least;
        if let Some(cpu) = question.cpu {
            rodata.filter_cpu = true;
            rodata.only_cpu = cpu;
        }
    }};
}
pub(super) use ask;

/// Keys of this kind that there may be.
fn most(key: Key) -> usize {
    match key {
        Key::Cpu => 1,
        Key::Handler => HANDLERS_MAX,
        Key::Vector => VECTORS_MAX,
        Key::Result => RESULTS_MAX,
        _ => KEYS_MAX,
    }
}

/// True if each CPU has histograms of its own: where there are few, they do not share them.
pub(super) fn is_by_cpu(by: &[Key]) -> bool {
    by.contains(&Key::Cpu) || by.iter().all(|&key| most(key) < KEYS_MAX)
}

/// How many histograms the kernel needs room for: as many keys as there may be, in each of two
/// epochs.
///
/// # Errors
/// The kernel does not tell its CPUs.
pub(super) fn room(by: &[Key]) -> Result<u32> {
    let cpus = match is_by_cpu(by) {
        true => libbpf_rs::num_possible_cpus().context("cannot count the CPUs")?,
        false => 1,
    };
    let keys = by.iter().fold(cpus, |keys, &key| keys.saturating_mul(most(key)));
    Ok(2 * keys.min(KEYS_MAX) as u32)
}

/// A source at work whose programs count in the kernel.
pub struct Counting {
    links: Vec<Link>,
    object: Box<dyn Skel<'static>>,
    histograms: Histograms,
    by: Vec<Key>,
    keys: Keys,
    attach: Option<Attach>,
}

impl Counting {
    /// Takes over a loaded object, and with it all its programs.
    pub fn new(object: impl Skel<'static> + 'static, maps: Histograms, by: &[Key]) -> Self {
        let (object, by) = (Box::new(object), by.to_vec());
        let keys = Keys::default();
        Self { links: Vec::new(), object, histograms: maps, by, keys, attach: None }
    }

    /// The same, whose programs go where `attach` says, and not where their sections do.
    pub fn attached_by(
        object: impl Skel<'static> + 'static,
        maps: Histograms,
        by: &[Key],
        attach: impl Fn(&Object) -> Result<Vec<Link>> + 'static,
    ) -> Self {
        Self { attach: Some(Box::new(attach)), ..Self::new(object, maps, by) }
    }
}

impl Gauge for Counting {
    fn start(&mut self) -> Result<()> {
        if let Some(attach) = &self.attach {
            self.links = attach(self.object.object())?;
            return Ok(());
        }
        for program in self.object.object_mut().progs_mut().filter(|program| program.autoload()) {
            let name = program.name().to_string_lossy().into_owned();
            let link = program.attach();
            self.links.push(link.with_context(|| format!("cannot attach {name}"))?);
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.links.clear();
    }

    fn cost(&self, stats: &mut Stats) {
        let programs: Vec<_> = self.object.object().progs_mut().collect();
        load::add_run_time(&programs.iter().collect::<Vec<_>>(), stats);
    }

    fn gather(&mut self, into: &mut Gathered) -> Result<()> {
        for (key, histogram) in self.histograms.take()? {
            let names = KeyNames { comm: &histogram.comm, thread: &histogram.thread };
            let labels = self.keys.labels(&self.by, &key, names);
            into.add(labels, &counted(&histogram));
        }
        for (why, count) in self.histograms.uncounted() {
            into.miss(why, count);
        }
        Ok(())
    }
}

fn counted(histogram: &bpf::histogram) -> Histogram {
    Histogram::from_counts(&histogram.counts, histogram.sum, histogram.max)
}
