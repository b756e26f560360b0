//! What a recording has besides stacks, in a terminal: histograms, and marks as lines.

use std::ops::Range;

use anyhow::{Result, bail};

use crate::{
    model::{Histogram, Interval, Key, LaneInfo, LaneKind, Series, View},
    output::{Bars, write_json, write_marks, write_marks_json},
    query::{Whom, distinct},
    store::{Grain, Store},
};

/// Marks that are read at most.
const MARKS_MAX: usize = 1_000_000;
/// The type of value that asks for histograms.
const LATENCY: &str = "latency";
/// What stands for keys that share a histogram.
const OTHERS: &str = "(others)";

/// How it is to be shown.
#[derive(Clone, Copy)]
pub struct Shape {
    /// For programs.
    pub json: bool,
    /// Keys to show.
    pub limit: usize,
    /// Characters of a line, if it is known.
    pub width: Option<usize>,
}

/// What a view shows of a lane; none if it is of stacks.
///
/// # Errors
/// There is nothing to show, or the view makes no sense.
pub fn show(store: &mut Store, view: &View, shape: Shape) -> Result<Option<Vec<u8>>> {
    let Some(name) = &view.source else { return Ok(None) };
    // One name may stand for stacks and for histograms.
    let wanted = view.value_type.as_deref();
    if store.sources().iter().any(|source| source.name == *name) && wanted != Some(LATENCY) {
        return Ok(None);
    }
    let Some(lane) = store.lane(name) else { return Ok(None) };
    let mut bytes = Vec::new();
    match lane.kind {
        LaneKind::Latency => histograms(store, &lane, view, shape, &mut bytes)?,
        LaneKind::Events => marks(store, &lane, view, shape, &mut bytes)?,
    }
    Ok(Some(bytes))
}

/// The time that a view is of; the store has the names that it asks for then.
fn time_of(store: &mut Store, view: &View) -> Result<Range<u64>> {
    let whole = store.time();
    let time = view.range(whole.start, whole.end)?;
    if Whom::asks_for_labels(view) {
        store.names(&time);
    }
    Ok(time)
}

fn histograms(
    store: &mut Store,
    lane: &LaneInfo,
    view: &View,
    shape: Shape,
    bytes: &mut Vec<u8>,
) -> Result<()> {
    let time = time_of(store, view)?;
    let by_process = lane.by.iter().any(|word| word == "process");
    if Whom::is_filter(view) && !by_process {
        bail!("the histograms of {} are of all processes together", lane.name);
    }
    let tables = store.tables().clone();
    let whom = Whom::new(view, &tables);
    let mut all = Histogram::default();
    let mut keys: std::collections::HashMap<Vec<(Key, String)>, Histogram> = Default::default();
    store.slices(&lane.name, &time, Grain::Hours, &mut |slice| {
        for Series { labels, histogram } in slice.series {
            if !Whom::is_filter(view) || whom.shows_keys(&labels) {
                all.merge(&histogram);
                keys.entry(labels).or_default().merge(&histogram);
            }
        }
        true
    });
    if all.count() == 0 {
        bail!(
            "{} holds no times of {} that match what was asked for",
            store.path().display(),
            lane.name
        );
    }
    let known: Vec<Key> = lane.by.iter().filter_map(|word| Key::find(word)).collect();
    let mut series: Vec<Series> = keys
        .into_iter()
        .map(|(labels, histogram)| match labels.is_empty() {
            true => {
                let labels = known.iter().map(|key| (*key, OTHERS.to_owned())).collect();
                Series { labels, histogram }
            }
            false => Series { labels, histogram },
        })
        .collect();
    series.sort_by(|a, b| {
        let by_sum = b.histogram.sum().cmp(&a.histogram.sum());
        by_sum.then_with(|| a.labels.cmp(&b.labels))
    });
    let interval = |series| Interval {
        source: lane.name.clone(),
        target: store.info().target,
        start: time.start,
        end: time.end,
        series,
        missed: store.lane_stats(&lane.name, &time).missed,
    };
    if shape.json {
        return write_json(&interval(series), bytes);
    }
    let bars = Bars { limit: shape.limit, each: false, ms: false, width: shape.width };
    let together = Series { labels: Vec::new(), histogram: all };
    match &series[..] {
        [_] => bars.write(&interval(series), bytes),
        _ => {
            bars.write(
                &Interval { missed: Default::default(), ..interval(vec![together]) },
                bytes,
            )?;
            bytes.push(b'\n');
            bars.write(&interval(series), bytes)
        }
    }
}

fn marks(
    store: &mut Store,
    lane: &LaneInfo,
    view: &View,
    shape: Shape,
    bytes: &mut Vec<u8>,
) -> Result<()> {
    let time = time_of(store, view)?;
    let tables = store.tables().clone();
    let (whom, is_filter) = (Whom::new(view, &tables), Whom::is_filter(view));
    let mut found = Vec::new();
    store.marks(&lane.name, &time, &mut |mark| {
        if !is_filter || whom.shows(mark.pid, &mark.comm) {
            found.push(mark);
        }
        found.len() < MARKS_MAX
    });
    let found = distinct(found);
    if found.is_empty() {
        bail!(
            "{} holds nothing of {} that matches what was asked for",
            store.path().display(),
            lane.name
        );
    }
    match shape.json {
        true => write_marks_json(&lane.name, &found, bytes)?,
        false => write_marks(&found, bytes)?,
    }
    let left_out = store.lane_stats(&lane.name, &time).left_out;
    if left_out > 0 {
        say!("rprof: {left_out} were left out while recording, for being too many in a second");
    }
    if found.len() >= MARKS_MAX {
        say!("rprof: there are more; narrow it with --from and --to");
    }
    Ok(())
}
