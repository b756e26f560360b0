//! `rprof trace`.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::Args as Group;

use super::{
    TargetArgs,
    parse::{parse_size, parse_time},
};
use crate::{probe::is_probe, sources::signal_number};

#[derive(Group)]
pub struct TraceArgs {
    /// Events: exec, exit, open, unlink, signal, readline, tcpstates, syscalls; several are told in
    /// the order of time
    #[arg(value_name = "NAME", value_delimiter = ',', required_unless_present = "calls")]
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
    /// A probe, such as tracepoint:sched:sched_switch or uprobe:bash:readline/ret: a line for each
    /// hit, with its arguments; `rprof list` tells which there are. Without a colon, of syscalls these
    /// only, by name or class (file, desc, network, memory, process, signal); with !NAME all but that
    /// one
    #[arg(short = 'e', long = "calls", value_name = "PROBE|CALL,...")]
    #[arg(help_heading = "Which events")]
    pub calls: Vec<String>,
    /// syscalls: bytes of data to show, 256 at most
    #[arg(long, value_name = "BYTES", default_value_t = 32, help_heading = "Which events")]
    #[arg(value_parser = clap::value_parser!(u32).range(..=256))]
    pub data: u32,
    /// syscalls: also who called, the functions of the program from the innermost on
    #[arg(long, conflicts_with = "count", help_heading = "Which events")]
    pub stack: bool,
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

impl TraceArgs {
    /// What of `-e` are probes, one each.
    pub fn probes(&self) -> impl Iterator<Item = &str> {
        self.calls.iter().map(String::as_str).filter(|text| is_probe(text))
    }

    /// What of `-e` are system calls: several with commas between them.
    pub fn system_calls(&self) -> Vec<String> {
        let calls = self.calls.iter().filter(|text| !is_probe(text));
        calls.flat_map(|text| text.split(',').map(str::to_owned)).collect()
    }
}

/// A signal by its name or number.
fn parse_signal(text: &str) -> Result<u32> {
    signal_number(text).with_context(|| format!("{text:?} is no signal; try SIGTERM or 15"))
}
