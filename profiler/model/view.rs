//! A view: the part of a recording to show, and how.
//!
//! The command line, the web API and the URL of a page say a view in the same words, and all of
//! them end here, so that the same words always show the same samples.

use std::ops::Range;

use anyhow::{Context, Result, bail};
use regex::Regex;

use super::{Label, Moment, NameKind, Profile, Sample, SourceInfo, Tables};

/// What an output needs to tell apart; samples that differ in nothing else are added up.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Detail {
    /// Keep each sample's time, and so each sample.
    pub time: bool,
    /// Keep CPUs apart.
    pub cpu: bool,
}

/// The type of value that every source has: how many samples.
const SAMPLES: &str = "samples";

/// A label that has to have a value: `unit=nginx.service`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Only {
    /// Which label.
    pub label: Label,
    /// Its value; empty where it must not be known.
    pub value: String,
}

impl Only {
    /// Reads `LABEL=VALUE`.
    ///
    /// # Errors
    /// There is no such label, or no `=`.
    pub fn parse(text: &str) -> Result<Self> {
        let (word, value) = text
            .split_once('=')
            .with_context(|| format!("{text:?} is not LABEL=VALUE, such as unit=nginx.service"))?;
        Ok(Self { label: parse_label(word)?, value: value.to_owned() })
    }
}

/// Reads what `by` may be: a label, or `none`.
///
/// # Errors
/// There is no such label.
pub fn parse_by(text: &str) -> Result<Option<Label>> {
    if text == "none" { Ok(None) } else { parse_label(text).map(Some) }
}

fn parse_label(word: &str) -> Result<Label> {
    let Some(label) = Label::find(word) else {
        let known: Vec<&str> = Label::ALL.iter().map(|label| label.word()).collect();
        bail!("no label {word:?}; there is: {}", known.join(", "));
    };
    Ok(label)
}

/// The part of a recording to show. The default shows all of it, by command.
#[derive(Clone, Debug)]
pub struct View {
    /// Source; the recording's first one if not named.
    pub source: Option<String>,
    /// Type of value: `samples`, or the name of the source's own. Where it is not said, an output
    /// shows what its format shows best.
    pub value_type: Option<String>,
    /// Start; the recording's own if not said.
    pub from: Option<Moment>,
    /// End; the recording's own if not said.
    pub to: Option<Moment>,
    /// Only these processes; all if empty.
    pub pids: Vec<u32>,
    /// Only this command or thread name.
    pub comm: Option<String>,
    /// Only what has these labels: one of the values that are given for a label, for each label.
    pub only: Vec<Only>,
    /// Only stacks with a function that matches.
    pub focus: Option<Regex>,
    /// No stack with a function that matches.
    pub ignore: Option<Regex>,
    /// What becomes the root frame; none: stacks begin with their own root.
    pub by: Option<Label>,
    /// Leaf functions at the root, their callers above them.
    pub inverted: bool,
}

impl Default for View {
    fn default() -> Self {
        Self {
            source: None,
            value_type: None,
            from: None,
            to: None,
            pids: Vec::new(),
            comm: None,
            only: Vec::new(),
            focus: None,
            ignore: None,
            by: Some(Label::Comm),
            inverted: false,
        }
    }
}

impl View {
    /// The time that is shown of a recording from `start` to `end`; all in ns since the Unix epoch.
    ///
    /// # Errors
    /// It ends before it begins.
    pub fn range(&self, start: u64, end: u64) -> Result<Range<u64>> {
        let resolve = |moment: Moment| moment.resolve(start, end);
        if let (Some(from), Some(to)) = (self.from, self.to)
            && resolve(from) >= resolve(to)
        {
            bail!("--from {from} is not before --to {to}");
        }
        let from = self.from.map_or(start, resolve).max(start);
        Ok(from..self.to.map_or(end, resolve).min(end).max(from))
    }

    /// True if samples of thread `thread` are shown.
    pub fn shows_thread(&self, thread: u32, tables: &Tables) -> bool {
        let Some(known) = tables.threads.get(thread) else { return false };
        let process = tables.processes.get(known.process);
        let comm = tables.strings.get(process.map_or(0, |process| process.comm));
        let named = |name: &str| comm == name || tables.strings.get(known.name) == name;
        (self.pids.is_empty() || process.is_some_and(|process| self.pids.contains(&process.pid)))
            && self.comm.as_deref().is_none_or(named)
            && self.shows_labels(|label| tables.label(label, thread))
    }

