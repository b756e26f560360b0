//! What a recording has besides stacks, read: histograms of sources of kind `latency`, and marks.
//!
//! A recording that was made before there were such has no tables of them, which is no damage.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
    sync::Arc,
};

use anyhow::Result;
use rusqlite::Connection;

use super::{
    codec::expand,
    lanes::MINUTE_NS,
    marks,
    reader::Store,
    reading::{cover, touches, within},
    recording::{Recording, rows},
    slices,
};
use crate::model::{LaneInfo, LaneStats, Mark, Slice};

/// A recording that begins so soon after another goes on where that ended, ns.
const CONTINUED: u64 = 15_000_000_000;

/// A window or a roll-up: what of it is known without reading it.
#[derive(Clone, Debug)]
struct Extent {
    id: i64,
    source: Arc<str>,
    /// ns since the recording's start.
    time: Range<u64>,
    sealed: bool,
    /// Marks in it.
    marks: u64,
    /// Numbers of the windows that a roll-up is made of; steps of marks.
    text: String,
}

/// What there is in one recording.
#[derive(Default)]
pub struct Past {
    /// Its lanes, by name, and what they counted.
    pub lanes: BTreeMap<String, (LaneInfo, LaneStats)>,
    histograms: Vec<Extent>,
    rollups: Vec<Extent>,
    marks: Vec<Extent>,
}

impl Past {
    /// Lists what is new. True if some of it is lost.
    pub fn list(&mut self, db: &Connection) -> bool {
        // Most recordings of old have none, and a damaged one says so elsewhere.
        let tables = "SELECT count(*) FROM sqlite_schema
                      WHERE name IN ('histogram', 'histogram_rollup', 'mark')";
        if db.query_row(tables, [], |row| row.get::<_, i64>(0)).unwrap_or_default() < 3 {
            return false;
        }
        let queries = [
            "SELECT id, source, start, end, sealed, 0, '' FROM histogram
             WHERE id > ?1 ORDER BY id",
            "SELECT id, source, start, end, 1, 0, windows FROM histogram_rollup
             WHERE id > ?1 ORDER BY id",
            "SELECT id, source, start, end, sealed, marks, steps FROM mark
             WHERE id > ?1 ORDER BY id",
        ];
        let lists = [&mut self.histograms, &mut self.rollups, &mut self.marks];
        let names: Vec<Arc<str>> = self.lanes.keys().map(|name| Arc::from(name.as_str())).collect();
        let mut cut = false;
        for (list, query) in lists.into_iter().zip(queries) {
            let open = list.iter().position(|extent| !extent.sealed);
            list.truncate(open.unwrap_or(list.len()));
            let after = list.last().map_or(0, |last| last.id);
            let (new, lost) = rows(db, query, after, |row| {
                let number = |index| row.get::<_, i64>(index);
                let time = |index| Ok::<_, rusqlite::Error>(number(index)?.max(0) as u64);
                let source: String = row.get(1)?;
                let known = names.iter().find(|name| ***name == *source);
                Ok(Extent {
                    id: number(0)?,
                    source: known.cloned().unwrap_or_else(|| source.into()),
                    time: time(2)?..time(3)?,
                    sealed: row.get(4)?,
                    marks: number(5)?.clamp(0, 1 << 32) as u64,
                    text: row.get(6)?,
                })
            });
            list.extend(new);
            cut |= lost;
        }
        cut
    }

    /// ns after the recording's start at which the last of it ends.
    pub fn end(&self) -> u64 {
        self.histograms.iter().map(|extent| extent.time.end).max().unwrap_or_default()
    }
}

/// How histograms are wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Grain {
    /// As they were measured.
    Fine,
    /// By the minute where that is quicker, of all keys together.
    Minutes,
    /// By the hour where that is quicker, with all keys.
    Hours,
}

impl Store {
    /// What it has besides stacks, by name, each as its last recording describes it.
    pub fn lanes(&self) -> Vec<LaneInfo> {
        let mut lanes = BTreeMap::new();
        for (name, (lane, _)) in self.recordings().iter().flat_map(|one| &one.past.lanes) {
            lanes.insert(name, lane.clone());
        }
        lanes.into_values().collect()
    }

