//! Every word of the command line. What is typed here means the same in each command, and becomes
//! the types that the rest of the program knows: [`Target`] and [`View`].

use std::{ffi::OsString, net::IpAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use clap::{Args as Group, Parser, Subcommand};
use regex::Regex;

use super::memory::MemoryArgs;
use crate::{
    model::{Key, Label, Moment, Only, View, parse_by, parse_span},
    sources::signal_number,
    target::{Cgroup, Target},
};

/// Shows where a Linux machine's time and memory go: from a running process to a flame graph.
#[derive(Parser)]
#[command(name = "rprof", version, about, max_term_width = 100)]
pub struct Args {
    /// Tell more of what is going on (-vv: even more)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Record until Ctrl-C, for a time, or while a command runs
    Record(RecordArgs),
    /// Print what happens, a line each: programs, files, signals, connections
    Trace(TraceArgs),
    /// Draw a flame graph: rprof flamegraph > out.svg
    Flamegraph(FlamegraphArgs),
    /// Print the hottest functions as a table
    Report(ReportArgs),
    /// Print what got more and what got less between two recordings, or two times of a store
    Diff(DiffArgs),
    /// Write pprof, folded stacks, speedscope, Firefox Profiler or JSON
    Export(ExportArgs),
    /// Measure how long something takes, and print it as histograms
    Latency(LatencyArgs),
    /// Record all the time, into a folder of days, within a budget
    Agent(AgentArgs),
    /// Show a recording, or the agent's store, in a browser
    Web(WebArgs),
    /// Tell what this machine allows, and how to get the rest
    Doctor(DoctorArgs),
    /// What becomes of the command that `record` starts: it stops, and goes on once told to
    #[command(name = "start-when-told", hide = true)]
    StartWhenTold {
        /// For the command's environment: NAME=VALUE
        #[arg(long)]
        set: Vec<OsString>,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
}

#[derive(Group)]
pub struct RecordArgs {
    /// What to measure: cpu, heap, faults, kmem
    #[arg(short, long, default_value = "cpu", value_name = "SOURCE", value_delimiter = ',')]
    pub source: Vec<String>,
    /// Samples a second on each CPU
    #[arg(short = 'F', long, value_name = "HZ", default_value_t = 99)]
    pub frequency: u64,
    /// How long, such as 10s, 5m, 2h; else until Ctrl-C or until the target ends
    #[arg(short, long, value_name = "TIME", value_parser = parse_time)]
    pub duration: Option<Duration>,
    /// Where to
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_FILE)]
    pub output: PathBuf,
    /// Locked kernel memory for unwind tables, MB
    #[arg(long, value_name = "MB", default_value_t = 256)]
    pub table_memory: u64,
    /// Show inlined functions and lines of installed debug packages too, not their names alone: it
    /// takes rprof several times the CPU time
    #[arg(long)]
    pub debug_files: bool,
    /// Follow user stacks by frame pointers alone, to measure what tables cost
    #[arg(long, hide = true)]
    pub frame_pointers: bool,
    /// Start this command, and record it and its children until it ends
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "pids")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub memory: MemoryArgs,
    // Last, since its heading holds for all that follows.
    #[command(flatten)]
    pub target: TargetArgs,
}

