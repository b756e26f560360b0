//! Files that are no recordings of this rprof: each is told what it is.

use std::{fs, io::Write, path::Path};

use flate2::{Compression, write::GzEncoder};
use rusqlite::Connection;

use super::common::command::{RPROF, kept_recording, rprof, run};

/// Every command that reads has to refuse the file, with each of `parts`.
fn refused<const N: usize>(path: &Path, parts: [&str; N]) {
    let path = path.to_str().unwrap();
    for words in
        [&["report"][..], &["report", "--json"], &["flamegraph"], &["export", "-f", "json"]]
    {
        let ran = run(rprof([]).args(words).arg(path));
        ran.fails(1, parts);
        ran.fails(1, [path]);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    }
}

#[test]
fn other_files_are_told_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let gzip = || {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&[1, 2, 3]).unwrap();
        gzip.finish().unwrap()
    };
    let no = "is not a recording of rprof";
    refused(&folder.path().join("missing"), ["there is no recording", "rprof record"]);
    refused(folder.path(), ["is a folder"]);
    refused(&file("empty", b""), [no, "it is empty"]);
    refused(&file("text", b"hello\n"), [no, "not known"]);
    refused(&file("zeros", &[0; 4096]), [no, "not known"]);
    refused(&file("long", &b"main;work 1\n".repeat(9999)), [no, "not known"]);
    refused(Path::new(RPROF), [no, "a program"]);
    refused(&file("gzip", &gzip()), [no, "gzip"]);
    refused(&file("perf.data", &[b"PERFILE2", &[0u8; 200][..]].concat()), [no, "perf"]);
    refused(&file("picture", b"<?xml version=\"1.0\"?><svg/>"), [no, "XML"]);
    refused(&file("start", b"SQLite format 3\0"), [no, "only its first bytes"]);
    refused(Path::new("/dev/null"), [no]);
    refused(Path::new("/dev/zero"), [no]);
}

#[test]
fn other_databases_are_told_from_recordings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE meta (key TEXT, value TEXT);").unwrap();
    drop(db);
    refused(&path, ["another program"]);
    // With our mark, but nothing in it.
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA application_id = 0x72707266; PRAGMA user_version = 2;").unwrap();
    drop(db);
    refused(&path, ["damaged"]);
}

#[test]
fn a_newer_format_is_said_to_be_newer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("newer");
    fs::copy(kept_recording(), &path).unwrap();
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA user_version = 4000;").unwrap();
    drop(db);
    refused(&path, ["format 4000", "newer rprof", "reads up to "]);
}

#[test]
fn the_format_before_the_first_release_is_said_to_be_that() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("older");
    fs::copy(kept_recording(), &path).unwrap();
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA user_version = 1;").unwrap();
    drop(db);
    refused(&path, ["format 1", "first release", "record anew"]);
}

#[test]
fn a_recording_without_samples_is_said_to_have_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hollow");
    fs::copy(kept_recording(), &path).unwrap();
    let db = Connection::open(&path).unwrap();
    let zero = "UPDATE meta SET value = json_set(value, '$.samples', 0) WHERE key LIKE 'stats/%'";
    db.execute_batch(&format!("DELETE FROM window; {zero};")).unwrap();
    drop(db);
    refused(&path, ["holds no samples"]);
}
