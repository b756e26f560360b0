//! Views: what a view shows and what its opposite shows make up the whole, in every output.

use serde_json::Value;

use super::{Folded, folded, message, samples, show};

/// Adds stacks up.
fn sum(parts: &[Folded]) -> Folded {
    let mut sum = Folded::new();
    for (stack, count) in parts.iter().flatten() {
        *sum.entry(stack.clone()).or_default() += count;
    }
    sum
}

/// Some are left, and not all are.
fn is_part(part: &Folded) {
    assert!(samples(part) > 0 && samples(part) < samples(&folded(&[])));
}

#[test]
fn two_stretches_of_time_make_up_the_whole() {
    for cut in ["300ms", "1s", "1100ms"] {
        let parts = [folded(&["--to", cut]), folded(&["--from", cut])];
        parts.iter().for_each(is_part);
        assert_eq!(sum(&parts), folded(&[]), "{cut}");
    }
    let thirds = [
        folded(&["--to", "0.5s"]),
        folded(&["--from", "0.5s", "--to", "1s"]),
        folded(&["--from", "1s"]),
    ];
    assert_eq!(sum(&thirds), folded(&[]));
    assert_eq!(folded(&["--to", "1h"]), folded(&[]));
}

/// Each process of the recording, from the roots `name (pid)`.
fn pids() -> Vec<String> {
    let mut pids: Vec<String> = folded(&["--by", "process"])
        .into_keys()
        .map(|stack| stack[0].rsplit_once(" (").unwrap().1.trim_end_matches(')').to_owned())
        .collect();
    pids.dedup();
    pids
}

#[test]
fn the_processes_make_up_the_whole() {
    let pids = pids();
    assert_eq!(pids.len(), 2);
    let each: Vec<Folded> = pids.iter().map(|pid| folded(&["-p", pid])).collect();
    each.iter().for_each(is_part);
    assert_eq!(sum(&each), folded(&[]));
    assert_eq!(folded(&["-p", &pids.join(",")]), folded(&[]));
}

#[test]
fn a_name_is_that_of_a_process_or_a_thread() {
    let parts = [folded(&["--comm", "demo"]), folded(&["--comm", "pastel"])];
    parts.iter().for_each(is_part);
    assert_eq!(sum(&parts), folded(&[]));
    for (name, part) in ["demo", "pastel"].iter().zip(&parts) {
        assert!(part.keys().all(|stack| stack[0] == *name));
    }
    let mixer = folded(&["--comm", "mixer", "--by", "thread"]);
    is_part(&mixer);
    assert!(mixer.keys().all(|stack| stack[0].starts_with("mixer (")));
}

#[test]
fn focus_and_ignore_make_up_the_whole() {
    for pattern in ["paint", "^mix$", "getrandom", "^main$", r"\[libplain", "Chalk|scale"] {
        let parts = [folded(&["--focus", pattern]), folded(&["--ignore", pattern])];
        parts.iter().for_each(is_part);
        assert_eq!(sum(&parts), folded(&[]), "{pattern}");
    }
    let both = folded(&["--focus", "main", "--ignore", "paint"]);
    let plain = |frame: &str| frame.split("_[").next().unwrap().to_owned();
    assert!(both.keys().all(|stack| {
        stack.iter().any(|frame| plain(frame).contains("main"))
            && !stack.iter().any(|frame| plain(frame).contains("paint"))
    }));
}

#[test]
fn groups_differ_in_the_root_alone() {
    let below = |view: &[&str]| {
        let mut below = Folded::new();
        for (stack, count) in folded(view) {
            *below.entry(stack[1..].to_vec()).or_default() += count;
        }
        below
    };
    let roots = |view: &[&str]| {
        let mut roots: Vec<String> =
            folded(view).into_keys().map(|stack| stack[0].clone()).collect();
        roots.dedup();
        roots
    };
    for by in ["process", "thread", "cgroup"] {
        assert_eq!(below(&["--by", by]), below(&[]), "{by}");
    }
    assert_eq!(roots(&[]), ["demo", "pastel"]);
    assert_eq!(roots(&["--by", "process"]).len(), 2);
    assert_eq!(roots(&["--by", "thread"]).len(), 3);
    assert_eq!(roots(&["--by", "cgroup"]).len(), 1);
}