#[derive(Group)]
pub struct TraceArgs {
    /// Events: exec, exit, open, unlink, signal, readline, tcpstates, syscalls; several are told in
    /// the order of time
    #[arg(value_name = "NAME", value_delimiter = ',', required = true)]
    pub events: Vec<String>,
    /// How long, such as 10s, 5m, 2h; else until Ctrl-C or until the target ends
    #[arg(short, long, value_name = "TIME", value_parser = parse_time)]
    pub duration: Option<Duration>,
    /// A JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Only how many there were, at the end; of system calls also how long they took
    #[arg(short, long, conflicts_with = "json")]
    pub count: bool,
    /// Where to; with a COMMAND standard error if not given, else standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Kernel memory for what was not read yet, for each kind of event
    #[arg(long, value_name = "SIZE", default_value = "8MB", value_parser = parse_size)]
    pub buffer: u64,
    /// Only what failed: calls with an error, processes that ended with one
    #[arg(long, help_heading = "Which events")]
    pub failed: bool,
    /// exec: also those that failed
    #[arg(long, conflicts_with = "failed", help_heading = "Which events")]
    pub with_failed: bool,
    /// syscalls: these only, by name or class (file, desc, network, memory, process, signal); with
    /// !NAME all but that one
    #[arg(short = 'e', long = "calls", value_name = "CALL", value_delimiter = ',')]
    #[arg(help_heading = "Which events")]
    pub calls: Vec<String>,
    /// syscalls: bytes of data to show, 256 at most
    #[arg(long, value_name = "BYTES", default_value_t = 32, help_heading = "Which events")]
    #[arg(value_parser = clap::value_parser!(u32).range(..=256))]
    pub data: u32,
    /// exit: processes that lived, and syscalls: calls that took this at least
    #[arg(long, value_name = "TIME", value_parser = parse_time, help_heading = "Which events")]
    pub min: Option<Duration>,
    /// signal: these, by name or number
    #[arg(long = "signal", value_name = "SIGNAL", value_delimiter = ',')]
    #[arg(value_parser = parse_signal, help_heading = "Which events")]
    pub signals: Vec<u32>,
    /// tcpstates: IPv4 only
    #[arg(short = '4', conflicts_with = "ipv6", help_heading = "Which events")]
    pub ipv4: bool,
    /// tcpstates: IPv6 only
    #[arg(short = '6', help_heading = "Which events")]
    pub ipv6: bool,
    /// tcpstates: these local ports
    #[arg(short = 'L', long, value_name = "PORT", value_delimiter = ',')]
    #[arg(help_heading = "Which events")]
    pub local_port: Vec<u16>,
    /// tcpstates: these remote ports
    #[arg(short = 'D', long, value_name = "PORT", value_delimiter = ',')]
    #[arg(help_heading = "Which events")]
    pub remote_port: Vec<u16>,
    /// readline: the program or library that has it; every bash if not given
    #[arg(long, value_name = "FILE", help_heading = "Which events")]
    pub file: Option<PathBuf>,
    /// Start this command, and trace it and its children until it ends
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "pids")]
    pub command: Vec<OsString>,
    // Last, since its heading holds for all that follows.
    #[command(flatten)]
    pub target: TargetArgs,
}

#[derive(Group)]
pub struct LatencyArgs {
    /// What to measure: runqlat, hardirqs, softirqs, gc, tcpconnlat or tcprtt
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Print every so often, not at the end alone
    #[arg(short, long, value_name = "TIME", value_parser = parse_time)]
    pub interval: Option<Duration>,
    /// How long; else until Ctrl-C or until the target ends
    #[arg(short, long, value_name = "TIME", value_parser = parse_time)]
    pub duration: Option<Duration>,
    /// What to keep apart, such as process, thread, cgroup, pidns, cpu; none: nothing
    #[arg(long, value_name = "KEY", value_delimiter = ',', value_parser = parse_key)]
    pub by: Option<Vec<KeyWord>>,
    /// Histograms to show, those with the most time
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    pub limit: usize,
    /// Bars for each of several histograms too
    #[arg(long)]
    pub bars: bool,
    /// Times in ms, and all that took less than one in one bar
    #[arg(long)]
    pub ms: bool,
    /// Only what took at least this, such as 500us or 10ms
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub min: Option<Duration>,
    /// Only on this CPU
    #[arg(long, value_name = "CPU")]
    pub cpu: Option<u32>,
    /// Tell each by itself too, when it is over
    #[arg(long)]
    pub each: bool,
    /// Only connections by IPv4
    #[arg(short = '4', conflicts_with = "ipv6", help_heading = "Connections")]
    pub ipv4: bool,
    /// Only connections by IPv6
    #[arg(short = '6', help_heading = "Connections")]
    pub ipv6: bool,
    /// Only connections whose own end has this address
    #[arg(long, value_name = "ADDRESS", help_heading = "Connections")]
    pub local_address: Option<IpAddr>,
    /// Only connections whose own end has this port
    #[arg(long, value_name = "PORT", help_heading = "Connections")]
    pub local_port: Option<u16>,
    /// Only connections whose other end has this address
    #[arg(long, value_name = "ADDRESS", help_heading = "Connections")]
    pub remote_address: Option<IpAddr>,
    /// Only connections whose other end has this port
    #[arg(long, value_name = "PORT", help_heading = "Connections")]
    pub remote_port: Option<u16>,
    /// As JSON: an object on a line for each interval, with every histogram
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub target: TargetArgs,
}