    /// True if what has these labels is shown, as far as `only` says.
    pub fn shows_labels<T: AsRef<str>>(&self, value: impl Fn(Label) -> T) -> bool {
        let same = |label: Label| self.only.iter().filter(move |only| only.label == label);
        self.only.iter().all(|only| {
            let value = value(only.label);
            same(only.label).any(|only| only.label.matches(value.as_ref(), &only.value))
        })
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
        let threads: Vec<bool> = (0..tables.threads.len() as u32)
            .map(|thread| self.shows_thread(thread, tables))
            .collect();
        let mut stacks: Vec<Option<bool>> = vec![None; tables.stacks.len() + 1];
        profile.samples.retain(|sample| {
            threads.get(sample.thread as usize).copied().unwrap_or_default()
                && stacks.get_mut(sample.stack as usize).is_some_and(|shown| {
                    *shown.get_or_insert_with(|| self.shows_stack(sample.stack, tables))
                })
        });
    }

    /// True if samples count by their value rather than by their number: if the view says so, or
    /// if it says nothing and they do not all stand for the same, as where an agent had to lower
    /// its rate.
    pub fn is_by_value(&self, profile: &Profile) -> bool {
        match self.value_type.as_deref() {
            Some(name) => name != SAMPLES,
            None => {
                let period = profile.source.period;
                period > 0 && profile.count().checked_mul(period) != Some(profile.value())
            }
        }
    }

    /// Fails if `source` has no values of the type that is asked for.
    ///
    /// # Errors
    /// Says which types there are.
    pub fn check_value_type(&self, source: &SourceInfo) -> Result<()> {
        let own = &source.value.name;
        match self.value_type.as_deref() {
            Some(name) if name != SAMPLES && name != own => {
                bail!("{} has no values of type {name}; it has: {SAMPLES}, {own}", source.name)
            }
            _ => Ok(()),
        }
    }

    /// The root frame that this view gives a sample; none where it gives none.
    pub fn root(&self, sample: &Sample, tables: &Tables) -> Option<String> {
        let label = self.by?;
        if tables.threads.get(sample.thread).is_none() {
            return Some("[unknown]".into());
        }
        let value = tables.label(label, sample.thread);
        Some(if value.is_empty() { format!("[no {}]", label.word()) } else { value.into_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_stays_within_the_recording() {
        let view = |from, to| View { from, to, ..View::default() };
        let after = |ns| Some(Moment::AfterStart(ns));
        assert_eq!(view(None, None).range(100, 200).unwrap(), 100..200);
        assert_eq!(view(after(10), after(20)).range(100, 200).unwrap(), 110..120);
        assert_eq!(view(after(10), after(500)).range(100, 200).unwrap(), 110..200);
        assert_eq!(view(Some(Moment::At(5)), None).range(100, 200).unwrap(), 100..200);
        assert!(view(after(300), None).range(100, 200).unwrap().is_empty());
        assert!(view(after(20), after(20)).range(100, 200).is_err());
    }

    #[test]
    fn labels_are_one_of_each() {
        let only = |words: &[&str]| View {
            only: words.iter().map(|word| Only::parse(word).unwrap()).collect(),
            ..View::default()
        };
        let shows = |words: &[&str]| {
            only(words).shows_labels(|label| match label {
                Label::Unit => "nginx.service",
                Label::Uid => "33",
                _ => "",
            })
        };
        assert!(shows(&[]));
        assert!(shows(&["unit=nginx.service"]));
        assert!(shows(&["unit=cron.service", "unit=nginx.service", "uid=33"]));
        assert!(shows(&["service="]));
        assert!(!shows(&["unit=nginx.service", "uid=0"]));
        assert!(!shows(&["unit=nginx"]));
        assert!(Only::parse("unit").is_err() && Only::parse("colour=red").is_err());
        assert_eq!(Only::parse("cmdline=a=b").unwrap().value, "a=b");
        assert_eq!(parse_by("none").unwrap(), None);
        assert_eq!(parse_by("service").unwrap(), Some(Label::Service));
        assert!(parse_by("colour").is_err());
    }
}
