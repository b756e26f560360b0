//! Recordings that were cut short or whose bytes were changed: never a panic, an abort or a hang,
//! always a word about it, and what can be read is read.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rusqlite::Connection;

use super::common::command::{RPROF, Ran, kept_recording, run};

/// KiB of memory, and seconds, that reading a damaged recording may take.
const MEMORY: u64 = 2 << 20;
const SECONDS: u64 = 20;

/// xorshift64*: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}

/// Reads a recording, bounded in memory; it either shows something or says what is wrong.
fn read(path: &Path, words: &[&str]) -> Ran {
    let start = Instant::now();
    let limited = format!("ulimit -v {MEMORY}; exec \"$0\" \"$@\"");
    let ran = run(Command::new("sh").args(["-c", &limited, RPROF]).args(words).arg(path));
    match ran.code() {
        0 => assert!(!ran.out.is_empty()),
        1 => assert!(ran.out.is_empty() && !ran.err.is_empty(), "{}", ran.err),
        code => panic!("{}: exit code {code}: {}", path.display(), ran.err),
    }
    assert!(start.elapsed() < Duration::from_secs(SECONDS), "{}", path.display());
    ran
}

/// The samples that a report as JSON shows; none if it fails.
fn samples(ran: &Ran) -> Option<u64> {
    let report: serde_json::Value = serde_json::from_slice(&ran.out).ok()?;
    report["samples"].as_u64()
}

struct Kept {
    folder: tempfile::TempDir,
    bytes: Vec<u8>,
    samples: u64,
}

impl Kept {
    fn open() -> Self {
        let kept = kept_recording();
        let bytes = fs::read(&kept).unwrap();
        let samples = samples(&read(&kept, &["report", "--json"])).unwrap();
        Self { folder: tempfile::tempdir().unwrap(), bytes, samples }
    }

    fn write(&self, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join("damaged");
        fs::write(&path, bytes).unwrap();
        path
    }
}

#[test]
fn a_recording_without_its_end_is_said_to_be_damaged() {
    let kept = Kept::open();
    let (mut partly, mut cuts) = (0, 0);
    for cut in (0..kept.bytes.len()).step_by(101).chain([99, 100, 1023, 1024, 1025]) {
        let path = kept.write(&kept.bytes[..cut]);
        let ran = read(&path, &["report", "--json"]);
        assert!(ran.err.contains(path.to_str().unwrap()), "{cut}: {}", ran.err);
        let words = ["damaged", "not a recording"];
        assert!(words.iter().any(|word| ran.err.contains(word)), "{cut}: {}", ran.err);
        assert!(samples(&ran).is_none_or(|samples| samples <= kept.samples));
        partly += usize::from(ran.code() == 0);
        cuts += 1;
    }
    eprintln!("{partly} of {cuts} can be read in part");
}

#[test]
fn of_a_long_recording_without_its_end_most_is_read() {
    // As if recorded for long: its one window many times, and each with a page of its own.
    let kept = Kept::open();
    let path = kept.write(&kept.bytes);
    let db = Connection::open(&path).unwrap();
    for _ in 0..100 {
        db.execute_batch(
            "INSERT INTO window (source, start, end, samples, frees, sealed, data)
             SELECT source, start, end, samples, frees, sealed, data FROM window WHERE id = 1",
        )
        .unwrap();
    }
    drop(db);
    let bytes = fs::read(&path).unwrap();
    let whole = samples(&read(&path, &["report", "--json"])).unwrap();
    assert_eq!(whole, kept.samples * 101);
    for quarters in 1..4 {
        let path = kept.write(&bytes[..bytes.len() * quarters / 4]);
        let ran = read(&path, &["report", "--json"]);
        let shown = samples(&ran).unwrap_or_else(|| panic!("{quarters}/4: {}", ran.err));
        assert!(ran.err.contains("damaged"), "{}", ran.err);
        let share = shown as f64 / whole as f64;
        let most = quarters as f64 / 4.0;
        assert!(share > most - 0.15 && share <= most + 0.05, "{quarters}/4: {share}");
    }
}

