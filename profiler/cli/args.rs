//! Every word of the command line. What is typed here means the same in each command, and becomes
//! the types that the rest of the program knows: [`Target`] and [`View`].

use std::{ffi::OsString, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use regex::Regex;

use crate::{
    model::{GroupBy, View},
    target::{Cgroup, Target},
};

/// Shows where a Linux machine's CPU time goes: from a running process to a flame graph.
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
    /// Draw a flame graph: rprof flamegraph > out.svg
    Flamegraph(FlamegraphArgs),
    /// Print the hottest functions as a table
    Report(ReportArgs),
    /// Write pprof, folded stacks, speedscope, Firefox Profiler or JSON
    Export(ExportArgs),
    /// Tell what this machine allows, and how to get the rest
    Doctor(DoctorArgs),
    /// What becomes of the command that `record` starts: it stops, and goes on once told to
    #[command(name = "start-when-told", hide = true)]
    StartWhenTold {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
}

#[derive(Group)]
pub struct RecordArgs {
    /// What to measure
    #[arg(short, long, default_value = "cpu")]
    pub source: String,
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
    /// Start this command, and record it and its children until it ends
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "pids")]
    pub command: Vec<OsString>,
    // Last, since its heading holds for all that follows.
    #[command(flatten)]
    pub target: TargetArgs,
}

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
    /// Source; the recording's first if not given
    #[arg(short, long)]
    pub source: Option<String>,
    /// Start, from the recording's own: 10s, 1m30s
    #[arg(long, value_name = "TIME", value_parser = parse_offset)]
    pub from: Option<Duration>,
    /// End, from the recording's start
    #[arg(long, value_name = "TIME", value_parser = parse_offset)]
    pub to: Option<Duration>,
    /// Only these processes
    #[arg(short, long = "pid", value_name = "PID", value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// Only processes or threads of this name
    #[arg(long, value_name = "NAME")]
    pub comm: Option<String>,
    /// Only stacks with a function that matches
    #[arg(long, value_name = "REGEX")]
    pub focus: Option<Regex>,
    /// No stacks with a function that matches
    #[arg(long, value_name = "REGEX")]
    pub ignore: Option<Regex>,
    /// A root frame for each of these, instead of each command name
    #[arg(long, value_name = "WHAT")]
    pub by: Option<By>,
    /// Leaf functions at the root, their callers above them
    #[arg(long)]
    pub inverted: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum By {
    Process,
    Thread,
    Cgroup,
}

impl ViewArgs {
    /// The view that these words mean.
    pub fn view(&self) -> Result<View> {
        let nanoseconds = |time: Duration| time.as_nanos().min(u64::MAX.into()) as u64;
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from >= to
        {
            bail!("--from {from:?} is not before --to {to:?}");
        }
        Ok(View {
            source: self.source.clone(),
            from: self.from.map(nanoseconds),
            to: self.to.map(nanoseconds),
            pids: self.pids.clone(),
            comm: self.comm.clone(),
            focus: self.focus.clone(),
            ignore: self.ignore.clone(),
            by: match self.by {
                None => GroupBy::Comm,
                Some(By::Process) => GroupBy::Process,
                Some(By::Thread) => GroupBy::Thread,
                Some(By::Cgroup) => GroupBy::Cgroup,
            },
            inverted: self.inverted,
        })
    }
}

#[derive(Group)]
pub struct FlamegraphArgs {
    /// Recording
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
    pub file: PathBuf,
    #[command(flatten)]
    pub view: ViewArgs,
}

#[derive(Group)]
pub struct ReportArgs {
    /// Recording
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
pub struct ExportArgs {
    /// Recording
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
    pub file: PathBuf,
    /// Format: pprof, folded, speedscope, firefox or json
    #[arg(short, long)]
    pub format: String,
    #[command(flatten)]
    pub view: ViewArgs,
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

/// A time such as 10s, 500ms, 1m30s, 2h, 7d; a bare number is seconds.
fn parse_offset(text: &str) -> Result<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, unit_on) = rest.split_at(end);
        let end = unit_on.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit_on.len());
        let (unit, next) = unit_on.split_at(end);
        let number: f64 =
            number.parse().with_context(|| format!("{text:?} is not a time; try 10s or 5m"))?;
        let seconds = match unit {
            "" | "s" => 1.0,
            "ms" => 0.001,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => bail!("{unit:?} is no unit of time; there are ms, s, m, h and d"),
        };
        sum += Duration::try_from_secs_f64(number * seconds).context("that time is too long")?;
        rest = next;
    }
    if text.is_empty() {
        bail!("a time has to be something; try 10s or 5m");
    }
    Ok(sum)
}

/// As [`parse_offset`], but more than nothing.
fn parse_time(text: &str) -> Result<Duration> {
    let time = parse_offset(text)?;
    if time.is_zero() {
        bail!("a time has to be more than nothing");
    }
    Ok(time)
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
