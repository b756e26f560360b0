//! `rprof trace`.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use indicatif::HumanCount;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    args::TraceArgs,
    limits::{Limits, wait_for},
    run::Running,
    signals::Signals,
};
use crate::{
    callers::{self, Caller, Callers, STACKS_A_SECOND},
    collector::EventRings,
    doctor, machine,
    model::CallTotals,
    output::{self, Lines, WallClock, left, printable, right},
    sources::{self, Base, EventCounts, EventStream, Events, Filters, Options},
};

/// The wait between two looks at what the kernel has.
const POLL: Duration = Duration::from_millis(50);
/// How often it is told that events are being lost, ns.
const LOSSES: u64 = 1_000_000_000;
/// Ports of a filter at most (PORTS_MAX in `bpf/tcpstates.bpf.c`).
const PORTS_MAX: usize = 16;
/// Commands that are counted by their names at most; the rest are counted together.
const COMMANDS_MAX: usize = 4096;
/// The widest column that names get; those of probes can be long.
const NAME_MAX: usize = 48;

/// Traces, and tells what came of it.
pub fn trace(args: TraceArgs) -> Result<ExitCode> {
    let chosen = choose(&args)?;
    let filters = filters(&args)?;
    let mut target = args.target.target()?;
    target.check()?;
    doctor::check_recording()?;
    let mut command = match &args.command[..] {
        [] => None,
        words => Some(Running::prepare(words, &[])?),
    };
    let at_exec = command.as_ref().map(Running::pid);
    target.pids.extend(at_exec);
    let mut printer = Printer::new(&args, &chosen)?;
    let options = Options { target: target.clone(), at_exec, ..Options::default() };
    let mut tracing = Tracing::open(&chosen, &options, &filters)?;
    let mut signals = Signals::catch()?;
    machine::run_ahead();
    printer.begin()?;
    tracing.start()?;
    if let Some(command) = &command {
        command.start()?;
    }
    let mut limits = Limits::new(args.duration, target);
    let start = machine::monotonic_ns();
    let outcome = loop {
        let elapsed = machine::monotonic_ns().saturating_sub(start);
        tracing.tell_losses(elapsed);
        if let Err(error) = tracing.step(&signals, limits.remaining(elapsed), &mut printer) {
            break Err(error);
        }
        match limits.reached(elapsed, &mut signals, command.as_mut()) {
            Ok(false) => {}
            Ok(true) => break tracing.finish(&mut printer),
            Err(error) => break Err(error),
        }
    };
    let seconds = machine::monotonic_ns().saturating_sub(start) as f64 / 1e9;
    let traced = outcome.and_then(|()| printer.finish(&tracing, seconds));
    wait_for(command, &mut signals, traced)
}

/// The sources of these names, each once.
fn choose(args: &TraceArgs) -> Result<Vec<&'static dyn Events>> {
    let mut chosen: Vec<&'static dyn Events> = Vec::new();
    for name in args.events.iter().map(String::as_str).chain(args.probes()) {
        if chosen.iter().any(|source| source.name() == name) {
            bail!("{name} is named twice");
        }
        chosen.push(sources::find_events(name)?);
    }
    // What is for one source only is a mistake without it.
    let has_ports = !args.local_port.is_empty() || !args.remote_port.is_empty();
    for (given, option, source) in [
        (args.with_failed, "--with-failed", "exec"),
        (!args.system_calls().is_empty(), "-e with system calls", "syscalls"),
        (args.stack, "--stack", "syscalls"),
        (!args.signals.is_empty(), "--signal", "signal"),
        (args.ipv4 || args.ipv6, "-4 or -6", "tcpstates"),
        (has_ports, "a port", "tcpstates"),
        (args.file.is_some(), "--file", "readline"),
    ] {
        if given && !chosen.iter().any(|chosen| chosen.name() == source) {
            bail!("{option} is for {source}, which is not traced; add it: {source}");
        }
    }
    let timed = |chosen: &&dyn Events| ["exit", "syscalls"].contains(&chosen.name());
    if args.min.is_some() && !chosen.iter().any(timed) {
        bail!("--min is for exit and syscalls, of which neither is traced");
    }
    Ok(chosen)
}

