//! Reads recordings: whole ones, ones still being written, and what is left of damaged ones.

use std::{
    collections::HashMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use serde::de::DeserializeOwned;

use super::{APPLICATION_ID, FORMAT_VERSION, codec::expand, dictionary, partial_path, window};
use crate::model::{Detail, Info, Profile, Sample, SourceInfo, Tables, View};

/// The most dictionary segments and windows that are looked for in a damaged file.
const ROWS_MAX: i64 = 1 << 20;

/// A recording, opened for reading.
pub struct Recording {
    db: Connection,
    path: PathBuf,
    info: Info,
    tables: Tables,
    remarks: Vec<String>,
}

impl Recording {
    /// Opens the recording at `path`.
    ///
    /// # Errors
    /// There is none, or it is something else, or from a newer rprof: says what it is.
    pub fn open(path: &Path) -> Result<Self> {
        let mut remarks = Vec::new();
        let path = match path.exists() {
            true => path.to_owned(),
            false => {
                let partial = partial_path(path);
                if !partial.exists() {
                    bail!("there is no recording {}; make one: rprof record", path.display());
                }
                remarks.push(format!("reading {}: it did not finish", partial.display()));
                partial
            }
        };
        check_format(&path)?;
        let db = connect(&path)?;
        let mut recording =
            Self { db, path, info: Info::default(), tables: Tables::default(), remarks };
        let meta = recording.meta("info")?;
        recording.info = meta.with_context(|| {
            format!("{} is so damaged that nothing can be read of it", recording.path.display())
        })?;
        recording.read_dictionary();
        Ok(recording)
    }

    /// Where, when and how it was recorded.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// What is wrong with it, in words; empty for a whole recording.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// The profile that `view` shows, with what it tells apart kept apart.
    ///
    /// # Errors
    /// The recording has no such source.
    pub fn profile(&mut self, view: &View, detail: Detail) -> Result<Profile> {
        let source = self.source(view)?;
        let stats = self.meta(&format!("stats/{}", source.name))?.unwrap_or_default();
        let samples = self.samples(&source.name, view, detail);
        let mut profile = Profile {
            from: view.from.unwrap_or(0),
            to: view.to.unwrap_or(self.info.duration).min(self.info.duration),
            info: self.info.clone(),
            source,
            stats,
            tables: self.tables.clone(),
            samples,
        };
        view.narrow(&mut profile);
        count_unnamed(&mut profile);
        Ok(profile)
    }

    fn source(&self, view: &View) -> Result<SourceInfo> {
        let mut names = Vec::new();
        let mut statement =
            self.db.prepare("SELECT key FROM meta WHERE key LIKE 'source/%' ORDER BY key")?;
        for name in statement.query_map([], |row| row.get::<_, String>(0))? {
            names.extend(name.ok());
        }
        let wanted = match &view.source {
            Some(name) => format!("source/{name}"),
            None => names.first().cloned().context("the recording has no source")?,
        };
        match self.meta(&wanted)? {
            Some(source) => Ok(source),
            None => {
                let known: Vec<&str> =
                    names.iter().filter_map(|name| name.strip_prefix("source/")).collect();
                bail!(
                    "{} has no source {}; it has: {}",
                    self.path.display(),
                    wanted.trim_start_matches("source/"),
                    known.join(", ")
                )
            }
        }
    }

    fn meta<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let text: Option<String> = self
            .db
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
            .optional()
            .with_context(|| format!("{} is damaged", self.path.display()))?;
        text.map(|text| serde_json::from_str(&text))
            .transpose()
            .with_context(|| format!("{}: damaged entry {key}", self.path.display()))
    }

    fn read_dictionary(&mut self) {
        let (ids, cut) = self.ids("dictionary");
        let mut damage = cut.then(|| "the end is missing".to_owned());
        for id in ids {
            let blob = self.blob("dictionary", id);
            let read = blob
                .and_then(|blob| expand(&blob))
                .and_then(|bytes| dictionary::decode(&bytes, &mut self.tables));
            if let Err(error) = read {
                damage = Some(error.to_string());
                break;
            }
        }
        if let Some(damage) = damage {
            self.remarks.push(format!(
                "{} is damaged: part of its names and stacks is lost ({damage})",
                self.path.display()
            ));
        }
    }

    fn samples(&mut self, source: &str, view: &View, detail: Detail) -> Vec<Sample> {
        let mut sum = Sum::new(detail);
        let (ids, cut) = self.ids("window");
        let (mut windows, mut strays) = (u64::from(cut), 0);
        for id in ids {
            match self.window(id, source, view) {
                Ok(samples) => {
                    for sample in samples.into_iter().flatten() {
                        match self.knows(&sample) {
                            true if view.shows_time(sample.time) => sum.add(sample),
                            true => {}
                            false => strays += 1,
                        }
                    }
                }
                Err(_) => windows += 1,
            }
        }
        for (count, what) in [(windows, "windows of samples"), (strays, "samples without a stack")]
        {
            if count > 0 {
                let path = self.path.display();
                self.remarks.push(format!("{path} is damaged: {count} {what} are left out"));
            }
        }
        sum.finish()
    }

    /// False if what a sample refers to is in a part of the dictionary that is lost.
    fn knows(&self, sample: &Sample) -> bool {
        sample.stack as usize <= self.tables.stacks.len()
            && (sample.thread as usize) < self.tables.threads.len()
    }

    fn window(&self, id: i64, source: &str, view: &View) -> Result<Option<Vec<Sample>>> {
        let mut statement = self.db.prepare_cached(
            "SELECT data FROM window WHERE id = ?1 AND source = ?2 AND end > ?3 AND start < ?4",
        )?;
        let (from, to) = (view.from.unwrap_or(0) as i64, view.to.map_or(i64::MAX, |to| to as i64));
        let blob: Option<Vec<u8>> = statement
            .query_row(rusqlite::params![id, source, from, to], |row| row.get(0))
            .optional()?;
        blob.map(|blob| window::decode(&expand(&blob)?)).transpose()
    }

    fn blob(&self, table: &str, id: i64) -> Result<Vec<u8>> {
        let query = format!("SELECT data FROM {table} WHERE id = ?1");
        Ok(self.db.query_row(&query, [id], |row| row.get(0))?)
    }

    /// The rows of a table, and whether some could not be listed.
    fn ids(&self, table: &str) -> (Vec<i64>, bool) {
        let mut ids = Vec::new();
        let Ok(mut statement) = self.db.prepare(&format!("SELECT id FROM {table} ORDER BY id"))
        else {
            return (ids, true);
        };
        let Ok(rows) = statement.query_map([], |row| row.get(0)) else { return (ids, true) };
        let mut cut = false;
        for row in rows {
            match row {
                Ok(id) => ids.push(id),
                Err(_) => cut = true,
            }
            if cut || ids.len() as i64 > ROWS_MAX {
                break;
            }
        }
        (ids, cut)
    }
}

