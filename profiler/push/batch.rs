//! A window of a store, as it goes to engines: for each source the profile of the machine, and the
//! same by series.

use std::{collections::HashMap, ops::Range};

use anyhow::Result;

use super::series::{Labels, SERVICE, labels};
use crate::{
    model::{Detail, Moment, Profile, Sample, SourceInfo, View},
    store::Store,
};

/// Series of one source in one batch. What is of more is put together as one, and counted.
const SERIES_MAX: usize = 512;
/// The service of what is beyond.
const OTHERS: &str = "other_services";

/// A window.
#[derive(Debug, Default)]
pub struct Batch {
    /// From when to when, ns since the Unix epoch.
    pub time: Range<u64>,
    /// Its sources that have anything.
    pub parts: Vec<Part>,
    /// Processes whose series was one too many.
    pub crowded: u64,
}

/// What one source has.
#[derive(Debug)]
pub struct Part {
    /// All of the machine.
    pub whole: Profile,
    /// The same, apart.
    pub series: Vec<Series>,
}

/// The samples of those processes that have all labels in common.
#[derive(Debug)]
pub struct Series {
    /// By name; there is a `service_name` among them.
    pub labels: Labels,
    /// The samples.
    pub profile: Profile,
}

impl Batch {
    /// What `store` has of a stretch of time, and of sources of memory in use of the stretch `held`,
    /// if there is one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(store: &mut Store, time: &Range<u64>, held: Option<&Range<u64>>) -> Result<Self> {
        let mut batch = Self { time: time.clone(), ..Self::default() };
        for source in store.sources() {
            let Some(time) = (if source.held { held } else { Some(time) }) else { continue };
            let view = View {
                source: Some(source.name),
                from: Some(Moment::At(time.start)),
                to: Some(Moment::At(time.end)),
                ..View::default()
            };
            let whole = store.profile(&view, Detail { both: true, ..Detail::default() })?;
            if whole.samples.is_empty() && whole.in_use.is_empty() {
                continue;
            }
            let (series, crowded) = split(&whole);
            batch.crowded += crowded;
            batch.parts.push(Part { whole, series });
        }
        Ok(batch)
    }
}

/// The name under which engines know a source.
pub fn metric(source: &SourceInfo) -> &str {
    match &*source.name {
        "cpu" => "process_cpu",
        "offcpu" => "off_cpu",
        "heap" => "memory",
        other => other,
    }
}

/// The start and the end of what a profile shows, ns since the Unix epoch.
pub fn time_of(profile: &Profile) -> Range<u64> {
    let start = profile.info.start.saturating_add(profile.from);
    start..profile.info.start.saturating_add(profile.to).max(start)
}

/// A profile by series, and the number of processes that there was no series left for.
fn split(whole: &Profile) -> (Vec<Series>, u64) {
    let mut found = Found::default();
    let (mut samples, mut in_use) = (Vec::new(), Vec::new());
    let mut divide = |from: &[Sample], into: &mut Vec<Vec<Sample>>| {
        for sample in from {
            let series = found.of(whole, sample.thread);
            if into.len() <= series {
                into.resize_with(series + 1, Vec::new);
            }
            into[series].push(*sample);
        }
    };
    divide(&whole.samples, &mut samples);
    divide(&whole.in_use, &mut in_use);
    let take = |all: &mut Vec<Vec<Sample>>, index: usize| {
        all.get_mut(index).map(std::mem::take).unwrap_or_default()
    };
    let series = found.labels.into_iter().enumerate().map(|(index, labels)| {
        let (samples, in_use) = (take(&mut samples, index), take(&mut in_use, index));
        let profile = Profile {
            info: whole.info.clone(),
            source: whole.source.clone(),
            stats: whole.stats.clone(),
            tables: whole.tables.clone(),
            others: Vec::new(),
            frees: Vec::new(),
            samples,
            in_use,
            ..*whole
        };
        Series { labels, profile }
    });
    (series.collect(), found.crowded)
}

/// Series, by the processes that they are of.
#[derive(Default)]
struct Found {
    labels: Vec<Labels>,
    by_labels: HashMap<Labels, usize>,
    by_process: HashMap<u32, usize, foldhash::fast::RandomState>,
    crowded: u64,
}

impl Found {
    /// The series of a thread.
    fn of(&mut self, profile: &Profile, thread: u32) -> usize {
        let tables = &profile.tables;
        let process = tables.threads.get(thread).map_or(u32::MAX, |thread| thread.process);
        if let Some(known) = self.by_process.get(&process) {
            return *known;
        }
        let mut labels = labels(tables, process, &profile.info.host);
        if self.labels.len() >= SERIES_MAX && !self.by_labels.contains_key(&labels) {
            self.crowded += 1;
            labels = vec![
                ("host".to_owned(), profile.info.host.clone()),
                (SERVICE.to_owned(), OTHERS.to_owned()),
            ];
        }
        let next = self.labels.len();
        let index = *self.by_labels.entry(labels.clone()).or_insert(next);
        if index == next {
            self.labels.push(labels);
        }
        self.by_process.insert(process, index);
        index
    }
}