fn filters(args: &TraceArgs) -> Result<Filters> {
    if args.local_port.len() > PORTS_MAX || args.remote_port.len() > PORTS_MAX {
        bail!("{PORTS_MAX} ports can be named at most");
    }
    let ring_bytes = args.buffer.clamp(1 << 16, 1 << 30).next_power_of_two();
    Ok(Filters {
        failed: args.failed,
        with_failed: args.with_failed,
        calls: args.system_calls(),
        totals: args.count,
        data_bytes: args.data,
        least_age: args.min.unwrap_or_default(),
        signals: args.signals.clone(),
        family: match (args.ipv4, args.ipv6) {
            (true, _) => Some(4),
            (_, true) => Some(6),
            _ => None,
        },
        local_ports: args.local_port.clone(),
        remote_ports: args.remote_port.clone(),
        file: args.file.clone(),
        stacks: args.stack,
        shown_only: !args.json,
        ring_bytes: ring_bytes as u32,
        ..Filters::default()
    })
}

/// The sources at work.
struct Tracing {
    // Before the streams, so that they are gone first.
    rings: EventRings,
    streams: Vec<EventStream>,
    /// Where stacks are wanted.
    callers: Option<Callers>,
    base: Base,
    /// Events that were told to be lost, and when, ns since the start.
    told: (u64, u64),
}

