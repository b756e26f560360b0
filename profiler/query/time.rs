//! Values over time: the time line, a series for each group; and the heat map, a row for each 20 ms
//! of a second. Of what is in use, the time line shows how much there is at the end of each column,
//! and the heat map when it was taken.

use std::{collections::HashMap, ops::Range};

use serde::Serialize;

use super::{
    SUM_MAX,
    lanes::Lane,
    marks::Mark,
    summary::MS,
    weights::{Groups, Lens, Shown},
};
use crate::{
    model::{Free, Idle, Label, Sample, Tables, View},
    store::{Cell, Entry, InUse, Series as Processes},
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
    /// What of them was freed, and when, in no order; none unless what is in use is shown.
    pub freed: Option<Vec<Point>>,
}

impl Points {
    /// What `series` says of processes under a view. Gives nothing where the view tells apart what
    /// a series does not: threads or stacks.
    pub fn of_series(series: &Processes, tables: &Tables, shown: Shown<'_>) -> Option<Self> {
        let mut reader = Reader::new(tables, shown)?;
        let points = reader.points(series);
        Some(Self { groups: reader.groups.into_names(), points, freed: None })
    }

    /// The same of what is in use; nothing where its age counts, too.
    pub fn in_use(series: &InUse, tables: &Tables, shown: Shown<'_>) -> Option<Self> {
        let mut reader = Reader::new(tables, shown).filter(|_| shown.view.older.is_none())?;
        let points = reader.points(&series.taken);
        let freed = Some(reader.points(&series.freed));
        Some(Self { groups: reader.groups.into_names(), points, freed })
    }

    /// Sum of all values; of what is in use, at the end.
    pub fn total(&self) -> u64 {
        let freed = self.freed.as_ref().map_or(0, |freed| sum(freed));
        sum(&self.points).saturating_sub(freed)
    }

    /// How large each group is: the sum of its values, or its peak in any of `columns` of `range`.
    fn sizes(&self, range: &Range<u64>, columns: usize) -> Vec<u64> {
        let mut sizes = vec![0u64; self.groups.len()];
        if self.freed.is_none() {
            for point in &self.points {
                let size = &mut sizes[point.group as usize];
                *size = size.saturating_add(point.value).min(SUM_MAX);
            }
            return sizes;
        }
        // Peaks of a group are known by its own columns; many groups take turns at them.
        let groups = (CELLS_MAX / columns).max(1);
        for (turn, sizes) in sizes.chunks_mut(groups).enumerate() {
            let first = turn * groups;
            let place = |group: u32| (group as usize).wrapping_sub(first).min(sizes.len());
            let rows = self.columns(range, columns, place, sizes.len() + 1);
            for (size, row) in sizes.iter_mut().zip(rows) {
                *size = row.into_iter().max().unwrap_or_default();
            }
        }
        sizes
    }

    /// For each row the values in each of `columns` of `range`: of what is in use how much there is
    /// at the end of each. `row` gives the row of a group, of which there are `count`.
    fn columns(
        &self,
        range: &Range<u64>,
        columns: usize,
        row: impl Fn(u32) -> usize,
        count: usize,
    ) -> Vec<Vec<u64>> {
        let mut rows = vec![vec![0i128; columns]; count];
        let freed = self.freed.as_deref().unwrap_or_default();
        for (points, sign) in [(&*self.points, 1), (freed, -1)] {
            for point in points {
                let value = &mut rows[row(point.group)][column(point.time, range, columns)];
                *value += sign * i128::from(point.value);
            }
        }
        let levels = self.freed.is_some();
        let most = i128::from(SUM_MAX);
        let finish = |row: Vec<i128>| {
            let mut level = 0;
            let value = |change| {
                level = if levels { level + change } else { change };
                level.clamp(0, most) as u64
            };
            row.into_iter().map(value).collect()
        };
        rows.into_iter().map(finish).collect()
    }
}

/// Groups, and their values in columns, at most so many cells at once; 32 MB.
const CELLS_MAX: usize = 2 << 20;

fn sum(points: &[Point]) -> u64 {
    points.iter().fold(0, |sum: u64, point| sum.saturating_add(point.value).min(SUM_MAX))
}

/// Makes points of the cells of a series.
struct Reader<'a> {
    tables: &'a Tables,
    shown: Shown<'a>,
    groups: Groups,
    /// For each process its group, none if it is not shown, once it was asked for.
    known: Vec<Option<Option<u32>>>,
}

impl<'a> Reader<'a> {
    /// None if the view tells apart what a series does not.
    fn new(tables: &'a Tables, shown: Shown<'a>) -> Option<Self> {
        let view = shown.view;
        let by_thread = |label: &Label| !label.is_of_process();
        if view.focus.is_some()
            || view.ignore.is_some()
            || view.comm.is_some()
            || view.idle == Idle::Hide
            || view.by.as_ref().is_some_and(by_thread)
            || view.only.iter().any(|only| by_thread(&only.label))
        {
            return None;
        }
        let known = vec![None; tables.processes.len()];
        Some(Self { tables, shown, groups: Groups::default(), known })
    }

    fn points(&mut self, series: &Processes) -> Vec<Point> {
        series.cells.iter().filter_map(|cell| self.point(series, cell)).collect()
    }

