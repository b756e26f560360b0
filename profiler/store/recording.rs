//! One recording, read: a whole one, one that is still being written, or what is left of a
//! damaged one.
//!
//! What was read stays valid while the recording grows, so that reading on takes only what is new:
//! the segments of the dictionary from the last one on, and windows that are new or were not
//! sealed. What is damaged is left out, and counted.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result};
use rusqlite::{Connection, OptionalExtension, params};
use serde::de::DeserializeOwned;

use super::{
    codec::expand,
    dictionary::{self, Ids},
    file,
    past::Past,
    rollup::{self, Entry, Point},
    window,
};
use crate::model::{Free, Info, Sample, SourceInfo, Stats, Tables};

/// The most dictionary segments, windows and roll-ups that are looked for in a damaged file.
const ROWS_MAX: usize = 1 << 20;

/// A window or a roll-up: what of it is known without reading it.
#[derive(Clone, Debug)]
pub struct Extent {
    /// Its number.
    pub id: i64,
    /// Source.
    pub source: Arc<str>,
    /// ns since the recording's start.
    pub time: Range<u64>,
    /// False if it may still change.
    pub sealed: bool,
    /// Numbers of the windows that a roll-up is made of.
    pub windows: Vec<i64>,
}

/// Which half of a window or a roll-up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// Samples.
    Taken,
    /// What was freed of them.
    Freed,
}

impl Part {
    fn of_window(self) -> &'static str {
        match self {
            Self::Taken => "SELECT data FROM window WHERE id = ?1",
            Self::Freed => "SELECT freed FROM window WHERE id = ?1",
        }
    }
}

/// A recording, opened for reading.
pub struct Recording {
    file: file::File,
    /// Where, when and how it was recorded.
    pub info: Info,
    /// Its sources, by name, and what they counted.
    pub sources: BTreeMap<String, (SourceInfo, Stats)>,
    /// Its windows, by number.
    pub windows: Vec<Extent>,
    /// Its roll-ups, by number.
    pub rollups: Vec<Extent>,
    /// What it has besides stacks.
    pub past: Past,
    /// Where its names went in the tables that they were read into.
    pub ids: Ids,
    /// The dictionary segment to read next, which may have been read before it was complete.
    segment: i64,
    /// True if there may be names that were not read yet.
    unread: bool,
    names: HashMap<String, Arc<str>>,
    /// What of its dictionary cannot be read.
    damage: Option<String>,
    /// True if some windows or roll-ups cannot even be listed.
    cut: bool,
}

