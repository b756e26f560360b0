//! `rprof doctor`: what it says of processes whose code is known.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

fn rprof(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rprof")).args(args).output().unwrap()
}

/// A program that waits until it is dropped.
struct Waiting {
    child: Child,
    _dir: tempfile::TempDir,
}

impl Waiting {
    fn start(source: &str, options: &[&str], strip: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (file, path) = (dir.path().join("waits.c"), dir.path().join("waits"));
        std::fs::write(&file, source).unwrap();
        run(Command::new("cc").arg("-o").args([&path, &file]).args(options));
        if strip {
            run(Command::new("strip").arg(&path));
        }
        let mut child = Command::new(&path).stdout(Stdio::piped()).spawn().unwrap();
        // It says when it has mapped all.
        let mut byte = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut byte).unwrap();
        Self { child, _dir: dir }
    }

    fn codes(&self) -> Vec<Value> {
        let output = rprof(&["doctor", "--json", "-p", &self.child.id().to_string()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

const WAITS: &str = r#"
    #include <sys/mman.h>
    #include <unistd.h>
    int main(void) {
        mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        write(1, "x", 1);
        for (;;) pause();
    }
"#;

fn find<'c>(codes: &'c [Value], end: &str) -> &'c Value {
    codes.iter().find(|code| code["path"].as_str().unwrap().ends_with(end)).unwrap()
}

#[test]
fn tells_of_each_file() {
    let waiting = Waiting::start(WAITS, &["-g", "-O2", "-Wl,--build-id=sha1"], false);
    let codes = waiting.codes();
    let own = find(&codes, "/waits");
    assert_eq!(own["unwind"], "table");
    assert_eq!(own["symbols"], "full");
    assert_eq!(own["debug_info"], true);
    assert_eq!(own["reason"], "");
    assert_eq!(own["build_id"].as_str().unwrap().len(), 40);
    let libc = find(&codes, "/libc.so.6");
    let rows = libc["rows"].as_u64().unwrap();
    assert!(rows > 10_000, "{libc}");
    assert!((4 * rows..5 * rows).contains(&libc["bytes"].as_u64().unwrap()), "{libc}");
    assert_ne!(libc["symbols"], "none");
    assert_eq!(find(&codes, "[vdso]")["unwind"], "table");
    let jit = find(&codes, "[jit]");
    assert_eq!((&jit["unwind"], &jit["symbols"]), (&"frame_pointers".into(), &"none".into()));
    assert!(codes.iter().all(|code| code["pid"] == waiting.child.id()));
    // A file has one entry, however often it is mapped.
    assert_eq!(codes.iter().filter(|code| code["path"] == libc["path"]).count(), 1);
}

#[test]
fn tells_why_there_is_no_table() {
    let bare = [
        "-static",
        "-nostdlib",
        "-nostartfiles",
        "-fno-asynchronous-unwind-tables",
        "-Wl,--build-id=none",
    ];
    let source = r#"
        static long call(long n, long a, long b, long c) {
            long r;
            __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c)
                             : "rcx", "r11", "memory");
            return r;
        }
        void _start(void) { call(1, 1, (long)"x", 1); for (;;) call(34, 0, 0, 0); }
    "#;
    let waiting = Waiting::start(source, &bare, true);
    let codes = waiting.codes();
    let own = find(&codes, "/waits");
    assert_eq!(own["unwind"], "frame_pointers");
    assert_eq!(own["reason"], "no function in .eh_frame or .debug_frame");
    assert_eq!((&own["symbols"], &own["debug_info"]), (&"none".into(), &false.into()));
    assert_eq!((&own["build_id"], &own["rows"]), (&"".into(), &0.into()));
    let output = rprof(&["doctor", "-p", &waiting.child.id().to_string()]);
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains("/waits")).unwrap();
    assert!(line.starts_with("frame pointers "), "{line}");
    assert!(line.ends_with("/waits: no function in .eh_frame or .debug_frame"), "{line}");
}

#[test]
fn several_processes() {
    let one = Waiting::start(WAITS, &[], false);
    let own = std::process::id();
    let pids = format!("{},{own}", one.child.id());
    let output = rprof(&["doctor", "-p", &pids]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let headings: Vec<&str> = text.lines().filter(|line| line.starts_with("process ")).collect();
    assert_eq!(headings, [format!("process {}", one.child.id()), format!("process {own}")]);
}

#[test]
fn processes_that_cannot_be_examined() {
    let output = rprof(&["doctor", "-p", "4194999"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("rprof: no process 4194999; the nearest is "), "{error}");
    // kthreadd, which a container does not show.
    if std::fs::read_to_string("/proc/2/comm").is_ok_and(|comm| comm == "kthreadd\n")
        && Path::new("/proc/2/maps").exists()
    {
        let output = rprof(&["doctor", "-p", "2"]);
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("kernel thread"), "{error}");
    }
}
