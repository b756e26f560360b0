//! `open` and `unlink`.

use std::fs;

use crate::{
    common::workload::{Workshop, require_root},
    tracer::{text, trace},
};

#[test]
fn every_open_is_seen_with_its_path_and_result() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (program, folder) = (shop.c("open"), shop.path("files"));
    fs::create_dir_all(folder.join("inside")).unwrap();
    fs::write(folder.join("file"), "").unwrap();
    let folder = fs::canonicalize(&folder).unwrap();
    let traced = trace(&shop, &["open"], &[text(&program), text(&folder), "1000"]).whole();
    let under = |event: &serde_json::Value| {
        event["resolved"].as_str().is_some_and(|path| path.starts_with(text(&folder)))
            && event["path"] != "inside"
    };
    let opens = traced.of(under);
    assert_eq!(opens.len(), 1000);
    assert_eq!(opens.iter().filter(|event| event["error"] == "ENOENT").count(), 100);
    for (call, given, missing) in [
        ("open", "file", "not-there"),
        ("openat", "file", "not-there"),
        ("openat2", "../file", "../not-there"),
        ("creat", "created", "new-not-there/x"),
    ] {
        let of =
            |path| move |event: &&serde_json::Value| event["call"] == call && event["path"] == path;
        let right: Vec<_> = opens.iter().copied().filter(|event| of(given)(event)).collect();
        assert_eq!(right.len(), 225, "{call}");
        let name = given.trim_start_matches("../");
        for event in right {
            assert!(event["result"].as_i64().unwrap() >= 0);
            assert_eq!(event["resolved"], text(&folder.join(name)));
        }
        let wrong: Vec<_> = opens.iter().copied().filter(|event| of(missing)(event)).collect();
        assert_eq!(wrong.len(), 25, "{call}");
        assert!(wrong.iter().all(|event| event["result"] == -2));
        // What is not there is told as it was looked for.
        let base = if call == "openat2" { folder.join("inside") } else { folder.clone() };
        assert_eq!(wrong[0]["resolved"], text(&base.join(missing)));
    }
    let flags = |call, flags| traced.of(|e| e["call"] == call && e["flags"] == flags).len();
    assert!(flags("openat", "O_RDONLY|O_CLOEXEC") >= 250);
    assert_eq!(flags("creat", "O_WRONLY|O_CREAT|O_TRUNC"), 250);
    assert_eq!(traced.of(|e| e["call"] == "creat" && e["mode"] == "0640").len(), 250);
}

#[test]
fn only_what_failed_on_request() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (program, folder) = (shop.c("open"), shop.path("files"));
    fs::create_dir_all(folder.join("inside")).unwrap();
    fs::write(folder.join("file"), "").unwrap();
    let options = ["open", "--failed"];
    let traced = trace(&shop, &options, &[text(&program), text(&folder), "1000"]).whole();
    assert!(traced.events.iter().all(|event| event["result"].as_i64().unwrap() < 0));
    let ours = traced.of(|event| event["path"].as_str().unwrap().contains("not-there"));
    assert_eq!(ours.len(), 100);
}

#[test]
fn a_link_is_followed_to_what_it_leads_to() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let deep = shop.path("one/two/three");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("real"), "").unwrap();
    std::os::unix::fs::symlink(deep.join("real"), shop.path("link")).unwrap();
    let script = format!("cd {}; cat < ../../../link", deep.display());
    let traced = trace(&shop, &["open"], &["sh", "-c", &script]).whole();
    let opens = traced.of(|event| event["path"] == "../../../link");
    assert_eq!(opens.len(), 1);
    let real = fs::canonicalize(deep.join("real")).unwrap();
    assert_eq!(opens[0]["resolved"], text(&real));
}

#[test]
fn every_removal_is_seen() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (program, folder) = (shop.c("unlink"), shop.path("files"));
    fs::create_dir(&folder).unwrap();
    let folder = fs::canonicalize(&folder).unwrap();
    let traced = trace(&shop, &["unlink"], &[text(&program), text(&folder)]).whole();
    assert_eq!(traced.events.len(), 160);
    for (call, path, result, count) in [
        ("unlink", "a", 0, 20),
        ("unlinkat", "b", 0, 20),
        ("rmdir", "c", 0, 20),
        ("rmdir", "d", 0, 20),
        ("unlink", "a", -2, 20),
        ("unlinkat", "b", -2, 20),
        ("rmdir", "c", -2, 20),
        ("rmdir", "/proc", -16, 20),
    ] {
        let these = traced.of(|event| {
            event["call"] == call && event["path"] == path && event["result"] == result
        });
        assert_eq!(these.len(), count, "{call} {path} {result}");
        assert_eq!(these[0]["resolved"], text(&folder.join(path)));
    }
    assert_eq!(traced.count("error", "EBUSY"), 20);
}
