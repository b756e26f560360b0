//! What there is besides stacks: the lanes of a time line, and the questions about marks.

use std::{ops::Range, time::Instant};

use web::Refusal;

use super::{
    answers::{Question, json},
    broken, invalid, refusal,
    words::{Words, pattern},
};
use crate::{
    model::{LaneInfo, LaneKind, Mark, View},
    query::{
        self, EventsLane, Grid, Lane, Latency, Marks, Processes, Whom, distinct, listed, processes,
    },
    store::{Grain, Store},
};

/// Marks of a lane that are listed, if not said otherwise, and at most.
pub const MARKS: usize = 500;
const MARKS_MAX: usize = 10_000;
/// Marks of one answer to a question about them.
const LIST: usize = 1000;
const LIST_MAX: usize = 10_000;
/// Programs.
const RUNS: usize = 300;
const RUNS_MAX: usize = 10_000;
/// Marks that are held while an answer is made; a few hundred bytes each. Where a lane has more, its
/// time line has counts alone.
const READ_MAX: usize = 100_000;
/// Columns from which on histograms of minutes will do, ns.
const COARSE: u64 = 120_000_000_000;
/// Columns from which on the steps of marks will do, ns.
const STEPS: u64 = 20_000_000_000;

impl Question<'_> {
    /// The lanes of a time line besides those of stacks.
    pub(super) fn lanes(
        &mut self,
        view: &View,
        time: &Range<u64>,
        columns: usize,
        most: usize,
    ) -> Result<Vec<Lane>, Refusal> {
        let until = self.until;
        let store = self.data.store(0).map_err(broken)?;
        if Whom::asks_for_labels(view) {
            store.names(time);
        }
        let grid = Grid { time: time.clone(), columns };
        let mut lanes = Vec::new();
        for lane in store.lanes() {
            lanes.push(match lane.kind {
                LaneKind::Latency => latency(store, &lane, view, &grid, most, until)?,
                LaneKind::Events => events(store, &lane, view, &grid, most, until)?,
            });
        }
        Ok(lanes)
    }

    /// Marks of a time.
    pub(super) fn marks(&mut self, words: &Words) -> Result<Vec<u8>, Refusal> {
        let limit = words.number("limit", LIST, LIST_MAX)?;
        let text = words.text("text").map(pattern).transpose()?;
        let (view, until) = (&words.view, self.until);
        let time = self.data.range(0, view).map_err(|error| invalid(format!("{error:#}")))?;
        let store = self.data.store(0).map_err(broken)?;
        if Whom::asks_for_labels(view) {
            store.names(&time);
        }
        let names = names(store, words.text("name"))?;
        let mut left_out = 0u64;
        let mut first: Vec<(String, Mark)> = Vec::new();
        let mut count = 0u64;
        for name in names {
            left_out = left_out.saturating_add(store.lane_stats(&name, &time).left_out);
            let matches = |mark: &Mark| match &text {
                None => true,
                Some(text) => {
                    text.is_match(&mark.text)
                        || text.is_match(&format!("{} ({})", mark.comm, mark.pid))
                }
            };
            let found = read(store, &name, view, &time, until, READ_MAX, &matches)?;
            count = count.saturating_add(found.left_out);
            for mark in distinct(found.marks) {
                count += 1;
                first.push((name.clone(), mark));
            }
        }
        first.sort_by_key(|(_, mark)| mark.time);
        first.truncate(limit);
        let more = count - first.len() as u64;
        let marks = first.iter().map(|(source, mark)| query::Mark::of(source, mark)).collect();
        json(&Marks { marks, count, more, left_out })
    }

    /// Which programs ran when.
    pub(super) fn processes(&mut self, words: &Words) -> Result<Vec<u8>, Refusal> {
        let limit = words.number("limit", RUNS, RUNS_MAX)?;
        let (view, until) = (&words.view, self.until);
        let time = self.data.range(0, view).map_err(|error| invalid(format!("{error:#}")))?;
        let store = self.data.store(0).map_err(broken)?;
        if Whom::asks_for_labels(view) {
            store.names(&time);
        }
        let execs = read(store, "exec", view, &time, until, READ_MAX, &|_| true)?;
        let exits = read(store, "exit", view, &time, until, READ_MAX, &|_| true)?;
        let Processes { processes, count, more } = processes(execs.marks, &exits.marks, limit);
        let left_out = execs.left_out;
        let (count, more) = (count + left_out, more + left_out);
        json(&Processes { processes, count, more })
    }
}