/// A key, or `none`. A type of its own, for clap's sake.
#[derive(Clone, Copy)]
pub struct KeyWord(pub Option<Key>);

fn parse_key(text: &str) -> Result<KeyWord> {
    if text == "none" {
        return Ok(KeyWord(None));
    }
    let known = || Key::ALL.map(Key::word).join(", ");
    let key = Key::find(text).with_context(|| format!("there is {}, and none", known()))?;
    Ok(KeyWord(Some(key)))
}

#[derive(Group)]
pub struct AgentArgs {
    /// What to measure
    #[arg(short, long, default_value = "cpu", value_name = "SOURCE", value_delimiter = ',')]
    pub source: Vec<String>,
    /// Samples a second on each CPU; fewer where the budget does not allow it
    #[arg(short = 'F', long, value_name = "HZ", default_value_t = 19)]
    pub frequency: u64,
    /// Folder of recordings
    #[arg(long, value_name = "DIR", default_value = STORE)]
    pub store: PathBuf,
    /// How long recordings are kept
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = parse_time)]
    pub keep: Duration,
    /// How large the folder may become; the oldest recordings go first
    #[arg(long, value_name = "SIZE", default_value = "2GB", value_parser = parse_room)]
    pub max_size: u64,
    /// What the agent may cost, its BPF programs included, of one CPU
    #[arg(long, value_name = "SHARE", default_value = "1%", value_parser = parse_share)]
    pub max_overhead: f64,
    /// What memory it may take
    #[arg(long, value_name = "SIZE", default_value = "128MB", value_parser = parse_room)]
    pub max_memory: u64,
    /// Locked kernel memory for unwind tables, MB
    #[arg(long, value_name = "MB", default_value_t = 256)]
    pub table_memory: u64,
    /// Where the viewer listens; none: no viewer
    #[arg(long, value_name = "ADDR", default_value = "localhost:7171")]
    pub listen: String,
    /// User that the viewer runs as; rprof if there is one, else nobody
    #[arg(long, value_name = "USER")]
    pub web_user: Option<String>,
    /// How often what was recorded is made durable: for tests
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time, hide = true)]
    pub window: Duration,
    #[command(flatten)]
    pub target: TargetArgs,
}

const STORE: &str = "/var/lib/rprof";

const DEFAULT_FILE: &str = "rprof.data";

/// Whom to watch; the whole machine if nothing is given
#[derive(Group, Default)]
#[command(next_help_heading = "Target")]
pub struct TargetArgs {
    /// Processes, with their threads and the children that they start
    #[arg(short, long = "pid", value_name = "PID", value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// A cgroup of the cgroup2 hierarchy, with those below it
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<String>,
    /// Processes or threads of this name
    #[arg(long, value_name = "NAME")]
    pub comm: Option<String>,
    /// Processes of this user
    #[arg(long, value_name = "UID")]
    pub uid: Option<u32>,
    /// Not the children
    #[arg(long)]
    pub no_children: bool,
}

impl TargetArgs {
    /// The target that these words mean.
    pub fn target(&self) -> Result<Target> {
        Ok(Target {
            pids: self.pids.clone(),
            no_children: self.no_children,
            cgroup: self.cgroup.as_deref().map(Cgroup::find).transpose()?,
            comm: self.comm.clone(),
            uid: self.uid,
        })
    }
}