    fn point(&mut self, series: &Processes, cell: &Cell) -> Option<Point> {
        let Self { tables, shown, groups, known } = self;
        let view = shown.view;
        let group = *known.get_mut(cell.process as usize)?.get_or_insert_with(|| {
            shows(view, cell.process, tables)
                .then(|| groups.number(root(view, cell.process, tables)))
        });
        let time = series.start + u64::from(cell.column) * series.step;
        let value = if shown.measure.by_count { cell.count } else { cell.value };
        Some(Point { time, group: group?, value })
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
    freed: Option<Vec<Point>>,
}

impl<'a> Gather<'a> {
    /// What `lens` shows.
    pub fn new(lens: Lens<'a>) -> Self {
        Self { lens, points: Vec::new(), freed: None }
    }

    /// What `lens` shows of what is in use.
    pub fn in_use(lens: Lens<'a>) -> Self {
        Self { lens, points: Vec::new(), freed: Some(Vec::new()) }
    }

    /// Adds a sample; its time is in ns since the Unix epoch.
    pub fn add(&mut self, sample: &Sample) {
        if let Some((group, _, value)) = self.lens.look(&Entry::of(sample)) {
            self.points.push(Point { time: sample.time, group, value });
        }
    }

    /// Adds what was freed of what is in use, as of a time, ns since the Unix epoch.
    pub fn free(&mut self, free: &Free, time: u64) {
        if let Some(freed) = &mut self.freed
            && let Some((group, _, value)) = self.lens.look(&Entry::of(&free.sample))
        {
            freed.push(Point { time, group, value });
        }
    }

    /// Adds that all of what is in use is not known any more from `time` on.
    pub fn forget(&mut self, time: u64) {
        let Some(freed) = &mut self.freed else { return };
        let mut left: HashMap<u32, i128> = HashMap::new();
        for (points, sign) in [(&self.points, 1), (&*freed, -1)] {
            for point in points {
                *left.entry(point.group).or_default() += sign * i128::from(point.value);
            }
        }
        let value = |value: i128| value.clamp(0, SUM_MAX.into()) as u64;
        freed.extend(left.into_iter().map(|(group, left)| Point {
            time,
            group,
            value: value(left),
        }));
    }

    /// All that was added.
    pub fn finish(self) -> Points {
        Points { groups: self.lens.into_groups(), points: self.points, freed: self.freed }
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
    /// True if values are of what is in use at the end of each column, and not of what was
    /// measured within it.
    pub in_use: bool,
    /// Sum of all values; of what is in use, at the end.
    pub total: u64,
    /// The groups with the largest totals, those first; of what is in use, with the largest peaks.
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
    /// Sum of its values; of what is in use, at the end.
    pub total: u64,
    /// For each column the sum of its values, or what is in use at its end.
    pub values: Vec<u64>,
}

/// A time line of `range` (ns since the Unix epoch) in `columns`, with the `top` largest groups.
pub fn timeline(points: &Points, range: &Range<u64>, columns: usize, top: usize) -> Timeline {
    let columns = columns.clamp(1, COLUMNS_MAX);
    let sizes = points.sizes(range, columns);
    let mut order: Vec<usize> = (0..sizes.len()).filter(|group| sizes[*group] > 0).collect();
    order.sort_by(|a, b| {
        sizes[*b].cmp(&sizes[*a]).then_with(|| points.groups[*a].cmp(&points.groups[*b]))
    });
    order.truncate(top.min(SERIES_MAX));
    // All others in the row after them.
    let mut places = vec![order.len(); sizes.len()];
    for (place, group) in order.iter().enumerate() {
        places[*group] = place;
    }
    let of = |group: u32| places[group as usize];
    let mut rows = points.columns(range, columns, of, order.len() + 1);
    let other = rows.pop().unwrap_or_default();
    let in_use = points.freed.is_some();
    let series = order.into_iter().zip(rows).map(|(group, values)| {
        let sum = values.iter().fold(0u64, |sum, value| sum.saturating_add(*value).min(SUM_MAX));
        Series {
            name: points.groups[group].clone().unwrap_or_else(|| "all".into()),
            total: if in_use { values.last().copied().unwrap_or_default() } else { sum },
            values,
        }
    });
    Timeline {
        start: range.start as f64 / MS,
        step: (range.end - range.start) as f64 / MS / columns as f64,
        in_use,
        total: points.total(),
        series: series.collect(),
        other,
        ..Timeline::default()
    }
}

/// The values of `points` in columns, all groups as one.
pub fn lane(points: &Points, range: &Range<u64>, columns: usize) -> Vec<u64> {
    let columns = columns.clamp(1, COLUMNS_MAX);
    points.columns(range, columns, |_| 0, 1).pop().unwrap_or_default()
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

/// A heat map of `range`, which [`heatmap_range`] gave. What was freed has to have the time at
/// which it was taken.
pub fn heatmap(points: &Points, range: &Range<u64>) -> Heatmap {
    let seconds = ((range.end - range.start) / SECOND) as usize;
    let mut values = vec![0u64; seconds * ROWS];
    let row = SECOND / ROWS as u64;
    for point in points.points.iter().filter(|point| range.contains(&point.time)) {
        let value = &mut values[((point.time - range.start) / row) as usize];
        *value = value.saturating_add(point.value).min(SUM_MAX);
    }
    for point in points.freed.iter().flatten().filter(|point| range.contains(&point.time)) {
        let value = &mut values[((point.time - range.start) / row) as usize];
        *value = value.saturating_sub(point.value);
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
