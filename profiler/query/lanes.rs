//! Other sources below a time line: stacks as sums, latency as quantiles, events as counts and marks.

use std::{collections::HashMap, ops::Range};

use serde::Serialize;

use super::{marks::Mark, summary::MS};
use crate::model::{Histogram, Key, Label, Slice, Tables, View};

/// Another source of a recording.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Lane {
    /// One of kind `stacks`.
    Stacks(StacksLane),
    /// One of kind `latency`.
    Latency(Box<LatencyLane>),
    /// One of kind `events`.
    Events(EventsLane),
}

/// Another source of kind `stacks`.
#[derive(Debug, Serialize)]
pub struct StacksLane {
    /// Its word.
    pub source: String,
    /// `stacks`.
    pub kind: &'static str,
    /// Type of the values.
    #[serde(rename = "type")]
    pub value_type: String,
    /// Unit of the values.
    pub unit: String,
    /// True if they are of what is in use at the end of each column.
    pub in_use: bool,
    /// For each column the sum of its values, or what is in use at its end.
    pub values: Vec<u64>,
}

/// A source of kind `latency`. Of a column without anything, quantiles are none.
#[derive(Debug, Serialize)]
pub struct LatencyLane {
    /// Its word.
    pub source: String,
    /// `latency`.
    pub kind: &'static str,
    /// Unit of all but the count.
    pub unit: String,
    /// False if it is of all processes though the view is not.
    pub filtered: bool,
    /// Times in each column.
    pub count: Vec<u64>,
    /// Half of them took no longer.
    pub p50: Vec<Option<u64>>,
    /// Nine of ten took no longer.
    pub p90: Vec<Option<u64>>,
    /// 99 of 100 took no longer.
    pub p99: Vec<Option<u64>>,
    /// The longest.
    pub max: Vec<Option<u64>>,
    /// The same of the whole time.
    pub all: Option<Quantiles>,
    /// Those that are known each by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marks: Option<Vec<Mark>>,
    /// Marks that are not listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub more: Option<u64>,
}

/// A source of kind `events`.
#[derive(Debug, Serialize)]
pub struct EventsLane {
    /// Its word.
    pub source: String,
    /// `events`.
    pub kind: &'static str,
    /// `count`.
    pub unit: String,
    /// How many began in each column.
    pub count: Vec<u64>,
    /// Those that are listed, by time.
    pub marks: Vec<Mark>,
    /// Those that are not.
    pub more: u64,
}

/// What is told of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Times.
    pub count: u64,
    /// Half of them took no longer, ns.
    pub p50: u64,
    /// Nine of ten took no longer, ns.
    pub p90: u64,
    /// 99 of 100 took no longer, ns.
    pub p99: u64,
    /// The longest, ns.
    pub max: u64,
}

impl Quantiles {
    /// Of a histogram; none of an empty one.
    pub fn of(histogram: &Histogram) -> Option<Self> {
        let q = |q| histogram.quantile(q);
        (histogram.count() > 0).then(|| Self {
            count: histogram.count(),
            p50: q(0.5),
            p90: q(0.9),
            p99: q(0.99),
            max: histogram.max(),
        })
    }
}

/// Columns of a stretch of time.
#[derive(Clone, Debug)]
pub struct Grid {
    /// ns since the Unix epoch.
    pub time: Range<u64>,
    /// How many there are.
    pub columns: usize,
}

impl Grid {
    /// The width of a column, ns.
    pub fn width(&self) -> u64 {
        (self.time.end.saturating_sub(self.time.start) / self.columns.max(1) as u64).max(1)
    }

    /// The column of a time; none if it is in no column.
    pub fn column(&self, at: u64) -> Option<usize> {
        let into = u128::from(at.checked_sub(self.time.start)?);
        let span = u128::from(self.time.end.saturating_sub(self.time.start)).max(1);
        let column = (into * self.columns as u128 / span) as usize;
        (column < self.columns).then_some(column)
    }
}