impl Tracing {
    fn open(chosen: &[&'static dyn Events], options: &Options, filters: &Filters) -> Result<Self> {
        let base = match filters.stacks {
            true => Base::for_each(options, STACKS_A_SECOND)?,
            false => Base::without_stacks(options)?,
        };
        let mut rings = EventRings::default();
        let mut streams = Vec::new();
        for source in chosen {
            let stream = source.open(options, filters, &base)?;
            rings.add(&stream.ring()?)?;
            streams.push(stream);
        }
        let callers = if filters.stacks { Some(Callers::open(&base, options)?) } else { None };
        Ok(Self { rings, streams, callers, base, told: (0, 0) })
    }

    /// The base first: a process is a target before any other program asks.
    fn start(&mut self) -> Result<()> {
        self.base.start()?;
        self.streams.iter_mut().try_for_each(EventStream::start)
    }

    fn step(&mut self, signals: &Signals, most: Duration, printer: &mut Printer<'_>) -> Result<()> {
        let Self { rings, callers, .. } = self;
        let more = rings.read(&mut |source, record| hand_on(callers, printer, source, record))?;
        if let Some(callers) = &mut self.callers {
            callers.step(&mut self.base, &mut |source, record, stack| {
                printer.record(source, record, stack)
            })?;
        }
        if !more {
            printer.flush()?;
            let mut fds: Vec<PollFd<'_>> = (self.rings.wakeup_fds().chain(self.base.wakeup_fd()))
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
                .collect();
            fds.push(PollFd::new(signals.fd(), PollFlags::POLLIN));
            let wait = PollTimeout::try_from(most.min(POLL)).unwrap_or(PollTimeout::ZERO);
            let _ = poll(&mut fds, wait); // EINTR: a signal, which is looked for next
        }
        Ok(())
    }

    /// Says so while it happens, and not at the end alone.
    fn tell_losses(&mut self, elapsed: u64) {
        if elapsed < self.told.1 + LOSSES {
            return;
        }
        let lost = self.streams.iter().map(|stream| stream.counts().lost).sum();
        if lost > self.told.0 {
            say!("rprof: {} events lost so far", HumanCount(lost));
        }
        self.told = (lost, elapsed);
    }

    fn finish(&mut self, printer: &mut Printer<'_>) -> Result<()> {
        self.streams.iter_mut().for_each(EventStream::stop);
        self.base.stop();
        let Self { rings, callers, .. } = self;
        rings.finish(&mut |source, record| hand_on(callers, printer, source, record))?;
        if let Some(callers) = &mut self.callers {
            callers.finish(&mut self.base, &mut |source, record, stack| {
                printer.record(source, record, stack)
            })?;
        }
        printer.flush()
    }
}

/// An event goes to where its stack is waited for, if there are any.
fn hand_on(
    callers: &mut Option<Callers>,
    printer: &mut Printer<'_>,
    source: usize,
    record: &[u8],
) -> Result<()> {
    let Some(callers) = callers else { return printer.record(source, record, None) };
    callers.push(source, record, printer.stack_of(source, record));
    Ok(())
}

/// What was counted of one source and command.
#[derive(Clone, Copy, Default)]
struct Tally {
    events: u64,
    failed: u64,
}

/// Writes events as they come, and counts them.
struct Printer<'a> {
    args: &'a TraceArgs,
    sources: Vec<(&'static dyn Events, Lines)>,
    tallies: Vec<BTreeMap<Vec<u8>, Tally>>,
    /// What the kernel half of each source counted itself.
    counted: Vec<u64>,
    clock: WallClock,
    line: String,
    out: BufWriter<Box<dyn Write>>,
}

impl<'a> Printer<'a> {
    fn new(args: &'a TraceArgs, chosen: &[&'static dyn Events]) -> Result<Self> {
        let out: Box<dyn Write> = match &args.output {
            Some(path) => Box::new(
                File::create(path).with_context(|| format!("cannot write {}", path.display()))?,
            ),
            None if args.command.is_empty() => Box::new(io::stdout()),
            None => Box::new(io::stderr()),
        };
        let several = chosen.len() > 1;
        let widest = chosen.iter().map(|source| source.name().len()).max().unwrap_or_default();
        let lines = |source: &&'static dyn Events| {
            let lines = Lines::new(source.name(), source.fields(), several);
            (*source, lines.wide(widest.min(NAME_MAX)))
        };
        Ok(Self {
            args,
            sources: chosen.iter().map(lines).collect(),
            tallies: vec![BTreeMap::new(); chosen.len()],
            counted: vec![0; chosen.len()],
            clock: WallClock::default(),
            line: String::new(),
            out: BufWriter::with_capacity(1 << 16, out),
        })
    }

    fn begin(&mut self) -> Result<()> {
        if !self.args.json && !self.args.count {
            for (_, lines) in &self.sources {
                writeln!(self.out, "{}", lines.heading())?;
            }
        }
        self.flush()
    }

    fn stack_of(&self, number: usize, record: &[u8]) -> Option<callers::Key> {
        self.sources[number].0.stack_of(record)
    }

    fn record(&mut self, number: usize, record: &[u8], stack: Option<&[Caller<'_>]>) -> Result<()> {
        let (source, lines) = &self.sources[number];
        let Some(event) = source.decode(record) else {
            bail!("a record of {} bytes is none of {}'s", record.len(), source.name());
        };
        let tallies = &mut self.tallies[number];
        let room = tallies.len() < COMMANDS_MAX || tallies.contains_key(event.comm);
        let tally = tallies.entry(if room { event.comm } else { b"(others)" }.into()).or_default();
        tally.events += 1;
        tally.failed += u64::from(event.failed());
        if self.args.count {
            return Ok(());
        }
        self.line.clear();
        match self.args.json {
            true => lines.json(&event, stack, &self.clock, &mut self.line),
            false => lines.columns(&event, &mut self.clock, &mut self.line),
        }
        self.line.push('\n');
        if !self.args.json {
            output::stack_lines(stack.unwrap_or_default(), &mut self.line);
        }
        self.out.write_all(self.line.as_bytes()).context("cannot write events")
    }

    fn flush(&mut self) -> Result<()> {
        self.out.flush().context("cannot write events")
    }

    fn finish(&mut self, tracing: &Tracing, seconds: f64) -> Result<()> {
        if self.args.count {
            self.table(tracing)?;
        }
        let counts: Vec<EventCounts> = tracing.streams.iter().map(EventStream::counts).collect();
        let mut all = 0;
        let mut each = Vec::new();
        let told = self.sources.iter().zip(&self.tallies).zip(&self.counted);
        for (((source, _), tallies), counted) in told {
            let events = counted + tallies.values().map(|tally| tally.events).sum::<u64>();
            each.push(format!("{} {}", source.name(), HumanCount(events)));
            all += events;
        }
        let lost: u64 = counts.iter().map(|counts| counts.lost).sum();
        let each = if each.len() > 1 { format!(" ({})", each.join(", ")) } else { String::new() };
        say!(
            "rprof: {} events in {seconds:.1} s{each}, {} lost; used {:.2} s of CPU time",
            HumanCount(all),
            HumanCount(lost),
            machine::cpu_seconds(),
        );
        if lost > 0 {
            say!(
                "rprof: events were lost, since they came faster than they were read; try --buffer 64MB"
            );
        }
        if let Some(callers) = &tracing.callers
            && let without @ 1.. = callers.lost(&tracing.base)
        {
            say!("rprof: {} events whose stack was lost or came too late", HumanCount(without));
        }
        let compat: u64 = counts.iter().map(|counts| counts.compat).sum();
        if compat > 0 {
            say!("rprof: {} calls of 32-bit programs, which are not decoded", HumanCount(compat));
        }
        Ok(())
    }

    /// What the kernel half of a source counted itself.
    fn totals(&mut self, tracing: &Tracing) -> Result<()> {
        let sources = self.sources.iter().zip(&tracing.streams);
        for (((source, _), stream), counted) in sources.zip(&mut self.counted) {
            let Some(mut totals) = source.totals(stream)? else { continue };
            *counted += totals.iter().map(|of| of.times.count()).sum::<u64>();
            let by_time = |of: &CallTotals| std::cmp::Reverse(of.times.sum());
            totals.sort_by(|a, b| by_time(a).cmp(&by_time(b)).then_with(|| a.name.cmp(&b.name)));
            let span = |time| output::quantity(time, "nanoseconds");
            let row = |of: &CallTotals| {
                let times = &of.times;
                let counts = [times.count(), of.errors].map(output::thousands);
                let spans =
                    [times.sum(), times.quantile(0.5), times.quantile(0.99), times.max()].map(span);
                counts.into_iter().chain(spans).chain([of.name.clone()]).collect()
            };
            let rows: Vec<Vec<String>> = totals.iter().map(row).collect();
            let headings = ["COUNT", "FAILED", "TOTAL", "P50", "P99", "MAX"].map(right);
            let columns: Vec<_> = headings.into_iter().chain([left("CALL")]).collect();
            for line in output::lines(&columns, &rows, None) {
                writeln!(self.out, "{line}")?;
            }
        }
        self.flush()
    }

    fn table(&mut self, tracing: &Tracing) -> Result<()> {
        self.totals(tracing)?;
        let mut rows: Vec<(Tally, &str, &[u8])> = Vec::new();
        for ((source, _), tallies) in self.sources.iter().zip(&self.tallies) {
            rows.extend(tallies.iter().map(|(comm, tally)| (*tally, source.name(), &comm[..])));
        }
        rows.sort_by(|a, b| b.0.events.cmp(&a.0.events).then_with(|| (a.1, a.2).cmp(&(b.1, b.2))));
        let rows: Vec<Vec<String>> = rows
            .into_iter()
            .map(|(tally, source, comm)| {
                let counts = [tally.events, tally.failed].map(output::thousands);
                let words = [source.to_owned(), printable(comm).into_owned()];
                counts.into_iter().chain(words).collect()
            })
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        let columns = [right("COUNT"), right("FAILED"), left("EVENT"), left("COMMAND")];
        for line in output::lines(&columns, &rows, None) {
            writeln!(self.out, "{line}")?;
        }
        self.flush()
    }
}
