//! The shape of the house: what the design promises of its files, so that nobody has to remember
//! it. A new source fails here until it has all that a source has.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use regex::Regex;
use rprof::sources::SOURCES;

/// The most lines that a file of code may have.
const LINES: usize = 600;

/// The one address of unsafe code.
const UNSAFE: &str = "profiler/bpf.rs";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` that ends in one of `endings`, with its path from the root.
fn files(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let built =
                name.starts_with('.') || ["target", "node_modules", "golden"].contains(&name);
            if path.is_dir() && !built {
                folders.push(path);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no {endings:?} in {folder}");
    found
}

/// What all sources share is no source itself, nor is what makes one of any probe.
const SHARED: [&str; 4] = ["base", "probe", "probeline", "probetime"];

/// The names of all `bpf/NAME.bpf.c` that are sources.
fn kernel_halves() -> Vec<String> {
    let name = |path: &str| path.strip_prefix("bpf/")?.strip_suffix(".bpf.c").map(str::to_owned);
    let halves = files("bpf", &[".bpf.c"]);
    let names = halves.iter().map(|(path, _)| name(path).unwrap());
    names.filter(|name| !SHARED.contains(&&**name)).collect()
}

/// Fails with everything that is wrong, not with the first of it alone.
fn nothing(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn missing(path: PathBuf) -> Option<String> {
    (!path.exists())
        .then(|| format!("there is no {}", path.strip_prefix(root()).unwrap().display()))
}

#[test]
fn a_source_has_two_halves_and_a_row_in_the_table() {
    let kernel = kernel_halves();
    let table: Vec<&str> = SOURCES.iter().map(|source| source.name()).collect();
    let mut wrong = Vec::new();
    for name in &kernel {
        wrong.extend(missing(root().join(format!("profiler/sources/{name}.rs"))));
        if !table.contains(&&**name) {
            wrong.push(format!("bpf/{name}.bpf.c is in no row of SOURCES"));
        }
    }
    for name in &table {
        wrong.extend(missing(root().join(format!("bpf/{name}.bpf.c"))));
    }
    nothing(wrong);
}

#[test]
fn a_source_has_a_workload() {
    let folder = root().join("tests/workloads");
    let entries: Vec<String> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let without = kernel_halves().into_iter().filter(|name| {
        !entries.iter().any(|file| file.split_once('.').is_some_and(|(stem, _)| stem == name))
    });
    nothing(without.map(|name| format!("there is no tests/workloads/{name}.*")).collect());
}

#[test]
fn a_source_has_a_row_in_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).expect("there is a README.md");
    let row = |name: &String| {
        let row = Regex::new(&format!(r"(?m)^\|.*`{}`.*\|", regex::escape(name))).unwrap();
        !row.is_match(&readme)
    };
    let without = kernel_halves().into_iter().filter(row);
    nothing(without.map(|name| format!("no table in README.md has a row with `{name}`")).collect());
}

#[test]
fn unsafe_has_one_address() {
    let keyword = Regex::new(r"\bunsafe\s*(\{|fn\b|impl\b|trait\b|extern\b)").unwrap();
    let allowed = Regex::new(r"(allow|expect)\(.*\bunsafe_code\b").unwrap();
    let mut wrong = Vec::new();
    for (path, text) in files(".", &[".rs"]).iter().filter(|(path, _)| path != UNSAFE) {
        for (number, line) in (1..).zip(text.lines()) {
            let code = line.split("//").next().unwrap_or_default();
            if keyword.is_match(code) || allowed.is_match(code) {
                wrong.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    nothing(wrong);
}

#[test]
fn a_module_says_what_it_is_for() {
    let silent = files(".", &[".rs"]).into_iter().filter(|(_, text)| !text.starts_with("//! "));
    nothing(silent.map(|(path, _)| format!("{path} does not open with //!")).collect());
}

#[test]
fn no_file_is_too_long() {
    let code = files(".", &[".rs", ".c", ".h", ".cc", ".cpp", ".js", ".css", ".sh"]);
    let long = code.into_iter().filter(|(_, text)| text.lines().count() > LINES);
    nothing(
        long.map(|(path, text)| format!("{path} has {} lines", text.lines().count())).collect(),
    );
}

#[test]
fn kernel_code_names_its_licence_first() {
    let wanted = "SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause";
    let silent = files("bpf", &[".c", ".h"])
        .into_iter()
        .filter(|(_, text)| !text.lines().next().is_some_and(|line| line.contains(wanted)));
    nothing(silent.map(|(path, _)| format!("{path}: line 1 is not {wanted}")).collect());
}