/// Whom a view shows, as far as that is known of what is not a sample: pid and name.
pub struct Whom<'a> {
    view: &'a View,
    tables: &'a Tables,
    /// Processes of the recording by pid; the last of each.
    processes: HashMap<u32, u32>,
}

impl<'a> Whom<'a> {
    /// What `view` shows. Labels other than the name are looked up in `tables`.
    pub fn new(view: &'a View, tables: &'a Tables) -> Self {
        let mut processes = HashMap::new();
        if Self::asks_for_labels(view) {
            let numbers = 0..tables.processes.len() as u32;
            let known =
                numbers.filter_map(|number| Some((tables.processes.get(number)?.pid, number)));
            processes.extend(known);
        }
        Self { view, tables, processes }
    }

    /// True if a view is not of all processes.
    pub fn is_filter(view: &View) -> bool {
        !view.pids.is_empty() || view.comm.is_some() || !view.only.is_empty()
    }

    /// True if tables have to be there.
    pub fn asks_for_labels(view: &View) -> bool {
        view.only.iter().any(|only| !matches!(only.label, Label::Comm | Label::Process))
    }

    /// True if a process is shown.
    pub fn shows(&self, pid: u32, comm: &str) -> bool {
        let view = self.view;
        (view.pids.is_empty() || view.pids.contains(&pid))
            && view.comm.as_deref().is_none_or(|wanted| wanted == comm)
            && view.shows_labels(|label| match label {
                Label::Comm => comm.to_owned(),
                Label::Process => format!("{comm} ({pid})"),
                label => match self.processes.get(&pid) {
                    Some(process) => self.tables.process_label(label, *process).into_owned(),
                    None => String::new(),
                },
            })
    }

    /// True if a histogram of these keys is of a process that is shown.
    pub fn shows_keys(&self, labels: &[(Key, String)]) -> bool {
        let process = labels.iter().find(|(key, _)| *key == Key::Process);
        let Some((comm, pid)) = process.and_then(|(_, value)| split(value)) else { return false };
        self.shows(pid, comm)
    }
}

/// Name and pid of `NAME (PID)`.
fn split(process: &str) -> Option<(&str, u32)> {
    let (comm, pid) = process.strip_suffix(')')?.rsplit_once(" (")?;
    Some((comm, pid.parse().ok()?))
}

/// Times in columns, as they are added up. A slice that is wider than a column is in all that it
/// covers, its count divided among them.
pub struct Latency {
    grid: Grid,
    counts: Vec<u64>,
    histograms: Vec<Histogram>,
    all: Histogram,
}

impl Latency {
    /// Nothing yet.
    pub fn new(grid: Grid) -> Self {
        let columns = grid.columns;
        let (counts, histograms) = (vec![0; columns], vec![Histogram::default(); columns]);
        Self { grid, counts, histograms, all: Histogram::default() }
    }

    /// Adds those histograms of a slice that are shown.
    pub fn add(&mut self, slice: &Slice, shows: impl Fn(&[(Key, String)]) -> bool) {
        let mut sum = Histogram::default();
        let series = slice.series.iter().filter(|series| shows(&series.labels));
        series.for_each(|series| sum.merge(&series.histogram));
        if sum.count() == 0 {
            return;
        }
        self.all.merge(&sum);
        let middle = slice.start + (slice.end - slice.start) / 2;
        let Some(middle) = self.grid.column(middle) else { return };
        let covers = slice.end - slice.start >= 2 * self.grid.width();
        let (first, last) = match covers {
            true => (
                self.grid.column(slice.start).unwrap_or_default(),
                self.grid.column(slice.end - 1).unwrap_or(self.grid.columns - 1),
            ),
            false => (middle, middle),
        };
        let columns = (last - first + 1) as u64;
        for (index, column) in (first..=last).enumerate() {
            self.histograms[column].merge(&sum);
            let share = |parts: u64| {
                sum.count() / columns * parts + sum.count() % columns * parts / columns
            };
            let count = share(index as u64 + 1) - share(index as u64);
            self.counts[column] = self.counts[column].saturating_add(count);
        }
    }

