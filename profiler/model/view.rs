//! A view: the part of a recording to show, and how.
//!
//! The command line, the web API and the URL of a page say a view in the same words, and all of
//! them end here, so that the same words always show the same samples.

use std::ops::Range;

use anyhow::{Context, Result, bail};
use regex::Regex;

use super::{Idle, Label, Moment, NameKind, Profile, Sample, SourceInfo, Tables, ValueType, idle};

/// What an output needs to tell apart; samples that differ in nothing else are added up.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Detail {
    /// Keep each sample's time, and so each sample; of a held source what was taken, and its frees.
    pub time: bool,
    /// Keep CPUs apart.
    pub cpu: bool,
    /// Of a held source, both what was taken and what is in use, whichever the view shows.
    pub both: bool,
}

/// Which of a source's values a view shows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Measure {
    /// How many, rather than how much.
    pub by_count: bool,
    /// What is in use at the end of the view's time, rather than what was taken within it.
    pub in_use: bool,
}

impl Measure {
    /// Count and value of `source`.
    pub fn types(self, source: &SourceInfo) -> [ValueType; 2] {
        let mut types = source.types();
        let value = types.split_off(types.len() - 2);
        let types = if self.in_use || types.is_empty() { value } else { types };
        <[ValueType; 2]>::try_from(types).unwrap_or_default()
    }

    /// The one that is shown.
    pub fn value_type(self, source: &SourceInfo) -> ValueType {
        let [count, value] = self.types(source);
        if self.by_count { count } else { value }
    }
}

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
    /// Type of value, one of [`SourceInfo::types`]. Where it is not said, it is what is in use of a
    /// held source and the value of others; of what is sampled by time an output may show the
    /// number of samples, if they all stand for the same.
    pub value_type: Option<String>,
    /// Of what is in use, only what was taken at least so long before the end of the time, ns.
    pub older: Option<u64>,
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
    /// How threads without work are shown.
    pub idle: Idle,
}

impl Default for View {
    fn default() -> Self {
        Self {
            source: None,
            value_type: None,
            older: None,
            from: None,
            to: None,
            pids: Vec::new(),
            comm: None,
            only: Vec::new(),
            focus: None,
            ignore: None,
            by: Some(Label::Comm),
            inverted: false,
            idle: Idle::Group,
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
        let mut shows = |sample: &Sample| {
            threads.get(sample.thread as usize).copied().unwrap_or_default()
                && stacks.get_mut(sample.stack as usize).is_some_and(|shown| {
                    *shown.get_or_insert_with(|| self.shows_stack(sample.stack, tables))
                })
        };
        profile.samples.retain(&mut shows);
        profile.in_use.retain(&mut shows);
        profile.frees.retain(|free| shows(&free.sample));
        idle::arrange(profile, self.idle);
    }

    /// True if what `profile` has of this view counts by value rather than by number.
    pub fn is_by_value(&self, profile: &Profile) -> bool {
        if self.value_type.is_some() {
            return !profile.measure.by_count;
        }
        // Where an agent had to lower its rate, samples do not all stand for the same.
        let source = &profile.source;
        source.frequency == 0 || profile.count().checked_mul(source.period) != Some(profile.value())
    }

    /// Which of the values of `source` it shows.
    ///
    /// # Errors
    /// There is no such type: says which there are. Or it is of what was taken, and only what is in
    /// use has an age.
    pub fn measure(&self, source: &SourceInfo) -> Result<Measure> {
        let types = source.types();
        let place = match &self.value_type {
            None => types.len() - 1,
            Some(name) => types.iter().position(|one| one.name == *name).with_context(|| {
                let known: Vec<&str> = types.iter().map(|one| &*one.name).collect();
                let known = known.join(", ");
                format!("{} has no values of type {name}; it has: {known}", source.name)
            })?,
        };
        let in_use = place > 1;
        if self.older.is_some() && !in_use {
            bail!("only memory in use has an age: older goes with inuse_space or inuse_objects");
        }
        Ok(Measure { by_count: place % 2 == 0, in_use })
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
    fn types_of_value_are_those_of_the_source() {
        let heap = SourceInfo {
            name: "heap".into(),
            count: ValueType::new("alloc_objects", "count"),
            value: ValueType::new("alloc_space", "bytes"),
            held: true,
            ..SourceInfo::default()
        };
        let cpu = SourceInfo {
            name: "cpu".into(),
            value: ValueType::new("cpu", "nanoseconds"),
            ..SourceInfo::default()
        };
        let asks = |name: Option<&str>, older, source: &SourceInfo| {
            let view = View { value_type: name.map(str::to_owned), older, ..View::default() };
            view.measure(source).map(|measure| measure.value_type(source).name)
        };
        for name in ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"] {
            assert_eq!(asks(Some(name), None, &heap).unwrap(), name);
        }
        assert_eq!(asks(None, Some(1), &heap).unwrap(), "inuse_space");
        assert_eq!(asks(None, None, &cpu).unwrap(), "cpu");
        assert_eq!(asks(Some("samples"), None, &cpu).unwrap(), "samples");
        let error = asks(Some("samples"), None, &heap).unwrap_err().to_string();
        assert!(
            error.contains("alloc_objects, alloc_space, inuse_objects, inuse_space"),
            "{error}"
        );
        assert!(asks(Some("alloc_space"), Some(1), &heap).is_err());
        assert!(asks(None, Some(1), &cpu).is_err());
        assert_eq!(Measure::default().types(&cpu).map(|one| one.name), ["samples", "cpu"]);
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
