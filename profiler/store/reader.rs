//! A store, read: one recording or a folder of them, the same to all who ask.
//!
//! Times are ns since the Unix epoch, and threads, stacks and processes are numbers in one set of
//! tables, whatever recording they are from. A recording's names are read when a question first
//! touches its time, so that a store of many days opens at once. What is damaged, missing or half
//! written is left out, and [`Store::remarks`] says so.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};

use super::{
    file, folder,
    merge::{Columns, InUse, Merge, Series, Span, Sum, add_stats, subtract},
    reading::{Reading, touches, within},
    recording::{Part, Recording},
    rollup::Entry,
    several,
};
use crate::model::{Detail, Free, Info, Measure, Profile, Sample, SourceInfo, Stats, Tables, View};

/// Bytes of names that are kept in memory; recordings that no question touches are forgotten
/// first, and beyond that the oldest are left out.
const NAMES_BYTES: usize = 768 << 20;
/// Recordings of a folder that are opened; each takes a file descriptor and its list of windows.
const RECORDINGS_MAX: usize = 512;
/// Remarks that are told.
const REMARKS_MAX: usize = 32;

/// A store, opened for reading.
pub struct Store {
    path: PathBuf,
    is_folder: bool,
    /// By start.
    recordings: Vec<Recording>,
    tables: Arc<Tables>,
    /// What is wrong with files, by path.
    unreadable: BTreeMap<PathBuf, String>,
    /// What else is to be said, by what it is about.
    remarks: BTreeMap<String, String>,
    changes: u64,
    forgotten: u64,
}

impl Store {
    /// Opens the recording or the folder at `path`.
    ///
    /// # Errors
    /// There is none, or it cannot be read, or it is something else: says what.
    pub fn open(path: &Path) -> Result<Self> {
        let mut store = Self {
            path: path.to_owned(),
            is_folder: path.is_dir(),
            recordings: Vec::new(),
            tables: Arc::default(),
            unreadable: BTreeMap::new(),
            remarks: BTreeMap::new(),
            changes: 0,
            forgotten: 0,
        };
        if store.is_folder {
            fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
            store.refresh()?;
        } else {
            let (found, remark) = file::find(path)?;
            store.remarks.extend(remark.map(|remark| (String::new(), remark)));
            store.recordings.push(Recording::open(&found)?);
        }
        Ok(store)
    }

    /// Takes note of what was written since: new recordings, segments, windows and roll-ups are
    /// read, nothing else; those that were removed are forgotten. True if anything has changed.
    ///
    /// # Errors
    /// The folder, or the one recording, cannot be read any more.
    pub fn refresh(&mut self) -> Result<bool> {
        let before = self.state();
        if self.is_folder {
            self.refresh_folder()?;
        } else if let Some(recording) = self.recordings.first_mut()
            && let Err(error) = recording.refresh()
        {
            // It is complete by now, and has another name; or was recorded anew.
            let (found, _) = file::find(&self.path).map_err(|_| error)?;
            self.recordings = vec![Recording::open(&found)?];
            self.forget_names();
        }
        let changed = before != self.state();
        self.changes += u64::from(changed);
        Ok(changed)
    }

    fn refresh_folder(&mut self) -> Result<()> {
        let cannot = || format!("cannot read {}", self.path.display());
        let mut found: Vec<PathBuf> = folder::recordings(&self.path)
            .with_context(cannot)?
            .into_iter()
            .map(|(p, _)| p)
            .collect();
        let many = found.len().saturating_sub(RECORDINGS_MAX);
        if many > 0 {
            let text = format!("the oldest {many} recordings are left out: there are too many");
            self.remarks.insert("many".into(), text);
        }
        let found: BTreeSet<PathBuf> = found.drain(many..).collect();
        self.recordings.retain(|recording| found.contains(recording.path()));
        self.unreadable.retain(|path, _| found.contains(path));
        let mut open = Vec::new();
        for mut recording in std::mem::take(&mut self.recordings) {
            // What is complete stays as it is.
            let read = if recording.info.complete { Ok(()) } else { recording.refresh() };
            match read {
                Ok(()) => open.push(recording),
                Err(error) => self.leave_out(recording.path().to_owned(), &error),
            }
        }
        let known: BTreeSet<PathBuf> = open.iter().map(|one| one.path().to_owned()).collect();
        for path in found.into_iter().filter(|path| !known.contains(path)) {
            match Recording::open(&path) {
                Ok(recording) => {
                    self.unreadable.remove(&path);
                    open.push(recording);
                }
                Err(error) => self.leave_out(path, &error),
            }
        }
        open.sort_by(|a, b| (a.info.start, a.path()).cmp(&(b.info.start, b.path())));
        self.recordings = open;
        Ok(())
    }

