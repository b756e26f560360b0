//! A reader that may not write, as the viewer is: beside a writer at work, and after one that was
//! killed.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    common::command::{RPROF, has, is_root, run},
    writer::{EACH, NOBODY, Writer},
};

/// A folder that anybody may look into, with a program that anybody may run.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(RPROF, folder.path().join("rprof")).unwrap();
        fs::set_permissions(folder.path().join("rprof"), fs::Permissions::from_mode(0o755))
            .unwrap();
        Self { folder }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// What nobody, who is in the group that may read, is told; the samples.
    fn read(&self) -> (u64, String) {
        let id = NOBODY.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
        command.arg(self.folder.path().join("rprof")).arg("report").arg(self.store());
        let ran = run(command.arg("--json").current_dir("/"));
        let report: serde_json::Value = serde_json::from_slice(ran.ok_bytes()).unwrap();
        (report["samples"].as_u64().unwrap(), ran.err)
    }
}

/// Names, sizes and times of all files.
fn state(folder: &Path) -> Vec<(String, u64, std::time::SystemTime)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let of = |entry: fs::DirEntry| {
        let metadata = entry.metadata().unwrap();
        (entry.file_name().into_string().unwrap(), metadata.len(), metadata.modified().unwrap())
    };
    let mut state: Vec<_> = entries.map(of).collect();
    state.sort();
    state
}

#[test]
fn a_reader_that_may_not_write_reads_beside_the_writer() {
    if !is_root() || !has("setpriv") {
        return;
    }
    let place = Place::new();
    let mut writer = Writer::start(&place.store(), None);
    writer.wait_for("committed 3");
    let mut before = 3 * EACH;
    for _ in 0..12 {
        let (samples, remarks) = place.read();
        assert_eq!(remarks, "");
        assert!(samples >= before && samples % EACH == 0, "{samples} after {before}");
        before = samples;
    }
    let told = writer.kill();
    assert!(before > 3 * EACH && told * EACH >= before, "{before} of {}", told * EACH);
}

#[test]
fn a_reader_that_may_not_write_reads_past_a_torn_transaction() {
    if !is_root() || !has("setpriv") {
        return;
    }
    let place = Place::new();
    let mut writer = Writer::start(&place.store(), Some(15));
    writer.wait_for("torn");
    writer.kill();
    let before = state(&place.store());
    assert!(before.iter().any(|(name, size, _)| name.ends_with("-journal") && *size > 0));
    assert_eq!(place.read(), (15 * EACH, String::new()));
    assert_eq!(state(&place.store()), before, "a reader writes nothing");
    // Who may write rolls back, and then there is nothing left to copy.
    drop(rprof::store::Folder::open(&place.store(), super::made::LIMITS, None).unwrap());
    assert_eq!(place.read(), (15 * EACH, String::new()));
}

#[test]
fn who_is_not_in_the_group_reads_nothing() {
    if !is_root() || !has("setpriv") {
        return;
    }
    let place = Place::new();
    let mut writer = Writer::start(&place.store(), None);
    writer.wait_for("committed 1");
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "64321", "--regid", "64321", "--clear-groups"]);
    command.arg(place.folder.path().join("rprof")).arg("report").arg(place.store());
    run(command.current_dir("/")).fails(1, ["cannot read", "Permission denied"]);
    writer.kill();
}