    /// The lane of that name, if there is one.
    pub fn lane(&self, name: &str) -> Option<LaneInfo> {
        self.lanes().into_iter().find(|lane| lane.name == name)
    }

    /// What was counted of a lane by the recordings that a stretch of time touches: all of each.
    pub fn lane_stats(&self, name: &str, time: &Range<u64>) -> LaneStats {
        let mut sum = LaneStats::default();
        for recording in self.recordings().iter().filter(|one| touches(&one.time(), time)) {
            let Some((_, stats)) = recording.past.lanes.get(name) else { continue };
            sum.times = sum.times.saturating_add(stats.times);
            sum.marks = sum.marks.saturating_add(stats.marks);
            sum.left_out = sum.left_out.saturating_add(stats.left_out);
            sum.bpf_ns = sum.bpf_ns.saturating_add(stats.bpf_ns);
            sum.bpf_runs = sum.bpf_runs.saturating_add(stats.bpf_runs);
            for (what, count) in &stats.missed {
                let all = sum.missed.entry(what.clone()).or_default();
                *all = all.saturating_add(*count);
            }
        }
        sum
    }

    /// Gives the histograms of a lane whose middle is in a stretch of time (ns since the Unix epoch)
    /// to `each`, until it says that it is enough.
    pub fn slices(
        &mut self,
        name: &str,
        time: &Range<u64>,
        grain: Grain,
        each: &mut dyn FnMut(Slice) -> bool,
    ) {
        let (recordings, remarks) = self.parts();
        for recording in recordings {
            let mut lost = 0;
            let blobs = wanted(recording, name, time, grain);
            for (query, extent) in blobs {
                match read(recording, query, extent.id, slices::decode) {
                    Ok(slices) => {
                        let middle = |slice: &Slice| slice.start + (slice.end - slice.start) / 2;
                        let mut slices = slices
                            .into_iter()
                            .filter(|one| one.start <= one.end && time.contains(&middle(one)));
                        if !slices.all(&mut *each) {
                            return;
                        }
                    }
                    Err(_) => lost += 1,
                }
            }
            say(recording, lost, "windows of histograms", remarks);
        }
    }

    /// Gives the marks of a lane that touch a stretch of time (ns since the Unix epoch) to `each`,
    /// until it says that it is enough; by recording and window, and not by time. What is not over
    /// has no end.
    pub fn marks(&mut self, name: &str, time: &Range<u64>, each: &mut dyn FnMut(Mark) -> bool) {
        let (recordings, remarks) = self.parts();
        for recording in recordings {
            let within = within(recording, time);
            let shown = |extent: &&Extent| {
                *extent.source == *name
                    && extent.time.start < within.end
                    && within.start <= extent.time.end
            };
            let mut lost = 0;
            let shows =
                |mark: &Mark| mark.time < time.end && mark.end.unwrap_or(mark.time) >= time.start;
            for extent in recording.past.marks.iter().filter(shown) {
                match read(
                    recording,
                    "SELECT data FROM mark WHERE id = ?1",
                    extent.id,
                    marks::decode,
                ) {
                    Ok(marks) => {
                        if !marks.into_iter().filter(shows).all(&mut *each) {
                            return;
                        }
                    }
                    Err(_) => lost += 1,
                }
            }
            say(recording, lost, "windows of marks", remarks);
            if recording.past.lanes.contains_key(name) && touches(&recording.time(), time) {
                // Where no other goes on, nobody knows of a later end.
                let end = recording.time().end;
                let mut later = recordings.iter().map(|one| one.info.start).filter(|at| *at >= end);
                let goes_on = later.clone().next().is_none()
                    || later.any(|at| at <= end.saturating_add(CONTINUED));
                let known = |mark: Mark| Mark { end: (!goes_on).then_some(end), ..mark };
                let lasting = recording.lasting(name).into_iter().map(known);
                if !lasting
                    .filter(|mark| shows(mark) || goes_on && mark.time < time.end)
                    .all(&mut *each)
                {
                    return;
                }
            }
        }
    }

