//! What is kept of stores between questions: their names, merged into one tree, and the sums of
//! the ranges that were asked for last. A page asks several questions about one range at once.

use std::{
    fs,
    iter::once,
    ops::Range,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use web::Refusal;

use super::{broken, refusal};
use crate::{
    model::{Free, Sample, View},
    query::{Mapping, Names, Part, Scratch, Shown, Weights},
    store::{Store, partial_path},
};

/// How long what is known of a store is good for.
const FRESH: Duration = Duration::from_millis(500);
/// Answers that are kept whole: a page asks several questions about one view, each of which may
/// need three.
const ANSWERS: usize = 6;
/// Sums that are kept of hours, 16 bytes each.
const SUMS: usize = 12 << 20;
/// An hour, ns. Stores keep roll-ups of hours, too.
const HOUR: u64 = 3_600_000_000_000;
/// How long samples of an hour may still come after it, ns.
const LATE: u64 = 120_000_000_000;
/// Memory of the tree of names from which on it is made anew, bytes: what it holds of recordings
/// that are gone goes with it.
const NAMES: usize = 512 << 20;

/// One or two stores, and what is known of them.
pub struct Data {
    /// That which is shown, and that which it may be compared with.
    stores: Vec<Open>,
    names: Names,
    /// For sums over them.
    scratch: Scratch,
    /// How often the tree of names was made anew.
    made: u64,
    /// What views come to; those that were asked for last come last.
    answers: Vec<(Key, Arc<Weights>)>,
    hours: Vec<(Key, Arc<Weights>)>,
}

/// What is asked of a store.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Which of the stores.
    pub which: usize,
    /// What of its samples.
    pub shown: Shown<'a>,
    /// Of which time, ns since the Unix epoch.
    pub time: &'a Range<u64>,
    /// When the answer is of no use any more.
    pub until: Instant,
}

/// What was summed up.
#[derive(Clone, PartialEq)]
struct Key {
    time: Range<u64>,
    /// Store, tree of names and view.
    what: String,
    /// Of the store, where it may still grow within that time.
    state: Option<(u64, u64)>,
}

/// A store that is opened when it is first asked for, and anew when another has its place.
struct Open {
    path: PathBuf,
    store: Option<Store>,
    mapping: Mapping,
    /// Of the store, when `mapping` was made.
    forgotten: u64,
    /// When it was looked at last, and what its file was like then.
    looked: Option<Instant>,
    stamp: Stamp,
    /// How often it was opened.
    opened: u64,
}

/// What changes when a file is written by another program than a recorder.
type Stamp = Option<(u64, u64, i64, i64)>;

impl Data {
    /// The store at `path`, and that at `base`.
    pub fn new(path: &Path, base: Option<&Path>) -> Self {
        let stores = [Some(path), base].into_iter().flatten().map(Open::new).collect();
        Self {
            stores,
            names: Names::default(),
            scratch: Scratch::default(),
            made: 0,
            answers: Vec::new(),
            hours: Vec::new(),
        }
    }

    /// How many stores there are.
    pub fn stores(&self) -> usize {
        self.stores.len()
    }

    /// A text that changes with any of the stores.
    pub fn state(&mut self) -> String {
        let state = |open: &mut Open| match open.look() {
            Ok(_) => format!("{:?}", open.state()),
            Err(error) => format!("{error:#}"),
        };
        self.stores.iter_mut().map(state).collect::<Vec<_>>().join(" ")
    }