#[test]
fn bits_that_changed_are_survived() {
    let kept = Kept::open();
    let mut random = Random(7);
    let formats = [
        &["report", "--json"][..],
        &["flamegraph"],
        &["export", "-f", "pprof"],
        &["export", "-f", "firefox"],
        &["export", "-f", "speedscope"],
    ];
    let mut unlike = 0;
    for round in 0..200 {
        let mut bytes = kept.bytes.clone();
        for _ in 0..1 << random.below(4) {
            let index = random.below(bytes.len());
            bytes[index] ^= 1 << random.below(8);
        }
        let path = kept.write(&bytes);
        let ran = read(&path, formats[round % formats.len()]);
        unlike += usize::from(!ran.err.is_empty());
    }
    // The rest was in parts of the file that hold nothing.
    assert!(unlike > 60, "{unlike} of 200 noticed");
}

/// Changes what the blobs expand to, so that nothing but the decoders themselves stands between
/// the damage and the program.
#[test]
fn blobs_that_lie_are_survived() {
    let kept = Kept::open();
    let mut random = Random(11);
    for round in 0..150 {
        let path = kept.write(&kept.bytes);
        let table = if round % 3 == 0 { "window" } else { "dictionary" };
        let db = Connection::open(&path).unwrap();
        let query = format!("SELECT data FROM {table} WHERE id = 1");
        let blob: Vec<u8> = db.query_row(&query, [], |row| row.get(0)).unwrap();
        let mut bytes = zstd::decode_all(&blob[..]).unwrap();
        for _ in 0..1 << random.below(4) {
            let index = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[index] ^= 1 << random.below(8),
                1 => bytes[index] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
                2 => bytes.truncate(index + 1),
                _ => drop(bytes.splice(index..index, [0xff, 0xff, 0xff, 0xff, 0x0f])),
            }
        }
        let blob = zstd::encode_all(&bytes[..], 1).unwrap();
        db.execute(&format!("UPDATE {table} SET data = ?1"), [blob]).unwrap();
        drop(db);
        let words = match round % 5 {
            0 => &["report"][..],
            1 => &["flamegraph", "--inverted", "--by", "thread"],
            2 => &["export", "-f", "pprof"],
            3 => &["export", "-f", "firefox"],
            _ => &["export", "-f", "json", "--focus", "paint|main"],
        };
        read(&path, words);
    }
}

#[test]
fn facts_that_lie_are_survived() {
    let kept = Kept::open();
    let huge = u64::MAX.to_string();
    let odd = "\"\\u001b[31m\\u0000</svg>\"".to_owned();
    for (key, field) in [
        ("info", "duration"),
        ("info", "start"),
        ("info", "cpus"),
        ("info", "target"),
        ("source/cpu", "frequency"),
        ("source/cpu", "period"),
        ("source/cpu", "event"),
        ("stats/cpu", "samples"),
        ("stats/cpu", "lost"),
        ("stats/cpu", "truncated"),
        ("stats/cpu", "self"),
    ] {
        for value in ["0", "-1", &huge, "1e300", "null", "[]", "{", "\"\"", &odd] {
            let path = kept.write(&kept.bytes);
            let db = Connection::open(&path).unwrap();
            let text: String = db
                .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
                .unwrap();
            let (before, after) = text.split_once(&format!("\"{field}\":")).unwrap();
            let end = match field {
                "self" => after.find('}').unwrap() + 1,
                _ => after.find([',', '}']).unwrap(),
            };
            let text = format!("{before}\"{field}\":{value}{}", &after[end..]);
            db.execute("UPDATE meta SET value = ?1 WHERE key = ?2", [&*text, key]).unwrap();
            drop(db);
            let ran = read(&path, &["report"]);
            assert!(!ran.text().contains('\x1b') && !ran.err.contains('\x1b'), "{key} {field}");
        }
    }
}