    fn leave_out(&mut self, path: PathBuf, error: &anyhow::Error) {
        // One that was created this moment has nothing in it yet.
        let is_new = fs::metadata(&path).is_ok_and(|file| file.len() == 0);
        if !is_new {
            self.unreadable.insert(path, format!("left out: {error:#}"));
        }
    }

    /// What tells two states of the store apart.
    fn state(&self) -> Vec<(PathBuf, u64, bool)> {
        let of = |one: &Recording| (one.path().to_owned(), one.info.duration, one.info.complete);
        self.recordings.iter().map(of).collect()
    }

    fn forget_names(&mut self) {
        self.forgotten += 1;
        self.tables = Arc::default();
        self.recordings.iter_mut().for_each(Recording::forget_names);
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong with it, in words; empty for a whole one.
    pub fn remarks(&self) -> Vec<String> {
        let damage = self.recordings.iter().filter_map(Recording::remark);
        let said = self.unreadable.values().chain(self.remarks.values());
        said.cloned().chain(damage).take(REMARKS_MAX).collect()
    }

    /// How often [`Store::refresh`] has found something new: the same number, the same answers.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// How often all names were forgotten. As long as this stays, the numbers that answers have
    /// lead to the same, and tables only grow.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// From the start of its first recording to the end of its last, ns since the Unix epoch.
    pub fn time(&self) -> Range<u64> {
        let start = self.recordings.iter().map(|one| one.info.start).min().unwrap_or_default();
        let end = self.recordings.iter().map(|one| one.time().end).max().unwrap_or_default();
        start..end
    }

    /// The facts of its last recording, with start and duration of the whole store.
    pub fn info(&self) -> Info {
        let info = self.recordings.last().map(|last| last.info.clone()).unwrap_or_default();
        let time = self.time();
        Info { start: time.start, duration: time.end - time.start, ..info }
    }

    /// Its recordings by start: when each was made, and whether it ended as it should.
    pub fn spans(&self) -> Vec<Span> {
        let span = |one: &Recording| Span {
            path: one.path().to_owned(),
            time: one.time(),
            complete: one.info.complete,
        };
        self.recordings.iter().map(span).collect()
    }

    /// Its sources by name, each as its last recording describes it.
    pub fn sources(&self) -> Vec<SourceInfo> {
        let mut sources = BTreeMap::new();
        for (name, (source, _)) in self.recordings.iter().flat_map(|one| &one.sources) {
            sources.insert(name, source.clone());
        }
        sources.into_values().collect()
    }

    /// The source that a view is of: where it names none, the first that has what it asks for.
    ///
    /// # Errors
    /// There is no such source.
    pub fn source_of(&self, view: &View) -> Result<SourceInfo> {
        let default = self.source(view.source.as_deref())?;
        if view.source.is_some() || view.measure(&default).is_ok() {
            return Ok(default);
        }
        let mut sources = self.sources().into_iter();
        Ok(sources.find(|source| view.measure(source).is_ok()).unwrap_or(default))
    }

    /// The source called `name`, or several as one, such as `cpu,offcpu`; where none is named `cpu`,
    /// or the first one.
    ///
    /// # Errors
    /// There is no such source, or several have no sum.
    pub fn source(&self, name: Option<&str>) -> Result<SourceInfo> {
        if let Some(name) = name.filter(|name| name.contains(',')) {
            let sources: Result<Vec<_>> =
                several::names(name).map(|name| self.source(Some(name))).collect();
            return several::together(&sources?);
        }
        let sources = self.sources();
        let named = |name: &str| sources.iter().find(|source| source.name == name);
        let found = match name {
            Some(name) => named(name),
            None => named("cpu").or(sources.first()),
        };
        if let Some(source) = found {
            return Ok(source.clone());
        }
        let path = self.path.display();
        let lanes: Vec<String> = self.lanes().into_iter().map(|lane| lane.name).collect();
        match name {
            Some(name) if lanes.iter().any(|lane| lane == name) => {
                bail!("{path} has {name}, but not as stacks: rprof report -s {name}")
            }
            None if sources.is_empty() && !lanes.is_empty() => {
                bail!("{path} holds no samples, but {}: rprof report -s NAME", lanes.join(", "))
            }
            Some(name) if !sources.is_empty() => {
                let known: Vec<&str> = sources.iter().map(|source| &*source.name).collect();
                bail!("{} has no source {name}; it has: {}", self.path.display(), known.join(", "))
            }
            _ if self.recordings.is_empty() => {
                bail!("{} is a folder that holds no recording", self.path.display())
            }
            _ => bail!("{} holds no samples", self.path.display()),
        }
    }

    /// What was counted for a source by the recordings that a stretch of time touches. Recordings
    /// count from their start, so this is of all of each.
    pub fn stats(&self, source: &str, time: &Range<u64>) -> Stats {
        let mut sum = Stats::default();
        let start = self.time().start;
        for recording in self.recordings.iter().filter(|one| touches(&one.time(), time)) {
            let mut parts = several::names(source).filter_map(|name| recording.sources.get(name));
            let Some((info, first)) = parts.next() else { continue };
            let after = recording.info.start - start;
            add_stats(&mut sum, first, info, after);
            for (info, stats) in parts {
                add_stats(&mut sum, &several::without_shared(stats, first), info, after);
            }
        }
        sum
    }

    /// Its recordings by start.
    pub(super) fn recordings(&self) -> &[Recording] {
        &self.recordings
    }

    /// The same, and where to say what cannot be read of them.
    pub(super) fn parts(&mut self) -> (&[Recording], &mut BTreeMap<String, String>) {
        (&self.recordings, &mut self.remarks)
    }

    /// What the numbers of threads, stacks and processes that answers have lead to. They stay
    /// valid until the next question.
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// Reads what the numbers of a stretch of time lead to, for questions that do not need it.
    pub fn names(&mut self, time: &Range<u64>) {
        self.read_names(time);
    }

    /// What the samples of a source in a stretch of time add up to, by thread and stack, in no
    /// particular order. Hours are read from their roll-ups, the rest from windows.
    pub fn sums(&mut self, source: &str, time: &Range<u64>) -> Vec<Entry> {
        self.read_names(time);
        let mut merge = Merge::default();
        for (recording, source) in each_source(&self.recordings, source) {
            let mut reading = Reading::new(recording, source);
            merge.add_merged(reading.sums(Part::Taken, &within(recording, time)));
            reading.finish(&mut self.remarks);
        }
        merge.finish()
    }

    /// What of a held source is in use at a time (ns since the Unix epoch) and was taken at least
    /// `older` ns before, by thread and stack, in no particular order. What was taken before the
    /// recording that was made at that time began is not known, and not in it.
    pub fn in_use(&mut self, source: &str, at: u64, older: u64) -> Vec<Entry> {
        let Some(index) = self.recording_at(source, at) else { return Vec::new() };
        let start = self.recordings[index].info.start;
        self.read_names(&(start..at.max(start + 1)));
        let recording = &self.recordings[index];
        let mut reading = Reading::new(recording, source);
        let until = at.saturating_sub(start);
        let old = until.saturating_sub(older);
        let taken = reading.sums(Part::Taken, &(0..old));
        let mut freed = reading.sums(Part::Freed, &(0..old));
        reading.frees(&(old..until), &mut |free| {
            if free.born < old {
                freed.push(Entry::of(&free.sample));
            }
        });
        reading.finish(&mut self.remarks);
        subtract(taken, &freed)
    }

    /// When the recording began that tells what is in use at a time, both ns since the Unix epoch;
    /// none where there is none.
    pub fn in_use_since(&self, source: &str, at: u64) -> Option<u64> {
        self.recording_at(source, at).map(|index| self.recordings[index].info.start)
    }

    /// The last recording of a source that began before a time.
    fn recording_at(&self, source: &str, at: u64) -> Option<usize> {
        let before = |one: &Recording| one.info.start < at && one.sources.contains_key(source);
        self.recordings.iter().rposition(before)
    }

    /// What each process comes to in each of about `columns` columns of a stretch of time. Where
    /// columns are of 20 s or more they are made of whole steps of 10 s, and are read from
    /// roll-ups: start and step of what comes back say how.
    pub fn series(&mut self, source: &str, time: &Range<u64>, columns: usize) -> Series {
        self.read_names(time);
        let mut columns = Columns::new(time, columns);
        let coarse = columns.is_coarse();
        for (recording, source) in each_source(&self.recordings, source) {
            let within = within(recording, &columns.time());
            let mut reading = Reading::new(recording, source);
            reading.values(Part::Taken, &within, coarse, &self.tables, &mut |one| {
                columns.add(one.process, one.at, one.count, one.value);
            });
            reading.finish(&mut self.remarks);
        }
        columns.finish()
    }

    /// What of a held source is in use in the columns of [`Store::series`].
    pub fn in_use_series(&mut self, source: &str, time: &Range<u64>, columns: usize) -> InUse {
        let first = self.in_use_since(source, time.start.max(1)).unwrap_or(time.start);
        self.read_names(&(first.min(time.start)..time.end));
        let (mut taken, mut freed) = (Columns::new(time, columns), Columns::new(time, columns));
        let (coarse, shown) = (taken.is_coarse(), taken.time());
        // By process what of the recording before was never freed.
        let mut left: HashMap<u32, (u64, u64)> = HashMap::new();
        for recording in self.recordings.iter().filter(|one| one.sources.contains_key(source)) {
            let start = recording.info.start;
            if start < first || start >= shown.end {
                continue;
            }
            for (process, (count, value)) in left.drain() {
                freed.add_to_level(process, start, count, value);
            }
            let begin = shown.start.saturating_sub(start);
            // Whatever columns are, what was before them is of whole hours.
            let times = [(0..begin, true), (begin..shown.end - start, coarse)];
            let mut reading = Reading::new(recording, source);
            for (time, rollups) in times {
                reading.values(Part::Taken, &time, rollups, &self.tables, &mut |one| {
                    taken.add_to_level(one.process, one.at, one.count, one.value);
                    let left = left.entry(one.process).or_default();
                    *left = (left.0.saturating_add(one.count), left.1.saturating_add(one.value));
                });
                reading.values(Part::Freed, &time, rollups, &self.tables, &mut |one| {
                    freed.add_to_level(one.process, one.at, one.count, one.value);
                    let left = left.entry(one.process).or_default();
                    *left = (left.0.saturating_sub(one.count), left.1.saturating_sub(one.value));
                });
            }
            reading.finish(&mut self.remarks);
        }
        InUse { taken: taken.finish(), freed: freed.finish() }
    }

    /// Gives each sample of a source in a stretch of time to `each`, with its time in ns since
    /// the Unix epoch. By recording and window, and not by time.
    pub fn samples(&mut self, source: &str, time: &Range<u64>, each: &mut dyn FnMut(Sample)) {
        self.read_names(time);
        for (recording, source) in each_source(&self.recordings, source) {
            let start = recording.info.start;
            let mut reading = Reading::new(recording, source);
            reading.samples(&within(recording, time), &mut |sample| {
                each(Sample { time: start.saturating_add(sample.time), ..sample });
            });
            reading.finish(&mut self.remarks);
        }
    }

    /// The same of what was freed.
    pub fn frees(&mut self, source: &str, time: &Range<u64>, each: &mut dyn FnMut(Free)) {
        self.read_names(time);
        for recording in &self.recordings {
            let start = recording.info.start;
            let mut reading = Reading::new(recording, source);
            reading.frees(&within(recording, time), &mut |free| {
                let time = start.saturating_add(free.sample.time);
                let born = start.saturating_add(free.born);
                each(Free { sample: Sample { time, ..free.sample }, born });
            });
            reading.finish(&mut self.remarks);
        }
    }

    /// The profile that `view` shows, with what `detail` tells apart kept apart.
    ///
    /// # Errors
    /// There is no such source or type of value, or the view's time ends before it begins.
    pub fn profile(&mut self, view: &View, detail: Detail) -> Result<Profile> {
        let source = self.source_of(view)?;
        let measure = view.measure(&source)?;
        let whole = self.time();
        let time = view.range(whole.start, whole.end)?;
        let since_start = |sample: Sample| Sample { time: sample.time - whole.start, ..sample };
        // Of what is in use, nobody knows on which CPU it was taken.
        let mut sum = Sum::new(Detail { cpu: detail.cpu && !source.held, ..detail });
        let (mut in_use, mut frees) = (Sum::new(Detail::default()), Vec::new());
        let taken = !measure.in_use || detail.time || detail.both;
        if taken && (detail.time || detail.cpu && !source.held) {
            self.samples(&source.name, &time, &mut |sample| sum.add(since_start(sample)));
        } else if taken {
            self.sums(&source.name, &time).iter().for_each(|entry| sum.add(entry.sample()));
        }
        if source.held && detail.time {
            self.frees(&source.name, &time, &mut |free| {
                let born = free.born.saturating_sub(whole.start);
                frees.push(Free { sample: since_start(free.sample), born });
            });
            frees.sort_by_key(|free| free.sample.time);
        }
        let older = view.older.unwrap_or_default();
        if source.held && (!taken || detail.both) {
            let entries = self.in_use(&source.name, time.end, older);
            let sum = if taken { &mut in_use } else { &mut sum };
            entries.iter().for_each(|entry| sum.add(entry.sample()));
        }
        // What is in use is so since its recording began, whatever the view's start.
        let from = match self.in_use_since(&source.name, time.end) {
            Some(start) if !taken => start,
            _ => time.start,
        };
        let others = self.sources().into_iter().map(|other| other.name);
        let mut profile = Profile {
            info: self.info(),
            // Of a stretch without anything, what there is elsewhere tells more than nothing.
            stats: self.stats(&source.name, if time.is_empty() { &whole } else { &time }),
            others: others
                .filter(|other| several::names(&source.name).all(|one| one != other))
                .collect(),
            measure: Measure { in_use: !taken, ..measure },
            older,
            from: from - whole.start,
            to: time.end - whole.start,
            tables: Arc::clone(&self.tables),
            samples: sum.finish(),
            in_use: in_use.finish(),
            frees,
            source,
        };
        view.narrow(&mut profile);
        profile.count_unnamed();
        Ok(profile)
    }

    /// Reads the names of the recordings that a stretch of time touches, as far as they are not
    /// here.
    fn read_names(&mut self, time: &Range<u64>) {
        let wanted: Vec<bool> =
            self.recordings.iter().map(|one| touches(&one.time(), time)).collect();
        let idle =
            self.recordings.iter().zip(&wanted).any(|(one, wanted)| one.is_named() && !wanted);
        if idle && self.tables.bytes() > NAMES_BYTES / 2 {
            self.forget_names();
        }
        let several = self.recordings.len() > 1;
        let mut left_out = 0;
        for (recording, wanted) in self.recordings.iter_mut().zip(wanted).rev() {
            if !wanted || recording.has_all_names() {
                continue;
            }
            if self.tables.bytes() > NAMES_BYTES {
                left_out += 1;
                continue;
            }
            let tables = Arc::make_mut(&mut self.tables);
            let name = recording.path().file_name().unwrap_or_default().to_string_lossy();
            let origin = if several { tables.strings.intern(&name) } else { 0 };
            recording.read_names(tables, origin);
        }
        if left_out > 0 {
            let text = format!("{left_out} recordings are left out: too many names for memory");
            self.remarks.insert("names".into(), text);
        }
    }
}

/// Each recording with each of the sources that `source` names.
fn each_source<'a>(
    recordings: &'a [Recording],
    source: &'a str,
) -> impl Iterator<Item = (&'a Recording, &'a str)> {
    recordings.iter().flat_map(move |one| several::names(source).map(move |name| (one, name)))
}