    /// One of the stores.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn store(&mut self, which: usize) -> Result<&mut Store> {
        self.stores[which].look()
    }

    /// Makes room before a question is answered.
    pub fn begin(&mut self) {
        if self.names.bytes() > NAMES {
            (self.names, self.scratch) = Default::default();
            self.made += 1;
            self.answers.clear();
            self.hours.clear();
            self.stores.iter_mut().for_each(|open| open.mapping = Mapping::default());
        }
    }

    /// What is shown of the samples of a time, added up.
    ///
    /// # Errors
    /// The store cannot be read, or it is too late already.
    pub fn weights(&mut self, asked: Asked<'_>) -> Result<Arc<Weights>, Refusal> {
        let Asked { which, shown, time, .. } = asked;
        self.store(which).map_err(broken)?;
        let open = &self.stores[which];
        let state = Some(open.state());
        let what = format!("{which} {} {} {}", open.opened, self.made, words(shown));
        let key = Key { time: time.clone(), what, state };
        if let Some(found) = take(&mut self.answers, &key) {
            return Ok(found);
        }
        let (first, last) = (time.start.div_ceil(HOUR) * HOUR, time.end / HOUR * HOUR);
        // What is in use at the end of the time is no sum of what was at the end of its hours.
        let weights = if last.saturating_sub(first) < 2 * HOUR || shown.measure.in_use {
            Arc::new(self.read(asked)?)
        } else {
            let mut parts = Vec::new();
            let hours = (first..last).step_by(HOUR as usize).map(|hour| hour..hour + HOUR);
            for part in once(time.start..first).chain(hours).chain(once(last..time.end)) {
                parts.push(self.hour(Asked { time: &part, ..asked }, &key)?);
            }
            let parts: Vec<&Weights> = parts.iter().map(Arc::as_ref).collect();
            Arc::new(Weights::sum(&parts, &self.names, &mut self.scratch))
        };
        // Answers that are not to be had any more go first, since they are the oldest.
        self.answers.push((key, weights.clone()));
        self.answers.drain(..self.answers.len().saturating_sub(ANSWERS));
        Ok(weights)
    }

    /// The same of a part of the time that `key` is about: from memory, if it is a whole hour.
    fn hour(&mut self, asked: Asked<'_>, key: &Key) -> Result<Arc<Weights>, Refusal> {
        let time = asked.time;
        let store = self.store(asked.which).map_err(broken)?;
        let over = store.time().end > time.end.saturating_add(LATE)
            || store.spans().iter().all(|span| span.complete);
        let is_whole = over && time.end - time.start == HOUR;
        let key = Key { time: time.clone(), what: key.what.clone(), state: None };
        if let Some(found) = is_whole.then(|| take(&mut self.hours, &key)).flatten() {
            return Ok(found);
        }
        let weights = Arc::new(self.read(asked)?);
        if is_whole {
            self.hours.push((key, weights.clone()));
            let held = |hours: &[(Key, Arc<Weights>)]| hours.iter().map(|(_, one)| one.len()).sum();
            let mut all: usize = held(&self.hours);
            while all > SUMS && self.hours.len() > 1 {
                all -= self.hours.remove(0).1.len();
            }
        }
        Ok(weights)
    }

    fn read(&mut self, asked: Asked<'_>) -> Result<Weights, Refusal> {
        let Asked { which, shown, time, until } = asked;
        let store = self.store(which).map_err(broken)?;
        let source = &shown.source.name;
        let entries = match time.is_empty() {
            _ if shown.measure.in_use => {
                store.in_use(source, time.end, shown.view.older.unwrap_or_default())
            }
            true => Vec::new(),
            false => store.sums(source, time),
        };
        self.names();
        let open = &self.stores[which];
        let Some(store) = &open.store else { return Ok(Weights::default()) };
        let part = Part { tables: store.tables(), mapping: &open.mapping };
        let scratch = &mut self.scratch;
        Weights::gather(part, &entries, &self.names, shown, until, scratch).map_err(refusal)
    }

    /// Gives the samples of a source in `time` to `each`, with what their numbers lead to. Their
    /// times are ns since the Unix epoch.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn samples(
        &mut self,
        which: usize,
        source: &str,
        time: &Range<u64>,
        each: &mut dyn FnMut(Sample),
    ) -> Result<()> {
        self.store(which)?.samples(source, time, each);
        Ok(())
    }

    /// The same of what was freed.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn frees(
        &mut self,
        which: usize,
        source: &str,
        time: &Range<u64>,
        each: &mut dyn FnMut(Free),
    ) -> Result<()> {
        self.store(which)?.frees(source, time, each);
        Ok(())
    }

    /// Takes into the tree of names what the last answers of the stores refer to.
    pub fn names(&mut self) {
        for open in &mut self.stores {
            let Some(store) = &open.store else { continue };
            if open.forgotten != store.forgotten() {
                (open.mapping, open.forgotten) = (Mapping::default(), store.forgotten());
            }
            open.mapping.update(store.tables(), &mut self.names);
        }
    }

    /// What the numbers in answers of a store lead to, after [`Data::names`].
    pub fn part(&self, which: usize) -> Option<(Part<'_>, &Names)> {
        let open = &self.stores[which];
        let tables = open.store.as_ref()?.tables();
        Some((Part { tables, mapping: &open.mapping }, &self.names))
    }

    /// The tree of names, and room for sums over it.
    pub fn tree(&mut self) -> (&Names, &mut Scratch) {
        (&self.names, &mut self.scratch)
    }

    /// The range of a view, ns since the Unix epoch.
    ///
    /// # Errors
    /// The store cannot be read, or the view ends before it begins.
    pub fn range(&mut self, which: usize, view: &View) -> Result<Range<u64>> {
        let whole = self.store(which)?.time();
        view.range(whole.start, whole.end)
    }
}

