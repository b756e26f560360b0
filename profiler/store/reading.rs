//! What a question reads of one recording: of a whole hour its roll-up, of the rest windows.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
};

use super::{
    merge::Merge,
    recording::{Extent, Part, Recording},
    rollup::{Entry, STEP_NS},
    window,
};
use crate::model::{Free, Sample, Tables};

/// A recording that is being read. Times are ns since its start, and threads, stacks and processes
/// are numbers in the tables of the store.
pub struct Reading<'a> {
    recording: &'a Recording,
    source: &'a str,
    missing: Missing,
}

/// What one process comes to at a time, ns since the Unix epoch.
pub struct Value {
    /// Process.
    pub process: u32,
    /// When: within ten seconds after it, if it is of a roll-up.
    pub at: u64,
    /// Sum of the samples' counts.
    pub count: u64,
    /// Sum of their values.
    pub value: u64,
}

impl<'a> Reading<'a> {
    /// Of what is there of a source.
    pub fn new(recording: &'a Recording, source: &'a str) -> Self {
        Self { recording, source, missing: Missing::default() }
    }

    /// What samples, or what was freed, in a stretch of time add up to; each pair once.
    pub fn sums(&mut self, part: Part, time: &Range<u64>) -> Vec<Entry> {
        let Self { recording, source, missing } = self;
        let parts = Parts::of(recording, source, time);
        let settled = parts.windows.iter().all(|window| recording.is_settled(window));
        let ids = &recording.ids;
        let mut sums = Merge::default();
        let mut add = |mut entries: Vec<Entry>, missing: &mut Missing| {
            entries.retain(|entry| {
                let known = ids.has(entry.thread, entry.stack);
                // What came after the names were read will be there next time.
                missing.samples += if known || !settled { 0 } else { entry.count };
                known
            });
            sums.add(entries);
        };
        for extent in parts.rollups {
            match recording.sums(extent.id, part) {
                Ok(entries) => add(entries, missing),
                Err(_) => missing.windows += extent.windows.len() as u64,
            }
        }
        for extent in parts.windows {
            let whole =
                extent.sealed && time.start <= extent.time.start && extent.time.end <= time.end;
            let read = match whole {
                true => recording.window_entries(extent.id, part),
                false => recording.window(extent.id, part).map(|samples| {
                    let shown = samples.iter().filter(|one| time.contains(&one.time));
                    window::entries(shown)
                }),
            };
            match read {
                Ok(entries) => add(entries, missing),
                Err(_) => missing.windows += 1,
            }
        }
        let mut entries = sums.finish();
        for entry in &mut entries {
            entry.thread = ids.thread(entry.thread).unwrap_or_default();
            entry.stack = ids.stack(entry.stack).unwrap_or_default();
        }
        entries
    }

    /// Gives what each process comes to in a stretch of time to `each`. With `rollups`, what they
    /// hold of it is read from them.
    pub fn values(
        &mut self,
        part: Part,
        time: &Range<u64>,
        rollups: bool,
        tables: &Tables,
        each: &mut dyn FnMut(Value),
    ) {
        let Self { recording, source, missing } = self;
        let start = recording.info.start;
        let parts = match rollups {
            true => Parts::of(recording, source, time),
            false => Parts::windows_of(recording, source, time),
        };
        for extent in parts.rollups {
            let Ok(points) = recording.series(extent.id, part) else {
                missing.windows += extent.windows.len() as u64;
                continue;
            };
            for point in points {
                let (count, value) = (point.count, point.value);
                match recording.ids.process(point.process) {
                    Some(process) => {
                        let at = point.step.saturating_mul(STEP_NS);
                        each(Value { process, at, count, value });
                    }
                    None => missing.samples += 1,
                }
            }
        }
        for extent in parts.windows {
            let Ok(samples) = recording.window(extent.id, part) else {
                missing.windows += 1;
                continue;
            };
            for sample in samples.iter().filter(|sample| time.contains(&sample.time)) {
                let thread = recording.ids.thread(sample.thread);
                let (count, value) = (sample.count, sample.value);
                match thread.and_then(|thread| tables.threads.get(thread)) {
                    Some(thread) => {
                        let at = start.saturating_add(sample.time);
                        each(Value { process: thread.process, at, count, value });
                    }
                    None => missing.samples += u64::from(recording.is_settled(extent)),
                }
            }
        }
    }

    /// Gives each sample of a stretch of time to `each`, by window.
    pub fn samples(&mut self, time: &Range<u64>, each: &mut dyn FnMut(Sample)) {
        self.each(time, Recording::taken, |sample| sample, |_, sample| each(sample));
    }