/// What part of the recording to show
#[derive(Group)]
#[command(next_help_heading = "View")]
pub struct ViewArgs {
    /// Source, such as cpu or heap; if not given cpu, or the recording's first
    #[arg(short, long)]
    pub source: Option<String>,
    /// Type of value: samples or cpu; inuse_space, inuse_objects, alloc_space or alloc_objects of
    /// memory, what is in use at the end of the time if not given
    #[arg(long = "type", value_name = "VALUE")]
    pub value_type: Option<String>,
    /// Only memory that is in use for so long already, such as 5m: what leaks
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub older: Option<Duration>,
    /// Start: 10s (after the recording's own), -1h (before its end), 03:12, 2026-11-21T03:12:00Z
    #[arg(long, value_name = "MOMENT", value_parser = Moment::parse, allow_hyphen_values = true)]
    pub from: Option<Moment>,
    /// End, in the same words
    #[arg(long, value_name = "MOMENT", value_parser = Moment::parse, allow_hyphen_values = true)]
    pub to: Option<Moment>,
    /// Only these processes
    #[arg(short, long = "pid", value_name = "PID", value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// Only processes or threads of this name
    #[arg(long, value_name = "NAME")]
    pub comm: Option<String>,
    /// Only what has this label, such as unit=nginx.service; may be given several times
    #[arg(long, value_name = "LABEL=VALUE", value_parser = Only::parse)]
    pub only: Vec<Only>,
    /// Only stacks with a function that matches
    #[arg(long, value_name = "REGEX")]
    pub focus: Option<Regex>,
    /// No stacks with a function that matches
    #[arg(long, value_name = "REGEX")]
    pub ignore: Option<Regex>,
    /// A root frame for each value of this label: comm, process, thread, exe, cmdline, uid, cgroup,
    /// container, unit or service; none: no such frame
    #[arg(long, value_name = "LABEL", default_value = "comm", value_parser = parse_label)]
    pub by: By,
    /// Leaf functions at the root, their callers above them
    #[arg(long)]
    pub inverted: bool,
}

/// A label, or none. A type of its own, since clap takes an `Option` for a word that may be left
/// out.
#[derive(Clone, Copy)]
pub struct By(pub Option<Label>);

fn parse_label(text: &str) -> Result<By> {
    parse_by(text).map(By)
}

impl ViewArgs {
    /// The view that these words mean.
    pub fn view(&self) -> View {
        View {
            source: self.source.clone(),
            value_type: self.value_type.clone(),
            older: self.older.map(|older| older.as_nanos().min(u64::MAX.into()) as u64),
            from: self.from,
            to: self.to,
            pids: self.pids.clone(),
            comm: self.comm.clone(),
            only: self.only.clone(),
            focus: self.focus.clone(),
            ignore: self.ignore.clone(),
            by: self.by.0,
            inverted: self.inverted,
        }
    }
}

#[derive(Group)]
pub struct FlamegraphArgs {
    /// Recording, or folder of them
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
    pub file: PathBuf,
    #[command(flatten)]
    pub view: ViewArgs,
}

