//! Values over time: the time line, a series for each group; and the heat map, a row for each 20 ms
//! of a second.

use std::ops::Range;

use serde::Serialize;

use super::{
    SUM_MAX, in_samples,
    summary::MS,
    weights::{Groups, Lens},
};
use crate::{
    model::{Label, Sample, Tables, View},
    store::{Entry, Series as Processes},
};

/// The most columns of a time line.
pub const COLUMNS_MAX: usize = 4000;
/// The most series of a time line, besides that of all others.
pub const SERIES_MAX: usize = 100;
/// Rows of a heat map: 20 ms each.
const ROWS: usize = 50;
/// The most columns of a heat map, a second each.
const SECONDS_MAX: u64 = 3600;
const SECOND: u64 = 1_000_000_000;

/// A value at a time.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// ns since the Unix epoch.
    pub time: u64,
    /// Whose it is, a number of [`Points::groups`].
    pub group: u32,
    /// In the unit of the view.
    pub value: u64,
}

/// Values over time, and whose they are.
#[derive(Debug, Default)]
pub struct Points {
    /// Names of groups; none where the view has no groups.
    pub groups: Vec<Option<String>>,
    /// The values, in no order.
    pub points: Vec<Point>,
}

impl Points {
    /// What `series` says of processes under `view`. Gives nothing where the view tells apart what
    /// a series does not: threads, stacks, or numbers of samples.
    pub fn of_series(series: &Processes, tables: &Tables, view: &View) -> Option<Self> {
        let by_thread = |label: &Label| !label.is_of_process();
        if view.focus.is_some()
            || view.ignore.is_some()
            || view.comm.is_some()
            || in_samples(view)
            || view.by.as_ref().is_some_and(by_thread)
            || view.only.iter().any(|only| by_thread(&only.label))
        {
            return None;
        }
        let mut groups = Groups::default();
        let mut known: Vec<Option<Option<u32>>> = vec![None; tables.processes.len()];
        let mut points = Vec::with_capacity(series.cells.len());
        for cell in &series.cells {
            let Some(slot) = known.get_mut(cell.process as usize) else { continue };
            let group = *slot.get_or_insert_with(|| {
                shows(view, cell.process, tables)
                    .then(|| groups.number(root(view, cell.process, tables)))
            });
            let Some(group) = group else { continue };
            let time = series.start + u64::from(cell.column) * series.step;
            points.push(Point { time, group, value: cell.value });
        }
        Some(Self { groups: groups.into_names(), points })
    }

    /// Sum of all values.
    pub fn total(&self) -> u64 {
        self.points.iter().fold(0, |sum: u64, point| sum.saturating_add(point.value).min(SUM_MAX))
    }
}

/// True if a process is shown, as far as that does not depend on its threads and stacks.
fn shows(view: &View, process: u32, tables: &Tables) -> bool {
    let Some(known) = tables.processes.get(process) else { return false };
    (view.pids.is_empty() || view.pids.contains(&known.pid))
        && view.shows_labels(|label| tables.process_label(label, process))
}

/// The group of a process, as [`View::root`] names it.
fn root(view: &View, process: u32, tables: &Tables) -> Option<String> {
    let label = view.by?;
    let value = tables.process_label(label, process);
    Some(if value.is_empty() { format!("[no {}]", label.word()) } else { value.into_owned() })
}

/// Values of samples over time, as they are read.
pub struct Gather<'a> {
    lens: Lens<'a>,
    points: Vec<Point>,
}

impl<'a> Gather<'a> {
    /// What `lens` shows.
    pub fn new(lens: Lens<'a>) -> Self {
        Self { lens, points: Vec::new() }
    }

    /// Adds a sample; its time is in ns since the Unix epoch.
    pub fn add(&mut self, sample: &Sample) {
        if let Some((group, _, value)) = self.lens.look(&Entry::of(sample)) {
            self.points.push(Point { time: sample.time, group, value });
        }
    }

    /// All that was added.
    pub fn finish(self) -> Points {
        Points { groups: self.lens.into_groups(), points: self.points }
    }
}

/// A time line.
#[derive(Debug, Default, Serialize)]
pub struct Timeline {
    /// Where the first column begins, ms since the Unix epoch.
    pub start: f64,
    /// Width of a column, ms.
    pub step: f64,
    /// Unit of all values.
    pub unit: String,
    /// CPUs that there are.
    pub cpus: u32,
    /// Sum of all values.
    pub total: u64,
    /// The groups with the largest totals, those first.
    pub series: Vec<Series>,
    /// All other groups, for each column.
    pub other: Vec<u64>,
    /// The other sources of the recording.
    pub lanes: Vec<Lane>,
    /// What happened to the recording itself.
    pub marks: Vec<Mark>,
}