/// The lanes that `names` names; all of events and of those that tell each where it names none.
fn names(store: &Store, names: Option<&str>) -> Result<Vec<String>, Refusal> {
    let lanes: Vec<String> = store.lanes().into_iter().map(|lane| lane.name).collect();
    let Some(names) = names else { return Ok(lanes) };
    let mut wanted = Vec::new();
    for name in names.split(',') {
        if !lanes.iter().any(|lane| lane == name) {
            let known = if lanes.is_empty() { "none".to_owned() } else { lanes.join(", ") };
            return Err(invalid(format!("there are no marks of {name:?}; there are: {known}")));
        }
        if !wanted.iter().any(|known| known == name) {
            wanted.push(name.to_owned());
        }
    }
    Ok(wanted)
}

/// Marks that were read.
struct Found {
    marks: Vec<Mark>,
    /// Marks that match beyond the bound.
    left_out: u64,
}

/// Reads the marks of a lane that a view shows and that match, up to a bound.
fn read(
    store: &mut Store,
    name: &str,
    view: &View,
    time: &Range<u64>,
    until: Instant,
    most: usize,
    matches: &dyn Fn(&Mark) -> bool,
) -> Result<Found, Refusal> {
    let tables = store.tables().clone();
    let (whom, is_filter) = (Whom::new(view, &tables), Whom::is_filter(view));
    let mut found = Found { marks: Vec::new(), left_out: 0 };
    let mut looked = 0u64;
    let mut late = false;
    store.marks(name, time, &mut |mark| {
        looked += 1;
        late = looked.is_multiple_of(4096) && Instant::now() > until;
        if (!is_filter || whom.shows(mark.pid, &mark.comm)) && matches(&mark) {
            match found.marks.len() < most {
                true => found.marks.push(mark),
                false => found.left_out += 1,
            }
        }
        !late
    });
    if late { Err(refusal(query::Error::TooLong)) } else { Ok(found) }
}

fn latency(
    store: &mut Store,
    lane: &LaneInfo,
    view: &View,
    grid: &Grid,
    most: usize,
    until: Instant,
) -> Result<Lane, Refusal> {
    let is_filter = Whom::is_filter(view);
    let by_process = lane.by.iter().any(|word| word == "process");
    let heeds = is_filter && by_process;
    let grain = match grid.width() >= COARSE && !heeds {
        true => Grain::Minutes,
        false => Grain::Fine,
    };
    let tables = store.tables().clone();
    let whom = Whom::new(view, &tables);
    let mut latency = Latency::new(grid.clone());
    let mut late = false;
    store.slices(&lane.name, &grid.time, grain, &mut |slice| {
        latency.add(&slice, |labels| !heeds || whom.shows_keys(labels));
        late = Instant::now() > until;
        !late
    });
    if late {
        return Err(refusal(query::Error::TooLong));
    }
    let mut line = latency.finish(&lane.name, !is_filter || by_process);
    if store.lane_stats(&lane.name, &grid.time).marks > 0 {
        let (_, marks, more) = marks_of(store, lane, view, grid, most, until)?;
        (line.marks, line.more) = (Some(marks), Some(more));
    }
    Ok(Lane::Latency(Box::new(line)))
}

fn events(
    store: &mut Store,
    lane: &LaneInfo,
    view: &View,
    grid: &Grid,
    most: usize,
    until: Instant,
) -> Result<Lane, Refusal> {
    let (count, marks, more) = marks_of(store, lane, view, grid, most, until)?;
    let (source, unit) = (lane.name.clone(), "count".into());
    Ok(Lane::Events(EventsLane { source, kind: "events", unit, count, marks, more }))
}

/// How many marks begin in each column, those that are listed, and how many are not.
fn marks_of(
    store: &mut Store,
    lane: &LaneInfo,
    view: &View,
    grid: &Grid,
    most: usize,
    until: Instant,
) -> Result<(Vec<u64>, Vec<query::Mark>, u64), Refusal> {
    let most = most.min(MARKS_MAX);
    let mut counts = vec![0u64; grid.columns];
    let mut add = |at: u64, count: u64| {
        if let Some(sum) = grid.column(at).and_then(|column| counts.get_mut(column)) {
            *sum = sum.saturating_add(count);
        }
    };
    let many = store.mark_count(&lane.name, &grid.time) > READ_MAX as u64;
    if many && grid.width() >= STEPS && !Whom::is_filter(view) {
        let mut more = 0u64;
        store.mark_steps(&lane.name, &grid.time, &mut |at, count| {
            more = more.saturating_add(count);
            add(at, count);
        });
        return Ok((counts, Vec::new(), more));
    }
    let found = read(store, &lane.name, view, &grid.time, until, READ_MAX, &|_| true)?;
    let marks = distinct(found.marks);
    marks.iter().for_each(|mark| add(mark.time, 1));
    let (marks, more) = listed(marks, most);
    let marks = marks.iter().map(|mark| query::Mark::of(&lane.name, mark)).collect();
    Ok((counts, marks, more.saturating_add(found.left_out)))
}