    /// Gives what was freed in a stretch of time to `each`, by window.
    pub fn frees(&mut self, time: &Range<u64>, each: &mut dyn FnMut(Free)) {
        self.each(
            time,
            Recording::frees,
            |free| free.sample,
            |free, sample| each(Free { sample, ..free }),
        );
    }

    fn each<T: Copy>(
        &mut self,
        time: &Range<u64>,
        read: impl Fn(&Recording, i64) -> anyhow::Result<Vec<T>>,
        sample: impl Fn(T) -> Sample,
        mut each: impl FnMut(T, Sample),
    ) {
        let Self { recording, source, missing } = self;
        for extent in Parts::windows_of(recording, source, time).windows {
            let Ok(all) = read(recording, extent.id) else {
                missing.windows += 1;
                continue;
            };
            for one in all {
                let sample = sample(one);
                if !time.contains(&sample.time) {
                    continue;
                }
                let ids = &recording.ids;
                match (ids.thread(sample.thread), ids.stack(sample.stack)) {
                    (Some(thread), Some(stack)) => each(one, Sample { thread, stack, ..sample }),
                    _ => missing.samples += u64::from(recording.is_settled(extent)),
                }
            }
        }
    }

    /// Says under `remarks` what could not be read.
    pub fn finish(self, remarks: &mut BTreeMap<String, String>) {
        self.missing.say(self.recording, remarks);
    }
}

/// What a question reads of a recording: roll-ups that lie wholly within its time, and the windows
/// that are in none of them.
struct Parts<'a> {
    /// Roll-ups.
    rollups: Vec<&'a Extent>,
    /// Windows.
    windows: Vec<&'a Extent>,
}

impl<'a> Parts<'a> {
    /// Of a stretch of time, ns since the recording's start.
    fn of(recording: &'a Recording, source: &str, time: &Range<u64>) -> Self {
        let inside = |extent: &&Extent| {
            *extent.source == *source
                && time.start <= extent.time.start
                && extent.time.end <= time.end
        };
        let mut covered = HashSet::new();
        let mut rollups = Vec::new();
        for rollup in recording.rollups.iter().filter(inside) {
            let listed = rollup.windows.iter().copied().collect();
            let windows = recording.windows.iter().filter(|window| *window.source == *source);
            let windows = windows.map(|window| (window.id, &window.time));
            if cover(&mut covered, &rollup.time, listed, windows) {
                rollups.push(rollup);
            }
        }
        let mut parts = Self::windows_of(recording, source, time);
        parts.windows.retain(|window| !covered.contains(&window.id));
        parts.rollups = rollups;
        parts
    }

    /// The same, without any roll-up.
    fn windows_of(recording: &'a Recording, source: &str, time: &Range<u64>) -> Self {
        let windows = recording.windows.iter();
        let shown = |window: &&Extent| *window.source == *source && touches(&window.time, time);
        Self { rollups: Vec::new(), windows: windows.filter(shown).collect() }
    }
}

/// Adds what a roll-up lists to the windows that are covered. False if it does not list all of its
/// source that lie within its time, or one that is covered already: a damaged file might count one
/// twice, by a number that became another, of the window or in the list.
pub fn cover<'a>(
    covered: &mut HashSet<i64>,
    rollup: &Range<u64>,
    listed: HashSet<i64>,
    mut windows: impl Iterator<Item = (i64, &'a Range<u64>)>,
) -> bool {
    let lists_all = windows.all(|(id, time)| {
        let is_within = rollup.start <= time.start && time.end <= rollup.end;
        !is_within || listed.contains(&id)
    });
    let is_sound = lists_all && listed.is_disjoint(covered);
    if is_sound {
        covered.extend(listed);
    }
    is_sound
}

/// True if two stretches of time have a moment in common.
pub fn touches(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// A stretch of time since the Unix epoch as one since a recording's start.
pub fn within(recording: &Recording, time: &Range<u64>) -> Range<u64> {
    let start = recording.info.start;
    time.start.saturating_sub(start)..time.end.saturating_sub(start)
}

/// What a question could not read of a recording.
#[derive(Default)]
struct Missing {
    /// Windows of samples.
    windows: u64,
    /// Samples whose thread or stack is in a part of the dictionary that is lost.
    samples: u64,
}

impl Missing {
    /// Puts it in words under `remarks`.
    fn say(self, recording: &Recording, remarks: &mut BTreeMap<String, String>) {
        let Self { windows, samples } = self;
        let windows = windows + u64::from(recording.is_cut());
        let path = recording.path().display();
        for (count, what) in [(windows, "windows of samples"), (samples, "samples without a stack")]
        {
            if count > 0 {
                let text = format!("{path} is damaged: {count} {what} are left out");
                remarks.insert(format!("{path} {what}"), text);
            }
        }
    }
}