/// Finds an answer, which then is the one that was asked for last.
fn take(answers: &mut Vec<(Key, Arc<Weights>)>, key: &Key) -> Option<Arc<Weights>> {
    let found = answers.remove(answers.iter().position(|(known, _)| known == key)?);
    let weights = found.1.clone();
    answers.push(found);
    Some(weights)
}

/// All of what is shown that the sums of a time depend on.
fn words(shown: Shown<'_>) -> String {
    let pattern = |pattern: &Option<regex::Regex>| pattern.as_ref().map(|one| one.to_string());
    let Shown { view, source, measure } = shown;
    let patterns = [pattern(&view.focus), pattern(&view.ignore)];
    let View { older, pids, comm, only, by, idle, .. } = view;
    let source = &source.name;
    format!(
        "{source} {measure:?} {older:?} {pids:?} {comm:?} {only:?} {patterns:?} {by:?} {idle:?}"
    )
}

impl Open {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            store: None,
            mapping: Mapping::default(),
            forgotten: 0,
            looked: None,
            stamp: None,
            opened: 0,
        }
    }

    fn state(&self) -> (u64, u64) {
        let store = self.store.as_ref();
        (self.opened, store.map_or(0, |store| store.changes() << 32 | store.forgotten()))
    }

    /// The store as it is now.
    fn look(&mut self) -> Result<&mut Store> {
        let fresh = self.looked.is_some_and(|looked| looked.elapsed() < FRESH);
        if !fresh {
            let stamp = stamp(&self.path);
            let changed = stamp != self.stamp;
            let complete = |store: &Store| store.spans().iter().all(|span| span.complete);
            if let Some(store) = &mut self.store {
                // A whole recording does not change; if its file did, it is another.
                let other = !self.path.is_dir() && changed && complete(store);
                if other || store.refresh().is_err() {
                    self.store = None;
                }
            }
            (self.looked, self.stamp) = (Some(Instant::now()), stamp);
        }
        match &mut self.store {
            Some(store) => Ok(store),
            none => {
                let store = Store::open(&self.path)?;
                self.opened += 1;
                (self.mapping, self.forgotten) = (Mapping::default(), store.forgotten());
                Ok(none.insert(store))
            }
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let file = fs::metadata(path).or_else(|_| fs::metadata(partial_path(path))).ok()?;
    Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
}
