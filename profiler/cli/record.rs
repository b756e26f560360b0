//! `rprof record`.

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Error, Result, bail};
use indicatif::{HumanBytes, HumanCount};
use symbolizer::Detail;

use super::{
    args::RecordArgs,
    limits::{Limits, wait_for},
    progress::Progress,
    run::{self, Running},
    signals::Signals,
};
use crate::{
    lanes::Settings,
    machine::{self, WORKERS_MAX},
    model::{LaneKind, LaneStats},
    nearest::nearest,
    probe::is_probe,
    resolve,
    session::{Plan, Session, Summary},
    shim::{self, Shim},
    sources::{Options, POLL_MS, split_period},
    store::Writer,
    target::{Target, processes},
};

/// How often a recording is made durable.
const COMMIT: Duration = Duration::from_secs(1);
/// The wait between two looks at what the kernel has.
const POLL: Duration = Duration::from_millis(POLL_MS as u64);
/// How often, at most, frames are named.
const NAMING: Duration = Duration::from_secs(4);
/// How long to wait for names at the end: they are what a recording is for.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Records, and tells what came of it.
pub fn record(args: RecordArgs) -> Result<ExitCode> {
    let sources = args.sources();
    check_sources(&sources)?;
    let mut target = args.target.target()?;
    target.check()?;
    let program = args.command.first().map(|name| run::find(name)).transpose()?;
    let shim = program.as_deref().and_then(|program| shim(&args, program));
    let mut command = match &args.command[..] {
        [] => None,
        words => {
            let environment = shim.as_ref().map(|shim| shim.environment());
            Some(Running::prepare(words, environment.as_ref().map_or(&[], |all| all))?)
        }
    };
    let at_exec = command.as_ref().map(Running::pid);
    let mut words = target.to_string();
    if at_exec.is_some() {
        let command: Vec<_> = args.command.iter().map(|word| word.to_string_lossy()).collect();
        words = format!("command {}", command.join(" "));
    }
    target.pids.extend(at_exec);
    let plan = Plan {
        sources,
        lanes: Settings { marks: !args.no_marks, always_on: false },
        options: Options {
            target: target.clone(),
            at_exec,
            frequency: args.frequency,
            frame_pointers: args.frame_pointers,
            memory: args.memory.options(),
            waits: args.waits.options(),
            program,
            shim,
            ..Options::default()
        },
        target: words,
        table_bytes: args.table_memory << 20,
        limits: resolve::Limits {
            detail: if args.debug_files { Detail::Full } else { Detail::Own },
            ..Default::default()
        },
        workers: WORKERS_MAX,
        commit: COMMIT,
        poll: POLL,
        naming: NAMING,
        keep_empty: false,
    };
    let mut signals = Signals::catch()?;
    let mut session = Session::open(plan, "", || Writer::create(&args.output))?;
    session.start(machine::unix_ns())?;
    if let Some(command) = &command {
        command.start()?;
    }
    let hint =
        if args.duration.is_none() && command.is_none() { "Ctrl-C ends" } else { "recording" };
    let mut progress = Progress::new(hint);
    let mut limits = Limits::new(args.duration, target);
    let outcome = loop {
        let remaining = limits.remaining(session.elapsed());
        if let Err(error) = step(&mut session, &signals, remaining) {
            break Err(error);
        }
        progress.show(&session);
        match limits.reached(session.elapsed(), &mut signals, command.as_mut()) {
            Ok(false) => {}
            Ok(true) => break session.finish(PATIENCE),
            Err(error) => break Err(error),
        }
    };
    progress.finish();
    let target = limits.target();
    let recorded = outcome.and_then(|summary| tell(&summary, target, &args.output));
    wait_for(command, &mut signals, recorded)
}

/// What the command is preloaded with, so that it samples its memory itself: none if that is not
/// asked for, or if it cannot have it, which is said.
fn shim(args: &RecordArgs, program: &Path) -> Option<Arc<Shim>> {
    let asked = args.source.iter().any(|source| source == "heap");
    // Whoever names an allocator wants that one to be probed.
    if !asked || !args.memory.allocator_prefix.is_empty() {
        return None;
    }
    let rate = args.memory.options().heap_rate();
    let shim = shim::check(program).map_err(Error::from).and_then(|()| Shim::new(rate));
    if let Err(why) = &shim {
        say!("rprof: {} cannot sample its memory itself: {why:#}", program.display());
        say!("rprof: its allocator is probed instead, which costs it a microsecond or two a call");
    }
    shim.ok().map(Arc::new)
}