#[test]
fn inverted_turns_every_stack_round() {
    let mut turned = Folded::new();
    for (mut stack, count) in folded(&["--inverted"]) {
        stack[1..].reverse();
        *turned.entry(stack).or_default() += count;
    }
    assert_eq!(turned, folded(&[]));
}

#[test]
fn every_output_shows_the_same_samples() {
    for view in [
        &[][..],
        &["--to", "1s"],
        &["--comm", "pastel"],
        &["--focus", "main", "--from", "200ms"],
        &["--ignore", "getrandom", "--by", "thread"],
    ] {
        let expected = samples(&folded(view));
        let export = |format| show("export", &[&["-f", format], view].concat());
        let json = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).unwrap();
        let sum = |list: &Value, key: &str| {
            list.as_array().unwrap().iter().map(|item| item[key].as_u64().unwrap()).sum::<u64>()
        };

        let report = json(show("report", &[view, &["--json"]].concat()));
        assert_eq!(report["samples"], expected, "{view:?}");
        assert_eq!(sum(&report["functions"], "self"), expected, "{view:?}");
        assert_eq!(sum(&report["commands"], "samples"), expected, "{view:?}");

        let table = String::from_utf8(show("report", view)).unwrap();
        assert!(table.contains(&format!("\n{expected} ")), "{view:?}: {table}");

        assert_eq!(sum(&json(export("json"))["stacks"], "samples"), expected, "{view:?}");

        let svg = String::from_utf8(show("flamegraph", view)).unwrap();
        assert!(svg.contains(&format!("total_samples=\"{expected}\"")), "{view:?}");

        let text = message::text(&export("pprof"));
        let counts = text.lines().filter_map(|line| line.strip_prefix('[')?.split_once(','));
        let count: u64 = counts.map(|(count, _)| count.parse::<u64>().unwrap()).sum();
        assert_eq!(count, expected, "{view:?}");
    }
}

#[test]
fn a_type_of_value_counts_by_it() {
    let report: Value = serde_json::from_slice(&show("report", &["--json"])).unwrap();
    assert_eq!(folded(&["--type", "samples"]), folded(&[]));
    let values = folded(&["--type", "cpu"]);
    assert_eq!(Some(samples(&values)), report["value"].as_u64());
    assert!(values.keys().eq(folded(&[]).keys()));
    let svg = String::from_utf8(show("flamegraph", &["--type", "cpu"])).unwrap();
    assert!(svg.contains(" nanoseconds, 100%)</title>"));
}

#[test]
fn labels_select_and_group() {
    for label in
        ["comm", "process", "exe", "cmdline", "uid", "cgroup", "container", "unit", "service"]
    {
        let shown = folded(&["--by", label]);
        assert_eq!(samples(&shown), samples(&folded(&[])), "{label}");
        // Each value by itself is what its root has.
        let roots: std::collections::BTreeSet<&String> =
            shown.keys().map(|stack| &stack[0]).collect();
        for root in roots {
            let value = if root.starts_with("[no ") { "" } else { root };
            let only = folded(&["--by", label, "--only", &format!("{label}={value}")]);
            let expected: Folded = shown
                .iter()
                .filter(|(stack, _)| stack[0] == *root)
                .map(|(s, n)| (s.clone(), *n))
                .collect();
            assert_eq!(only, expected, "{label}={value}");
        }
    }
    let bare = folded(&["--by", "none"]);
    assert_eq!(samples(&bare), samples(&folded(&[])));
    assert!(bare.keys().all(|stack| stack[0] != "demo" && stack[0] != "pastel"));
}