    /// How many marks a lane has in all windows that a stretch of time touches: what
    /// [`Store::marks`] has to read.
    pub fn mark_count(&self, name: &str, time: &Range<u64>) -> u64 {
        let of = |recording: &Recording| {
            let within = within(recording, time);
            let extents = recording.past.marks.iter();
            let shown = extents.filter(|one| *one.source == *name && touches(&one.time, &within));
            shown.map(|extent| extent.marks).sum::<u64>()
        };
        self.recordings().iter().map(of).sum()
    }

    /// Gives each step of 10 s in a stretch of time in which a lane has marks to `each`: when it
    /// begins, ns since the Unix epoch, and how many begin in it. What is not over yet is not among
    /// them.
    pub fn mark_steps(&self, name: &str, time: &Range<u64>, each: &mut dyn FnMut(u64, u64)) {
        for recording in self.recordings() {
            let within = within(recording, time);
            let extents = recording.past.marks.iter();
            for extent in extents.filter(|one| *one.source == *name && touches(&one.time, &within))
            {
                for (at, count) in marks::read_steps(&extent.text) {
                    if time.contains(&at) {
                        each(at, count);
                    }
                }
            }
        }
    }
}

impl Recording {
    /// What was not over when it was last written.
    fn lasting(&self, name: &str) -> Vec<Mark> {
        let query = "SELECT data FROM lasting WHERE source = ?1";
        let blob = self
            .connection()
            .prepare_cached(query)
            .and_then(|mut statement| statement.query_row([name], |row| row.get::<_, Vec<u8>>(0)));
        let marks =
            blob.ok().and_then(|blob| marks::decode(&expand(&blob).ok()?, self.info.start).ok());
        marks.unwrap_or_default()
    }
}

/// What has to be read of a recording: roll-ups that lie wholly within the time, and the windows
/// that are in none of them.
fn wanted<'a>(
    recording: &'a Recording,
    name: &str,
    time: &Range<u64>,
    grain: Grain,
) -> Vec<(&'static str, &'a Extent)> {
    let within = within(recording, time);
    let query = match grain {
        Grain::Fine => None,
        Grain::Minutes => Some("SELECT minutes FROM histogram_rollup WHERE id = ?1"),
        Grain::Hours => Some("SELECT keys FROM histogram_rollup WHERE id = ?1"),
    };
    let mut covered: HashSet<i64> = HashSet::new();
    let mut wanted = Vec::new();
    for rollup in query.iter().flat_map(|_| &recording.past.rollups) {
        let inside = *rollup.source == *name
            && within.start <= rollup.time.start
            && rollup.time.end <= within.end.saturating_add(MINUTE_NS);
        if !inside {
            continue;
        }
        let listed = rollup.text.split(',').filter_map(|id| id.parse::<i64>().ok()).collect();
        let windows = recording.past.histograms.iter().filter(|one| *one.source == *name);
        let windows = windows.map(|window| (window.id, &window.time));
        if cover(&mut covered, &rollup.time, listed, windows) {
            wanted.extend(query.map(|query| (query, rollup)));
        }
    }
    let windows = recording.past.histograms.iter().filter(|window| {
        *window.source == *name && touches(&window.time, &within) && !covered.contains(&window.id)
    });
    wanted.extend(windows.map(|one| ("SELECT data FROM histogram WHERE id = ?1", one)));
    wanted
}

fn read<T>(
    recording: &Recording,
    query: &str,
    id: i64,
    decode: fn(&[u8], u64) -> Result<Vec<T>>,
) -> Result<Vec<T>> {
    let bytes = recording.read(query, id)?.unwrap_or_default();
    decode(&bytes, recording.info.start)
}

fn say(recording: &Recording, lost: u64, what: &str, remarks: &mut BTreeMap<String, String>) {
    if lost > 0 {
        let path = recording.path().display();
        let text = format!("{path} is damaged: {lost} {what} are left out");
        remarks.insert(format!("{path} {what}"), text);
    }
}
