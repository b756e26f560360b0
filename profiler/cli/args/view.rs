//! What part of a recording to show: the same words in each command that reads one.

use std::time::Duration;

use anyhow::Result;
use clap::Args as Group;
use regex::Regex;

use super::parse::parse_time;
use crate::model::{Idle, Label, Moment, Only, View, parse_by};

/// What part of the recording to show
#[derive(Group)]
#[command(next_help_heading = "View")]
pub struct ViewArgs {
    /// Source, such as cpu or heap, or cpu,offcpu for all of the time of threads; if not given cpu, or
    /// the recording's first
    #[arg(short, long)]
    pub source: Option<String>,
    /// Type of value: samples or cpu; inuse_space, inuse_objects, alloc_space or alloc_objects of
    /// memory, what is in use at the end of the time if not given; latency for the histograms of what
    /// has stacks too
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
    /// container, unit, service, pod, namespace or container_name; none: no such frame
    #[arg(long, value_name = "LABEL", default_value = "comm", value_parser = parse_label)]
    pub by: By,
    /// Leaf functions at the root, their callers above them
    #[arg(long)]
    pub inverted: bool,
    /// Threads that wait for work to do: group them on one frame, show them as they are, or hide them
    #[arg(long, value_name = "HOW", default_value = "group", value_parser = Idle::parse)]
    pub idle: Idle,
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
            idle: self.idle,
        }
    }
}