/// Adds up samples that differ in nothing that has to be told apart.
struct Sum {
    detail: Detail,
    /// What all values may still come to. Outputs add them up in any way they like, and pprof
    /// holds sums of 63 bits.
    room: u64,
    sums: HashMap<(u32, u32, u32), usize, foldhash::fast::RandomState>,
    samples: Vec<Sample>,
}

impl Sum {
    fn new(detail: Detail) -> Self {
        Self { detail, room: i64::MAX as u64, sums: HashMap::default(), samples: Vec::new() }
    }

    fn add(&mut self, mut sample: Sample) {
        if !self.detail.cpu {
            sample.cpu = 0;
        }
        sample.value = sample.value.min(self.room);
        self.room -= sample.value;
        if self.detail.time {
            return self.samples.push(sample);
        }
        sample.time = 0;
        let key = (sample.cpu, sample.thread, sample.stack);
        let index = *self.sums.entry(key).or_insert(self.samples.len());
        match self.samples.get_mut(index) {
            Some(sum) => {
                sum.count += sample.count;
                sum.value += sample.value;
            }
            None => self.samples.push(sample),
        }
    }

    fn finish(mut self) -> Vec<Sample> {
        if self.detail.time {
            self.samples.sort_by_key(|sample| sample.time);
        }
        self.samples
    }
}

/// Counts the distinct frames without a name among those that the samples refer to.
fn count_unnamed(profile: &mut Profile) {
    let tables = &profile.tables;
    let mut seen = vec![false; tables.stacks.len() + 1];
    let mut used = vec![false; tables.frames.len()];
    for sample in &profile.samples {
        let mut stack = sample.stack;
        while let Some((parent, frame)) = tables.stacks.node(stack) {
            if std::mem::replace(&mut seen[stack as usize], true) || parent >= stack {
                break;
            }
            if let Some(used) = used.get_mut(frame as usize) {
                *used = true;
            }
            stack = parent;
        }
    }
    let unnamed = |frame: &usize| used[*frame] && tables.lines(*frame as u32).is_empty();
    profile.stats.unsymbolized_frames = (0..used.len()).filter(unnamed).count() as u64;
}

/// Tells what a file is that is not a recording.
fn check_format(path: &Path) -> Result<()> {
    let name = path.display();
    if path.is_dir() {
        bail!("{name} is a folder, not a recording");
    }
    let mut header = Vec::new();
    let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    file.take(100).read_to_end(&mut header).with_context(|| format!("cannot read {name}"))?;
    let kind = match &header[..] {
        [] => "it is empty",
        header if header.starts_with(b"PERFILE2") => "it is perf's; record anew with rprof record",
        [0x1f, 0x8b, ..] => "it is gzip, perhaps a pprof profile",
        header if header.starts_with(b"\x7fELF") => "it is a program",
        header if header.starts_with(b"<?xml") || header.starts_with(b"<svg") => "it is XML",
        header if !header.starts_with(b"SQLite format 3\0") => "its format is not known",
        header if header.len() < 100 => "only its first bytes are there",
        // Offsets of "The Database Header" in SQLite's fileformat2.
        header if header[68..72] != APPLICATION_ID.to_be_bytes() => {
            "it is a SQLite database of another program"
        }
        header => {
            let version = u32::from_be_bytes([header[60], header[61], header[62], header[63]]);
            if version > FORMAT_VERSION {
                bail!(
                    "{name} is a recording of format {version}, which a newer rprof wrote; \
                     this one reads up to {FORMAT_VERSION}"
                );
            }
            return Ok(());
        }
    };
    bail!("{name} is not a recording of rprof: {kind}")
}

/// Opens the file read-only, with the journal of a killed recorder rolled back if there is one and
/// we may.
fn connect(path: &Path) -> Result<Connection> {
    let cannot = || format!("cannot read {}", path.display());
    let writable = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let journal = path.with_file_name(format!(
        "{}-journal",
        path.file_name().unwrap_or_default().to_string_lossy()
    ));
    let flags = if journal.exists() { writable } else { read_only };
    let db = Connection::open_with_flags(path, flags)
        .or_else(|_| Connection::open_with_flags(path, read_only))
        .with_context(cannot)?;
    db.busy_timeout(std::time::Duration::from_secs(5)).with_context(cannot)?;
    // Without this SQLite refuses a file that is shorter than its header says; with it, the pages
    // that are there can be read. The connection writes nothing.
    db.execute_batch("PRAGMA writable_schema = ON; PRAGMA query_only = ON;")
        .with_context(cannot)?;
    Ok(db)
}