impl Recording {
    /// Opens the recording at `path`, and lists what is in it.
    ///
    /// # Errors
    /// There is none, or it is something else, or from a newer rprof: says what it is.
    pub fn open(path: &Path) -> Result<Self> {
        let file = file::File::open(path)?;
        let mut recording = Self {
            file,
            info: Info::default(),
            sources: BTreeMap::new(),
            windows: Vec::new(),
            rollups: Vec::new(),
            past: Past::default(),
            ids: Ids::default(),
            segment: 0,
            unread: true,
            names: HashMap::new(),
            damage: None,
            cut: false,
        };
        recording.list().with_context(|| {
            format!("{} is so damaged that nothing can be read of it", path.display())
        })?;
        Ok(recording)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Takes note of what was written since.
    ///
    /// # Errors
    /// The file cannot be read any more.
    pub fn refresh(&mut self) -> Result<()> {
        self.file.refresh()?;
        self.list()
    }

    /// From its start to its end, ns since the Unix epoch.
    pub fn time(&self) -> Range<u64> {
        let start = self.info.start;
        let last = self.windows.iter().map(|window| window.time.end).max().unwrap_or_default();
        let last = last.max(self.past.end());
        start..start.saturating_add(self.info.duration.max(last))
    }

    /// What to ask for its content.
    pub fn connection(&self) -> &Connection {
        self.file.connection()
    }

    /// What is wrong with it, in words.
    pub fn remark(&self) -> Option<String> {
        let damage = self.damage.as_ref()?;
        let path = self.path().display();
        Some(format!("{path} is damaged: part of its names and stacks is lost ({damage})"))
    }

    /// True if the end of its list of windows is lost.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// True if its names are in the tables that `ids` leads to.
    pub fn is_named(&self) -> bool {
        self.segment > 0
    }

    /// True if they are, and nothing was written since.
    pub fn has_all_names(&self) -> bool {
        self.is_named() && !self.unread
    }

    /// Forgets where its names went.
    pub fn forget_names(&mut self) {
        (self.ids, self.segment, self.damage) = (Ids::default(), 0, None);
    }

    /// Reads the names that are new into `tables`. `origin` is a string that keeps apart what
    /// only means something within this recording; 0 if there is no other.
    pub fn read_names(&mut self, tables: &mut Tables, origin: u32) {
        self.ids.origin = origin;
        let (segments, cut) = self.segments();
        self.damage = cut.then(|| "the end is missing".to_owned());
        (self.segment, self.unread) = (self.segment.max(1), false);
        for id in segments {
            let read =
                self.read("SELECT data FROM dictionary WHERE id = ?1", id).and_then(|bytes| {
                    dictionary::decode(&bytes.unwrap_or_default(), tables, &mut self.ids)
                });
            if let Err(error) = read {
                self.damage = Some(error.to_string());
                break;
            }
            self.segment = id;
        }
    }

    fn segments(&self) -> (Vec<i64>, bool) {
        let query = "SELECT id FROM dictionary WHERE id >= ?1 ORDER BY id";
        rows(self.file.connection(), query, self.segment, |row| row.get(0))
    }

    /// True if what a window refers to has to be in the names that were read: one that was not
    /// sealed may have grown since.
    pub fn is_settled(&self, window: &Extent) -> bool {
        window.sealed || self.info.complete
    }

    /// The samples of a window, or of what was freed in it, in the recording's own numbers.
    ///
    /// # Errors
    /// It is damaged.
    pub fn window(&self, id: i64, part: Part) -> Result<Vec<Sample>> {
        self.decode(part.of_window(), id, window::decode)
    }

    /// The samples of a window, in the recording's own numbers.
    ///
    /// # Errors
    /// It is damaged.
    pub fn taken(&self, id: i64) -> Result<Vec<Sample>> {
        self.window(id, Part::Taken)
    }

    /// What was freed in a window, in the recording's own numbers.
    ///
    /// # Errors
    /// It is damaged.
    pub fn frees(&self, id: i64) -> Result<Vec<Free>> {
        self.decode(Part::Freed.of_window(), id, window::decode_frees)
    }

    /// What the samples of a window are but for their times, in the recording's own numbers.
    ///
    /// # Errors
    /// It is damaged.
    pub fn window_entries(&self, id: i64, part: Part) -> Result<Vec<Entry>> {
        self.decode(part.of_window(), id, window::decode_entries)
    }

    /// The sums of a roll-up, in the recording's own numbers.
    ///
    /// # Errors
    /// They are damaged.
    pub fn sums(&self, id: i64, part: Part) -> Result<Vec<Entry>> {
        let query = match part {
            Part::Taken => "SELECT sums FROM rollup WHERE id = ?1",
            Part::Freed => "SELECT freed_sums FROM rollup WHERE id = ?1",
        };
        self.decode(query, id, rollup::decode_sums)
    }

    /// The series of a roll-up, in the recording's own numbers.
    ///
    /// # Errors
    /// It is damaged.
    pub fn series(&self, id: i64, part: Part) -> Result<Vec<Point>> {
        let query = match part {
            Part::Taken => "SELECT series FROM rollup WHERE id = ?1",
            Part::Freed => "SELECT freed_series FROM rollup WHERE id = ?1",
        };
        self.decode(query, id, rollup::decode_series)
    }

    /// What a blob holds; nothing where there is none.
    fn decode<T>(
        &self,
        query: &str,
        id: i64,
        decode: fn(&[u8]) -> Result<Vec<T>>,
    ) -> Result<Vec<T>> {
        match self.read(query, id)? {
            Some(bytes) => decode(&bytes),
            None => Ok(Vec::new()),
        }
    }

    /// The bytes of a blob, if there is one.
    ///
    /// # Errors
    /// It is damaged.
    pub fn read(&self, query: &str, id: i64) -> Result<Option<Vec<u8>>> {
        let db = self.file.connection();
        let blob: Option<Vec<u8>> = db.prepare_cached(query)?.query_row([id], |row| row.get(0))?;
        blob.map(|blob| expand(&blob)).transpose()
    }

    /// Reads facts and counters, and lists the windows and roll-ups that are new.
    fn list(&mut self) -> Result<()> {
        // One state of the file, whatever is committed meanwhile.
        let db = self.file.connection();
        let begun = db.execute_batch("BEGIN").is_ok();
        let listed = self.list_all();
        if begun {
            let _ = self.file.connection().execute_batch("COMMIT"); // it only read
        }
        listed
    }

    fn list_all(&mut self) -> Result<()> {
        let before = std::mem::take(&mut self.info);
        self.info = self.meta("info")?.context("it says nothing of itself")?;
        self.unread |= before != self.info;
        for name in self.names_of("lane/")? {
            let lane = self.meta(&format!("lane/{name}"))?.unwrap_or_default();
            let counts = self.meta(&format!("counts/{name}"))?.unwrap_or_default();
            self.past.lanes.insert(name, (lane, counts));
        }
        for name in self.names_of("source/")? {
            let source: SourceInfo = self.meta(&format!("source/{name}"))?.unwrap_or_default();
            let stats = self.meta(&format!("stats/{name}"))?.unwrap_or_default();
            self.sources.insert(name, (source, stats));
        }
        let open = self.windows.iter().position(|window| !window.sealed);
        self.windows.truncate(open.unwrap_or(self.windows.len()));
        self.cut =
            self.list_windows() | self.list_rollups() | self.past.list(self.file.connection());
        Ok(())
    }

    fn list_windows(&mut self) -> bool {
        let query =
            "SELECT id, source, start, end, sealed, '' FROM window WHERE id > ?1 ORDER BY id";
        let (mut new, cut) = self.extents(query, self.windows.last().map_or(0, |last| last.id));
        self.windows.append(&mut new);
        cut
    }

    fn list_rollups(&mut self) -> bool {
        let query =
            "SELECT id, source, start, end, 1, windows FROM rollup WHERE id > ?1 ORDER BY id";
        let (mut new, cut) = self.extents(query, self.rollups.last().map_or(0, |last| last.id));
        self.rollups.append(&mut new);
        cut
    }

    fn extents(&mut self, query: &str, after: i64) -> (Vec<Extent>, bool) {
        let names = &mut self.names;
        rows(self.file.connection(), query, after, |row| {
            let source: String = row.get(1)?;
            let time = |index| Ok::<_, rusqlite::Error>(row.get::<_, i64>(index)?.max(0) as u64);
            let windows: String = row.get(5)?;
            Ok(Extent {
                id: row.get(0)?,
                source: names.entry(source).or_insert_with_key(|name| name.as_str().into()).clone(),
                time: time(2)?..time(3)?,
                sealed: row.get(4)?,
                windows: windows.split(',').filter_map(|id| id.parse().ok()).collect(),
            })
        })
    }

    /// What stands behind `prefix` in the keys that begin with it.
    fn names_of(&self, prefix: &str) -> Result<Vec<String>> {
        let damaged = || format!("{} is damaged", self.path().display());
        let db = self.file.connection();
        let query = "SELECT key FROM meta WHERE key LIKE ?1 ORDER BY key";
        let mut statement = db.prepare_cached(query).with_context(damaged)?;
        let keys = statement
            .query_map([format!("{prefix}%")], |row| row.get::<_, String>(0))
            .with_context(damaged)?;
        let names = keys.flatten().filter_map(|key| Some(key.strip_prefix(prefix)?.to_owned()));
        Ok(names.collect())
    }

    fn meta<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let path = self.path().display();
        let mut statement = self
            .file
            .connection()
            .prepare_cached("SELECT value FROM meta WHERE key = ?1")
            .with_context(|| format!("{path} is damaged"))?;
        let text: Option<String> = statement
            .query_row([key], |row| row.get(0))
            .optional()
            .with_context(|| format!("{path} is damaged"))?;
        text.map(|text| serde_json::from_str(&text))
            .transpose()
            .with_context(|| format!("{path}: damaged entry {key}"))
    }
}

/// The rows of a query, and whether some could not be read.
pub fn rows<T>(
    db: &Connection,
    query: &str,
    parameter: i64,
    row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> (Vec<T>, bool) {
    let mut found = Vec::new();
    let Ok(mut statement) = db.prepare_cached(query) else { return (found, true) };
    let Ok(rows) = statement.query_map(params![parameter], row) else { return (found, true) };
    for row in rows {
        match row {
            Ok(row) if found.len() < ROWS_MAX => found.push(row),
            Ok(_) | Err(_) => return (found, true),
        }
    }
    (found, false)
}
