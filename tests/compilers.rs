//! `rprof export -f llvm-sample` and `-f goprofile`: compilers read them, and make another program of the
//! same source. Recording needs root.
#![allow(clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use common::{
    command::{has, rprof, run},
    workload::{Workshop, need, require_root},
};

/// What both builds of the C program are made with.
const FLAGS: [&str; 3] = ["-O2", "-g", "-fdebug-info-for-profiling"];

fn workload(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workloads").join(name)
}

/// Runs a compiler; what it says.
fn compile(command: &mut Command) -> String {
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{command:?}: {said}");
    said
}

fn clang(words: &[&str], output: &Path) {
    let source = workload("pgo.c");
    compile(Command::new("clang").args(FLAGS).args(words).arg("-o").arg(output).arg(source));
}

/// Records a program until it ends, and exports that.
fn profile(shop: &Workshop, program: &Path, format: &str) -> PathBuf {
    let (data, file) = (shop.path("recording"), shop.path(format));
    let mut record = rprof(["record", "-F", "499", "-o"]);
    let ran = run(record.arg(&data).arg("--").arg(program));
    assert_eq!(ran.code(), 0, "{}", ran.err);
    let ran = run(rprof(["export", "-f", format]).arg(&data));
    fs::write(&file, ran.ok_bytes()).unwrap();
    file
}

#[test]
fn clang_inlines_what_is_hot() {
    if !require_root() || !has("clang") {
        return;
    }
    let shop = Workshop::new();
    let program = shop.path("pgo");
    clang(&[], &program);
    let (listing, with) = (shop.path("pgo.ll"), shop.path("llvm-sample"));
    let with = format!("-fprofile-sample-use={}", with.display());
    // The loop of the source calls it, and so does what is hardly ever called.
    let calls = |words: &[&str]| {
        clang(&[words, &["-S", "-emit-llvm"]].concat(), &listing);
        let text = fs::read_to_string(&listing).unwrap();
        let calls = text.lines().filter(|line| line.contains("call ") && line.contains("@step("));
        (calls.count(), text.contains("function_entry_count"), text.contains("branch_weights"))
    };
    assert_eq!(calls(&[]).0, 2);
    assert!(!calls(&[]).1);
    let text = fs::read_to_string(profile(&shop, &program, "llvm-sample")).unwrap();
    let line = |text: &str, pattern: &str| {
        let pattern = regex::Regex::new(&format!("(?m){pattern}")).unwrap();
        assert!(pattern.is_match(text), "{pattern}: {text}");
    };
    line(&text, r"^hot:\d+:\d+$");
    // The call is three lines below that where `hot` begins.
    line(&text, r"^ 3: \d+ step:\d+$");
    line(&text, r"^step:\d+:\d+$");
    line(&text, r"^# \d.* samples = ");
    assert_eq!(calls(&[&with]), (1, true, true));
    // Of the program that was made so, the hot part of it is within its caller.
    clang(&[&with], &program);
    let text = fs::read_to_string(profile(&shop, &program, "llvm-sample")).unwrap();
    line(&text, r"^hot:\d+:\d+\n(?: .*\n)* 3: step:\d+\n(?:  \d+(?:\.\d+)?: \d+\n)+");
    assert!(calls(&[&with]).0 <= 1);

    let export = || run(rprof(["export", "-f", "llvm-sample"]).arg(shop.path("recording")));
    clang(&["-g0"], &program);
    export().fails(1, ["has debug information", "another build by now"]);
    fs::remove_file(&program).unwrap();
    export().fails(1, ["has debug information", "pgo: "]);
}

/// The first Go that compiles by a profile: what is on the path, or what `scripts/setup` got.
fn go() -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools/go/bin/go");
    let minor = |go: &PathBuf| -> Option<u32> {
        let said = Command::new(go).arg("version").output().ok()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        said.split("go1.").nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let known = ["go".into(), tools];
    known.into_iter().find(|go| minor(go).is_some_and(|minor| minor >= 21))
}

#[test]
fn go_inlines_what_is_hot_and_calls_the_usual_type_at_once() {
    let go = go();
    if !require_root() || !need("Go 1.21 or later", go.is_some()) {
        return;
    }
    let (shop, go) = (Workshop::new(), go.unwrap());
    let folder = shop.path("go");
    fs::create_dir(&folder).unwrap();
    fs::copy(workload("pgo.go"), folder.join("main.go")).unwrap();
    fs::write(folder.join("go.mod"), "module pgo\n\ngo 1.21\n").unwrap();
    let build = |with: &str, output: &Path| {
        let mut build = Command::new(&go);
        build.current_dir(&folder).args(["build", "-gcflags=-m=2", with, "-o"]).arg(output);
        compile(build.envs([("GOTOOLCHAIN", "local"), ("GOPROXY", "off"), ("GOFLAGS", "")]))
    };
    let usual = "PGO devirtualizing interface call h.next to (*fast).next";
    let program = folder.join("plain");
    let said = build("-pgo=off", &program);
    assert!(!said.contains("inlining call to step") && !said.contains(usual), "{said}");
    // Under the name that Go looks for.
    let file = profile(&shop, &program, "goprofile");
    fs::rename(file, folder.join("default.pgo")).unwrap();
    let said = build("-pgo=auto", &folder.join("profiled"));
    for line in ["inlining call to step", usual, "inlining call to (*fast).next"] {
        assert!(said.contains(line), "{line}: {said}");
    }
}