/// One group.
#[derive(Debug, Serialize)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Sum of its values.
    pub total: u64,
    /// For each column the sum of its values.
    pub values: Vec<u64>,
}

/// Another source.
#[derive(Debug, Serialize)]
pub struct Lane {
    /// Its word.
    pub source: String,
    /// `stacks`, `latency` or `events`.
    pub kind: &'static str,
    /// Unit of the values.
    pub unit: String,
    /// For each column the sum of its values.
    pub values: Vec<u64>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mark {
    /// When, ms since the Unix epoch.
    pub time: f64,
    /// `start`, `stop`, `rate` or `gap`.
    pub kind: &'static str,
    /// What, in words.
    pub text: String,
    /// Until when, for what lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<f64>,
}

/// A time line of `range` (ns since the Unix epoch) in `columns`, with the `top` largest groups.
pub fn timeline(points: &Points, range: &Range<u64>, columns: usize, top: usize) -> Timeline {
    let columns = columns.clamp(1, COLUMNS_MAX);
    let mut totals = vec![0u64; points.groups.len()];
    for point in &points.points {
        let total = &mut totals[point.group as usize];
        *total = total.saturating_add(point.value).min(SUM_MAX);
    }
    let mut order: Vec<usize> = (0..totals.len()).filter(|group| totals[*group] > 0).collect();
    order.sort_by(|a, b| {
        totals[*b].cmp(&totals[*a]).then_with(|| points.groups[*a].cmp(&points.groups[*b]))
    });
    order.truncate(top.min(SERIES_MAX));
    let mut series: Vec<Series> = order
        .iter()
        .map(|group| Series {
            name: points.groups[*group].clone().unwrap_or_else(|| "all".into()),
            total: totals[*group],
            values: vec![0; columns],
        })
        .collect();
    let mut places = vec![None; totals.len()];
    for (place, group) in order.into_iter().enumerate() {
        places[group] = Some(place);
    }
    let mut other = vec![0u64; columns];
    for point in &points.points {
        let values = match places[point.group as usize] {
            Some(place) => &mut series[place].values,
            None => &mut other,
        };
        let value = &mut values[column(point.time, range, columns)];
        *value = value.saturating_add(point.value).min(SUM_MAX);
    }
    Timeline {
        start: range.start as f64 / MS,
        step: (range.end - range.start) as f64 / MS / columns as f64,
        total: points.total(),
        series,
        other,
        ..Timeline::default()
    }
}

/// The values of `points` in columns, all groups as one.
pub fn lane(points: &Points, range: &Range<u64>, columns: usize) -> Vec<u64> {
    let mut values = vec![0u64; columns.clamp(1, COLUMNS_MAX)];
    for point in &points.points {
        let value = column(point.time, range, values.len());
        values[value] = values[value].saturating_add(point.value).min(SUM_MAX);
    }
    values
}

fn column(time: u64, range: &Range<u64>, columns: usize) -> usize {
    let into = u128::from(time.saturating_sub(range.start));
    let span = u128::from(range.end.saturating_sub(range.start)).max(1);
    ((into * columns as u128 / span) as usize).min(columns - 1)
}

/// A heat map.
#[derive(Debug, Default, Serialize)]
pub struct Heatmap {
    /// Where the first column begins: a whole second, ms since the Unix epoch.
    pub start: f64,
    /// Columns.
    pub seconds: usize,
    /// Rows; the first is the beginning of each second.
    pub rows: usize,
    /// Unit of the values.
    pub unit: String,
    /// Sum of the values.
    pub total: u64,
    /// The values, column by column.
    pub values: Vec<u64>,
}

/// The range that a heat map of `range` shows: whole seconds, the last hour of it at most.
pub fn heatmap_range(range: &Range<u64>) -> Range<u64> {
    let end = range.end.div_ceil(SECOND) * SECOND;
    let start = (range.start / SECOND * SECOND).max(end.saturating_sub(SECONDS_MAX * SECOND));
    start..end
}

/// A heat map of `range`, which [`heatmap_range`] gave.
pub fn heatmap(points: &Points, range: &Range<u64>) -> Heatmap {
    let seconds = ((range.end - range.start) / SECOND) as usize;
    let mut values = vec![0u64; seconds * ROWS];
    let row = SECOND / ROWS as u64;
    for point in points.points.iter().filter(|point| range.contains(&point.time)) {
        let value = &mut values[((point.time - range.start) / row) as usize];
        *value = value.saturating_add(point.value).min(SUM_MAX);
    }
    Heatmap {
        start: range.start as f64 / MS,
        seconds,
        rows: ROWS,
        unit: String::new(),
        total: points.total(),
        values,
    }
}
