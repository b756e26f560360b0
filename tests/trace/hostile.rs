//! What programs say reaches neither the terminal nor a reader of lines as it is.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt};

use crate::{
    common::{
        command::{rprof, run},
        workload::{Workshop, require_root},
    },
    tracer::{text, trace},
};

const NAME: &[u8] = b"a\nb\x1b]0;title\x07\xe2\x80\xaec\xff\xc2\x9b31m";

#[test]
fn paths_and_arguments_are_escaped() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let folder = shop.path("x");
    fs::create_dir(&folder).unwrap();
    let file = folder.join(OsStr::from_bytes(NAME));
    fs::write(&file, "").unwrap();
    let script = format!("cat {}/*; rm {}/*", text(&folder), text(&folder));
    let words = ["trace", "exec,open,unlink", "--", "sh", "-c", &script];
    let ran = run(&mut rprof(words));
    let shown = "a\\nb\\x1b]0;title\\x07\\u{202e}c\\xff\\u{9b}31m";
    // The arguments of two programs, what they do, and the shell's look at the folder.
    assert!(ran.err.matches(shown).count() >= 4, "{}", ran.err);
    assert!(!ran.err.chars().any(|c| c.is_control() && c != '\n'), "{:?}", ran.err);
    assert!(!ran.err.contains('\u{202e}'));
    let head = |line: &str| line.starts_with("TIME") || line.starts_with("rprof: ");
    let stamp = |line: &str| line.as_bytes().get(2) == Some(&b':') && line.len() > 40;
    for line in ran.err.lines() {
        assert!(head(line) || stamp(line), "{line:?}");
    }
    fs::write(&file, "").unwrap();
    let traced = trace(&shop, &["unlink"], &["sh", "-c", &script]).whole();
    let hex: String =
        file.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(traced.count("path_hex", &hex), 1);
    let raw = fs::read_to_string(shop.path("events.json")).unwrap();
    assert!(!raw.chars().any(|c| c.is_control() && c != '\n'), "{raw:?}");
    assert!(!raw.contains('\u{202e}'));
}

#[test]
fn pointers_that_cannot_be_read_are_no_paths() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let script = "import ctypes; call = ctypes.CDLL(None).syscall\n\
                  for nr in (2, 87, 84): call(nr, ctypes.c_void_p(8), 0, 0)\n\
                  call(257, -100, ctypes.c_void_p(-1), 0, 0)\n\
                  call(257, 12345, b'x', 0, 0)\n\
                  call(437, -100, b'/etc/hostname', ctypes.c_void_p(8), 24)\n";
    let python = ["python3", "-c", script];
    if !crate::common::command::has("python3") {
        return;
    }
    let traced = trace(&shop, &["open,unlink"], &python).whole();
    let faults = traced.of(|event| event["error"] == "EFAULT" && event["path"].is_null());
    assert_eq!(faults.len(), 4);
    assert!(faults.iter().all(|event| event["resolved"].is_null()));
    let closed = traced.of(|event| event["error"] == "EBADF" && event["path"] == "x");
    assert_eq!(closed.len(), 1);
    assert!(closed[0]["resolved"].is_null());
    assert_eq!(
        traced.of(|event| event["error"] == "EFAULT" && event["call"] == "openat2").len(),
        1
    );
}

#[test]
fn a_path_of_any_length_and_depth_is_told_or_said_to_be_cut() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let script = format!(
        "cd {}; for i in $(seq 60); do mkdir name; cd name; done; : > file; : < file; : < {}",
        text(&shop.path("")),
        "./".repeat(3000)
    );
    let traced = trace(&shop, &["open"], &["sh", "-c", &script]);
    let opens = traced.of(|event| event["path"] == "file" && event["flags"] == "O_RDONLY");
    assert_eq!(opens.len(), 1);
    let resolved = opens[0]["resolved"].as_str().unwrap();
    // It has more names than are followed: the last ones are there.
    assert_eq!(resolved, format!("...{}/file", "/name".repeat(47)));
    assert_eq!(traced.count("error", "ENAMETOOLONG"), 1);
}
