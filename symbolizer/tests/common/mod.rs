//! Programs to symbolize, compiled where the tests run.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Runs a command that must succeed; returns what it printed.
pub fn run(program: &str, arguments: &[&str], directory: &Path) -> String {
    let output = Command::new(program).args(arguments).current_dir(directory).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A folder with a source and the program compiled from it.
pub struct Built {
    pub folder: TempDir,
    pub program: PathBuf,
}

impl Built {
    pub fn new(compiler: &str, source: &str, text: &str, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(source), text).unwrap();
        let mut arguments = vec![source, "-o", "program"];
        arguments.extend(flags);
        run(compiler, &arguments, folder.path());
        let program = folder.path().join("program");
        Self { folder, program }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Addresses of the symbols that `nm` lists.
pub fn symbols(program: &Path) -> HashMap<String, u64> {
    let text = run("nm", &[program.to_str().unwrap()], Path::new("/"));
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        Some((words.nth(1)?.to_owned(), address))
    };
    text.lines().filter_map(parse).collect()
}

/// First addresses of all machine instructions that `objdump` lists.
pub fn instructions(program: &Path) -> Vec<u64> {
    let arguments = ["-d", "--no-show-raw-insn", program.to_str().unwrap()];
    let text = run("objdump", &arguments, Path::new("/"));
    let parse = |line: &str| u64::from_str_radix(line.trim_start().split_once(":\t")?.0, 16).ok();
    text.lines().filter_map(parse).collect()
}

/// A C program with a call that is inlined into another inlined call.
pub const C: &str = r#"
#include <stdio.h>
volatile int sink;
static inline __attribute__((always_inline)) int inner(int x) {
    sink = x;
    return sink * 3;
}
static inline __attribute__((always_inline)) int middle(int x) {
    sink = x + 1;
    return inner(x) + 1;
}
__attribute__((noinline)) int outer(int x) {
    int y = middle(x);
    sink = y;
    return y + sink;
}
int main(int argc, char **argv) {
    int c = outer(argc);
    if (argc > 1) { puts("ready"); fflush(stdout); getchar(); }
    return c == 12345;
}
"#;
