//! `rprof record`.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::Args as Group;

use super::{DEFAULT_FILE, TargetArgs, parse::parse_time};
use crate::cli::{memory::MemoryArgs, waits::WaitArgs};

#[derive(Group)]
pub struct RecordArgs {
    /// What to measure: stacks (cpu, offcpu, runqlat, heap, faults, kmem), latency and events, as
    /// rprof latency and rprof trace have them
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
    /// Leave out what happens to processes: exec and exit
    #[arg(long)]
    pub no_marks: bool,
    /// Follow user stacks by frame pointers alone, to measure what tables cost
    #[arg(long, hide = true)]
    pub frame_pointers: bool,
    /// Start this command, and record it and its children until it ends
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "pids")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub memory: MemoryArgs,
    #[command(flatten)]
    pub waits: WaitArgs,
    // Last, since its heading holds for all that follows.
    #[command(flatten)]
    pub target: TargetArgs,
}
