//! A view: the part of a recording to show, and how.
//!
//! The command line, the web API and the URL of a page say a view in the same words, and all of
//! them end here, so that the same words always show the same samples.

use regex::Regex;

use super::{NameKind, Profile, Sample, Tables, Thread};

/// What becomes the root frame of each stack.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum GroupBy {
    /// The command name, all processes of that name together.
    #[default]
    Comm,
    /// Each process: name and pid.
    Process,
    /// Each thread: name and tid.
    Thread,
    /// Each cgroup: its path.
    Cgroup,
}

/// What an output needs to tell apart; samples that differ in nothing else are added up.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Detail {
    /// Keep each sample's time, and so each sample.
    pub time: bool,
    /// Keep CPUs apart.
    pub cpu: bool,
}

/// The part of a recording to show. The default shows all of it.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Source; the recording's first one if not named.
    pub source: Option<String>,
    /// Start, ns since the recording's start.
    pub from: Option<u64>,
    /// End, ns since the recording's start.
    pub to: Option<u64>,
    /// Only these processes; all if empty.
    pub pids: Vec<u32>,
    /// Only this command or thread name.
    pub comm: Option<String>,
    /// Only stacks with a function that matches.
    pub focus: Option<Regex>,
    /// No stack with a function that matches.
    pub ignore: Option<Regex>,
    /// What becomes the root frame.
    pub by: GroupBy,
    /// Leaf functions at the root, their callers above them.
    pub inverted: bool,
}

impl View {
    /// True if a sample at `time` (ns since the recording's start) is shown.
    pub fn shows_time(&self, time: u64) -> bool {
        self.from.is_none_or(|from| time >= from) && self.to.is_none_or(|to| time < to)
    }

    /// True if samples of `thread` are shown.
    pub fn shows_thread(&self, thread: &Thread, tables: &Tables) -> bool {
        let named = |name: &str| {
            tables.strings.get(thread.comm) == name || tables.strings.get(thread.name) == name
        };
        (self.pids.is_empty() || self.pids.contains(&thread.pid))
            && self.comm.as_deref().is_none_or(named)
    }

    /// True if samples with this stack are shown.
    pub fn shows_stack(&self, stack: u32, tables: &Tables) -> bool {
        let any = |pattern: &Regex| {
            tables
                .stack_names(stack)
                .any(|name| name.kind != NameKind::Note && pattern.is_match(&name.text))
        };
        self.focus.as_ref().is_none_or(any) && !self.ignore.as_ref().is_some_and(any)
    }

    /// Drops from `profile` the samples that this view does not show by thread or stack. Times
    /// are left to who reads the samples, which need not read them all.
    pub fn narrow(&self, profile: &mut Profile) {
        let tables = &profile.tables;
        let threads: Vec<bool> =
            tables.threads.since(0).map(|thread| self.shows_thread(thread, tables)).collect();
        let mut stacks: Vec<Option<bool>> = vec![None; tables.stacks.len() + 1];
        profile.samples.retain(|sample| {
            threads.get(sample.thread as usize).copied().unwrap_or_default()
                && stacks.get_mut(sample.stack as usize).is_some_and(|shown| {
                    *shown.get_or_insert_with(|| self.shows_stack(sample.stack, tables))
                })
        });
    }

    /// The root frame that this view gives a sample.
    pub fn root(&self, sample: &Sample, tables: &Tables) -> String {
        let Some(thread) = tables.threads.get(sample.thread) else { return "[unknown]".into() };
        let text = |index| tables.strings.get(index);
        match self.by {
            GroupBy::Comm => text(thread.comm).into(),
            GroupBy::Process => format!("{} ({})", text(thread.comm), thread.pid),
            GroupBy::Thread => format!("{} ({})", text(thread.name), thread.tid),
            GroupBy::Cgroup if thread.cgroup == 0 => "[no cgroup]".into(),
            GroupBy::Cgroup => text(thread.cgroup).into(),
        }
    }
}