#[derive(Group)]
pub struct ReportArgs {
    /// Recording, or folder of them
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
    pub file: PathBuf,
    #[command(flatten)]
    pub view: ViewArgs,
    /// Functions to show
    #[arg(short = 'n', long, value_name = "N", default_value_t = 30)]
    pub limit: usize,
    /// All of it as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Group)]
pub struct DiffArgs {
    /// Recording or store to compare with
    #[arg(value_name = "BASE")]
    pub base: PathBuf,
    /// Recording or store; if not given, BASE at another time
    #[arg(value_name = "NEW")]
    pub new: Option<PathBuf>,
    #[command(flatten)]
    pub view: ViewArgs,
    /// Start of the base, in the words of --from; the same as of NEW if not given
    #[arg(long, value_name = "MOMENT", value_parser = Moment::parse, allow_hyphen_values = true)]
    pub base_from: Option<Moment>,
    /// End of the base
    #[arg(long, value_name = "MOMENT", value_parser = Moment::parse, allow_hyphen_values = true)]
    pub base_to: Option<Moment>,
    /// Rows of each table
    #[arg(short = 'n', long, value_name = "N", default_value_t = 15)]
    pub limit: usize,
    /// Also what sampling noise explains
    #[arg(long)]
    pub all: bool,
    /// All of it as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Group)]
pub struct ExportArgs {
    /// Recording, or folder of them
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
    pub file: PathBuf,
    /// Format: pprof, folded, speedscope, firefox or json
    #[arg(short, long)]
    pub format: String,
    #[command(flatten)]
    pub view: ViewArgs,
}

#[derive(Group)]
pub struct WebArgs {
    /// Recording or store; rprof.data if not given, or /var/lib/rprof where there is none
    #[arg(value_name = "FILE|DIR")]
    pub file: Option<PathBuf>,
    /// Another recording or store, to compare with
    #[arg(long, value_name = "FILE|DIR")]
    pub base: Option<PathBuf>,
    /// Where to listen: a port, an address, or both
    #[arg(long, value_name = "ADDR", default_value = "localhost:7171")]
    pub listen: String,
    /// A name under which browsers know this machine; may be given several times
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// Where the token is that other machines need; made if it is not there
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Started by the agent: ends with it
    #[arg(long, hide = true)]
    pub child: bool,
}

#[derive(Group)]
pub struct DoctorArgs {
    /// Tell what these processes have mapped instead: how stacks and names come out of each file
    #[arg(short, long = "pid", value_name = "PID", value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// A stretch of time such as 10s, 1m30s, 2h, and more than nothing.
fn parse_time(text: &str) -> Result<Duration> {
    let time = parse_span(text)?;
    if time.is_zero() {
        bail!("a time has to be more than nothing");
    }
    Ok(time)
}

/// A size such as 2GB, 128MB, 500kB; a bare number is bytes.
pub fn parse_size(text: &str) -> Result<u64> {
    let end = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 =
        number.parse().with_context(|| format!("{text:?} is not a size; try 2GB or 128MB"))?;
    let unit: u64 = match &*unit.trim_start().to_ascii_lowercase() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => bail!("{unit:?} is no unit of size; there are kB, MB, GB and TB"),
    };
    let bytes = number * unit as f64;
    if bytes >= u64::MAX as f64 {
        bail!("{text:?} is more than any machine has");
    }
    Ok(bytes as u64)
}

/// A size that is more than nothing.
fn parse_room(text: &str) -> Result<u64> {
    match parse_size(text)? {
        0 => bail!("it has to be more than nothing"),
        bytes => Ok(bytes),
    }
}

/// A signal by its name or number.
fn parse_signal(text: &str) -> Result<u32> {
    signal_number(text).with_context(|| format!("{text:?} is no signal; try SIGTERM or 15"))
}

/// A share such as 1% or 0.5%, of one; more than nothing.
fn parse_share(text: &str) -> Result<f64> {
    match parse_any_share(text)? {
        0.0 => bail!("a share has to be more than nothing"),
        share => Ok(share),
    }
}

/// A share such as 1% or 0.5%, of one; or 0.
pub fn parse_any_share(text: &str) -> Result<f64> {
    let number = text.strip_suffix('%').or((text == "0").then_some(text));
    let number = number.with_context(|| format!("{text:?} is no share; try 1%"))?;
    let share =
        number.trim_end().parse::<f64>().with_context(|| format!("{text:?} is no share"))?;
    if !(share >= 0.0 && share.is_finite()) {
        bail!("a share cannot be less than nothing");
    }
    Ok(share / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn sizes_and_shares() {
        assert_eq!(parse_size("2GB").unwrap(), 2 << 30);
        assert_eq!(parse_size("128 mb").unwrap(), 128 << 20);
        assert_eq!(parse_size("1.5k").unwrap(), 1536);
        assert_eq!(parse_size("77").unwrap(), 77);
        assert_eq!(parse_size("0").unwrap(), 0);
        for wrong in ["", "GB", "1x", "-1", "1e9", "inf", "99999999TB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
        assert!(parse_room("0").is_err());
        assert_eq!(parse_share("1%").unwrap(), 0.01);
        assert_eq!(parse_share("0.5%").unwrap(), 0.005);
        for wrong in ["", "1", "%", "0%", "-1%", "inf%", "NaN%"] {
            assert!(parse_share(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_any_share("0").unwrap(), 0.0);
    }

    #[test]
    fn times() {
        let ms = |text| parse_time(text).unwrap().as_millis();
        assert_eq!(ms("10s"), 10_000);
        assert_eq!(ms("1m30s"), 90_000);
        assert_eq!(ms("250ms"), 250);
        assert_eq!(ms("2"), 2_000);
        assert_eq!(ms("7d"), 7 * 86_400_000);
        for wrong in ["", "0", "10x", "s", "-1s", "1e400s", "1..2s"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
