//! Every word of the command line, a file for each command that has many. What is typed here means
//! the same in each command, and becomes the types that the rest of the program knows: `Target` and
//! `View`.

mod agent;
mod latency;
mod list;
mod parse;
mod push;
mod read;
mod record;
mod target;
mod trace;
mod view;
mod web;

use std::{ffi::OsString, path::PathBuf};

use clap::{Args as Group, Parser, Subcommand};
use clap_complete::Shell;

pub use self::{
    agent::AgentArgs,
    latency::LatencyArgs,
    list::ListArgs,
    parse::{parse_any_share, parse_size, parse_time},
    push::{PushArgs, PushSettings},
    read::{DiffArgs, ExportArgs, FlamegraphArgs, ReportArgs},
    record::RecordArgs,
    target::TargetArgs,
    trace::TraceArgs,
    view::ViewArgs,
    web::WebArgs,
};

/// What is read and written where no file is named.
const DEFAULT_FILE: &str = "rprof.data";

/// Shows where a Linux machine's time and memory go: from a running process to a flame graph.
#[derive(Parser)]
#[command(name = "rprof", version, about, max_term_width = 100)]
#[command(long_version = super::version::long())]
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
    /// List what can be recorded, traced and measured: sources, tracepoints, perf events, and
    /// functions and USDT probes of a file
    List(ListArgs),
    /// Send a recording to an engine: Pyroscope, Parca, OpenTelemetry, pprof over HTTP, a bucket
    Push(PushArgs),
    /// Tell what this machine allows, and how to get the rest
    Doctor(DoctorArgs),
    /// Print what a shell completes this command line by
    Completions {
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Write manual pages into a folder
    #[command(hide = true)]
    Man {
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
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
pub struct DoctorArgs {
    /// Tell what these processes have mapped instead: how stacks and names come out of each file
    #[arg(short, long = "pid", value_name = "PID", value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Tell how users who are not root get to record: the capabilities for this program's file
    #[arg(long, conflicts_with_all = ["pids", "json"])]
    pub setcap: bool,
    /// Only the members of this group, who are then the only ones to run this file
    #[arg(long, value_name = "GROUP", requires = "setcap")]
    pub group: Option<String>,
    /// Do it, instead of telling how
    #[arg(long, requires = "setcap")]
    pub apply: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
