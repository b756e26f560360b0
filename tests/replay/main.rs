//! From a recording that is kept in the repository to every output, without root: golden files,
//! views that have to add up, and `go tool pprof`.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod go;
mod golden;
mod message;
mod view;

use std::collections::BTreeMap;

use common::command::{kept_recording, rprof, run};

/// The standard output of `rprof COMMAND RECORDING WORDS`.
fn show(command: &str, words: &[&str]) -> Vec<u8> {
    let mut rprof = rprof([command]);
    let ran = run(rprof.arg(kept_recording()).args(words));
    assert_eq!(ran.err, "");
    ran.ok_bytes().to_vec()
}

/// Folded stacks, root first, with their samples.
type Folded = BTreeMap<Vec<String>, u64>;

/// The stacks of a view.
fn folded(view: &[&str]) -> Folded {
    let text = String::from_utf8(show("export", &[&["-f", "folded"], view].concat())).unwrap();
    let line = |line: &str| {
        let (stack, count) = line.rsplit_once(' ').unwrap();
        (stack.split(';').map(Into::into).collect(), count.parse().unwrap())
    };
    text.lines().map(line).collect()
}

fn samples(folded: &Folded) -> u64 {
    folded.values().sum()
}
