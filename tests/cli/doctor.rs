//! `rprof doctor`: a table for people, and the same for programs.

use serde_json::Value;

use super::common::command::{is_root, rprof, run};

/// Each thing that rprof can use, by its name in both.
const NAMES: [&str; 12] = [
    "privileges",
    "BTF",
    "BPF ring buffer",
    "perf events",
    "hardware counters",
    "cgroup2",
    "kernel symbols",
    "paranoid level",
    "uprobes",
    "uprobe multi",
    "uprobe session",
    "tracefs",
];

#[test]
fn what_is_missing_comes_with_what_is_lost_and_how_to_get_it() {
    let ran = run(&mut rprof(["doctor", "--json"]));
    let checks: Vec<Value> = serde_json::from_slice(&ran.out).unwrap();
    for name in NAMES {
        assert!(checks.iter().any(|check| check["name"] == name), "{name}");
    }
    for check in &checks {
        let text = |key: &str| check[key].as_str().unwrap_or_else(|| panic!("{key}: {check}"));
        let verdict = text("verdict");
        assert!(["yes", "less", "no"].contains(&verdict), "{check}");
        assert!(!text("name").is_empty() && !text("found").is_empty(), "{check}");
        assert_eq!(text("lost").is_empty(), verdict == "yes", "{check}");
        assert_eq!(text("remedy").is_empty(), verdict == "yes", "{check}");
    }
    let works = checks.iter().all(|check| check["verdict"] != "no");
    assert_eq!(ran.code(), if works { 0 } else { 1 });
    assert_eq!(ran.err, "");
}

#[test]
fn the_table_says_the_same() {
    let table = run(&mut rprof(["doctor"]));
    let json = run(&mut rprof(["doctor", "--json"]));
    assert_eq!(table.code(), json.code());
    let checks: Vec<Value> = serde_json::from_slice(&json.out).unwrap();
    let lines: Vec<&str> = table.text().lines().collect();
    let missing = checks.iter().filter(|check| check["verdict"] != "yes").count();
    assert_eq!(lines.len(), checks.len() + 2 * missing, "{}", table.text());
    for check in &checks {
        let (name, verdict) = (check["name"].as_str().unwrap(), check["verdict"].as_str().unwrap());
        let row = lines.iter().position(|line| line.get(6..).is_some_and(|l| l.starts_with(name)));
        let row = row.unwrap_or_else(|| panic!("no {name} in {}", table.text()));
        assert!(lines[row].to_lowercase().starts_with(verdict), "{}", lines[row]);
        if verdict != "yes" {
            assert!(lines[row + 1].contains(check["lost"].as_str().unwrap()));
            assert!(lines[row + 2].contains(check["remedy"].as_str().unwrap()));
        }
    }
}

#[test]
fn root_on_this_machine_can_record() {
    if !is_root() {
        return;
    }
    assert_eq!(run(&mut rprof(["doctor"])).code(), 0);
}