    /// The lane.
    pub fn finish(self, source: &str, filtered: bool) -> LatencyLane {
        let some = |of: fn(&Histogram) -> u64| -> Vec<Option<u64>> {
            self.histograms.iter().map(|one| (one.count() > 0).then(|| of(one))).collect()
        };
        LatencyLane {
            source: source.into(),
            kind: "latency",
            unit: "nanoseconds".into(),
            filtered,
            p50: some(|one| one.quantile(0.5)),
            p90: some(|one| one.quantile(0.9)),
            p99: some(|one| one.quantile(0.99)),
            max: some(Histogram::max),
            all: Quantiles::of(&self.all),
            count: self.counts,
            marks: None,
            more: None,
        }
    }
}

/// ns since the Unix epoch as ms.
pub fn ms(ns: u64) -> f64 {
    ns as f64 / MS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Only, Series};

    const S: u64 = 1_000_000_000;

    fn slice(start: u64, end: u64, times: &[(&str, u64)]) -> Slice {
        let of = |(process, ns): &(&str, u64)| {
            let mut histogram = Histogram::default();
            histogram.add(*ns);
            histogram.add(*ns);
            Series { labels: vec![(Key::Process, (*process).to_owned())], histogram }
        };
        Slice { start, end, series: times.iter().map(of).collect() }
    }

    #[test]
    fn columns_have_the_quantiles_of_what_is_in_them() {
        let mut lane = Latency::new(Grid { time: 0..10 * S, columns: 5 });
        lane.add(&slice(0, S, &[("a (1)", 5), ("b (2)", 7)]), |_| true);
        lane.add(&slice(S, 2 * S, &[("a (1)", 9)]), |_| true);
        lane.add(&slice(5 * S, 6 * S, &[("a (1)", 3)]), |_| true);
        let lane = lane.finish("runqlat", true);
        assert_eq!(lane.count, [6, 0, 2, 0, 0]);
        assert_eq!(lane.max, [Some(9), None, Some(3), None, None]);
        assert_eq!((lane.p50[0], lane.p99[0]), (Some(7), Some(9)));
        let all = lane.all.unwrap();
        assert_eq!((all.count, all.max), (8, 9));
    }

    #[test]
    fn a_wide_slice_is_in_every_column_that_it_covers_and_counted_once() {
        let mut lane = Latency::new(Grid { time: 0..10 * S, columns: 100 });
        lane.add(&slice(S, 2 * S, &[("a (1)", 5), ("a (1)", 6), ("b (2)", 7)]), |_| true);
        // It began before the first column.
        lane.add(&slice(0, S, &[("a (1)", 5)]), |_| true);
        let lane = lane.finish("runqlat", true);
        assert_eq!(lane.count.iter().sum::<u64>(), 8);
        assert!((0..20).all(|column| lane.max[column].is_some()), "{:?}", lane.max);
        assert!(lane.max[20..].iter().all(Option::is_none));
        assert_eq!(lane.count[10..20].iter().sum::<u64>(), 6);
    }

    #[test]
    fn a_view_shows_its_processes() {
        let tables = Tables::default();
        let shows = |view: &View, process: &str| {
            Whom::new(view, &tables).shows_keys(&[(Key::Process, process.to_owned())])
        };
        let view = View { pids: vec![7], ..View::default() };
        assert!(shows(&view, "a (b) (7)") && !shows(&view, "a (8)") && !shows(&view, "7"));
        let view = View { comm: Some("a (b)".into()), ..View::default() };
        assert!(shows(&view, "a (b) (7)") && !shows(&view, "a (7)"));
        let only = Only { label: Label::Process, value: "java (7)".into() };
        let view = View { only: vec![only], ..View::default() };
        assert!(shows(&view, "java (7)") && !shows(&view, "java (8)"));
        // Of what is in no process nobody knows.
        assert!(!Whom::new(&view, &tables).shows_keys(&[]));
    }
}