fn step(session: &mut Session, signals: &Signals, remaining: Duration) -> Result<()> {
    session.wait(&[signals.fd()], remaining)?;
    if session.until_commit().is_zero() {
        session.keep_up()?;
        session.commit()?;
    }
    Ok(())
}

/// No source is named twice.
pub fn check_sources(names: &[String]) -> Result<()> {
    let names: Vec<&str> = names.iter().map(|name| split_period(name).0).collect();
    match names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        Some((_, name)) => bail!("source {name} is named twice"),
        None => Ok(()),
    }
}

/// Tells what was recorded, and what to do next.
fn tell(summary: &Summary, target: &Target, path: &Path) -> Result<()> {
    let Summary { info, sources, lanes } = summary;
    let seconds = info.duration as f64 / 1e9;
    let nothing = |stats: &LaneStats| stats.times == 0 && stats.marks == 0;
    let only_lanes = sources.is_empty() && !lanes.iter().all(|(_, stats)| nothing(stats));
    if !only_lanes && sources.iter().all(|(_, stats)| stats.samples == 0) {
        bail!("{}", why_empty(summary, target));
    }
    let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    say!("rprof: recorded {seconds:.1} s: {} ({})", path.display(), HumanBytes(size));
    for (source, stats) in sources {
        say!(
            "rprof: {}: {} samples, {} lost, {} stacks truncated; {:.1} us of BPF time a sample",
            source.name,
            HumanCount(stats.samples),
            HumanCount(stats.lost),
            HumanCount(stats.truncated),
            stats.overhead.bpf_ns as f64 / 1e3 / stats.samples.max(1) as f64,
        );
        for (what, count) in &stats.missed {
            say!("rprof: {what}: {}", HumanCount(*count));
        }
    }
    for (lane, stats) in lanes {
        let LaneStats { times, marks, left_out, missed, .. } = stats;
        let times = match lane.kind {
            LaneKind::Latency => format!("{} times, ", HumanCount(*times)),
            LaneKind::Events => String::new(),
        };
        let left_out = match left_out {
            0 => String::new(),
            count => format!(", {} left out", HumanCount(*count)),
        };
        say!("rprof: {}: {times}{} marks{left_out}", lane.name, HumanCount(*marks));
        for (what, count) in missed {
            say!("rprof: {}: {what}: {}", lane.name, HumanCount(*count));
        }
    }
    let own = sources.iter().map(|(_, stats)| stats.overhead).next().unwrap_or_default();
    say!(
        "rprof: used {:.2} s of CPU time, {} of memory",
        own.cpu_seconds,
        HumanBytes(own.peak_rss_bytes),
    );
    let file = match path.to_str() {
        Some("rprof.data") => String::new(),
        _ => format!(" {}", path.display()),
    };
    say!("next:  rprof report{file}   or   rprof flamegraph{file} > out.svg");
    Ok(())
}

fn why_empty(summary: &Summary, target: &Target) -> String {
    let Summary { info, sources, .. } = summary;
    let lost: u64 = sources.iter().map(|(_, stats)| stats.lost).sum();
    if lost > 0 {
        return format!("all {lost} samples were lost; try a lower -F, or a larger --rate");
    }
    let names: Vec<String> = processes().into_iter().map(|(_, name)| name).collect();
    let hint = match &target.comm {
        Some(comm) if !names.contains(comm) => {
            format!("; no process is called {comm} now{}", nearest(comm, names))
        }
        _ => String::new(),
    };
    let did: Vec<&str> = sources.iter().map(|(source, _)| did_nothing(&source.name)).collect();
    format!(
        "no samples: {} {} in {:.1} s, so there is nothing to show{hint}",
        info.target,
        did.join(" and "),
        info.duration as f64 / 1e9,
    )
}

/// What a target did of which a source has no sample.
fn did_nothing(source: &str) -> &'static str {
    match source {
        "cpu" => "used no CPU time",
        "offcpu" => "did not wait for what was asked for",
        "runqlat" => "never waited for a CPU",
        "faults" => "used no new page of memory",
        "kmem" => "had the kernel allocate nothing",
        probe if is_probe(probe) => "hit no probe",
        "heap" => "allocated hardly anything by a function that is known as an allocator's",
        _ => "did nothing that was to be recorded",
    }
}
