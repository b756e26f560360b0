//! `list`.

use serde_json::Value;

use crate::{
    at,
    common::{
        command::{rprof, run},
        workload::{Process, Workshop, require_root, wait_until},
    },
};

fn list(words: &[&str]) -> String {
    let ran = run(rprof(["list"]).args(words));
    ran.ok().to_owned()
}

#[test]
fn functions_of_a_file_with_what_they_take() {
    let shop = Workshop::new();
    let program = shop.c("probe");
    let found = list(&[&at("uprobe", &program, "give_*")]);
    let names: Vec<&str> = found.lines().map(|line| line.rsplit(':').next().unwrap()).collect();
    assert_eq!(names.len(), 3, "{found}");
    for name in ["give_text", "give_large", "give_nothing"] {
        assert!(names.contains(&name), "{found}");
    }
    let found = list(&["-l", &at("uprobe", &program, "take_all")]);
    assert!(found.contains("(int8_t small, uint16_t medium, char * text, _Bool yes,"), "{found}");
    let found = list(&["--json", &at("uprobe", &program, "choice")]);
    let choice: Value = serde_json::from_str(found.trim()).unwrap();
    assert!(choice["also"].as_str().unwrap().contains("not to be probed"), "{choice}");
}

#[test]
fn names_of_cpp_are_shown_both_ways_and_taken_both_ways() {
    let shop = Workshop::new();
    let program = shop.compile("c++", "names.cpp", "names", &["-O1", "-g"]);
    let found = list(&[&at("uprobe", &program, "*::*")]);
    let line = found.lines().find(|line| line.contains(":_Z")).unwrap();
    let mut words = line.split_whitespace();
    let (symbol, name) = (words.next().unwrap(), words.next().unwrap());
    assert!(name.contains("::"), "{line}");
    if require_root() {
        // Either is found; a pattern of the first is not, which would be another kind of mistake.
        for probe in [symbol, &at("uprobe", &program, name)] {
            let ran = run(&mut rprof(["trace", "-d", "10ms", "-e", probe]));
            assert_eq!(ran.code(), 0, "{}", ran.err);
        }
    }
}

#[test]
fn usdt_probes_with_their_places() {
    let shop = Workshop::new();
    let program = shop.c("probe");
    let found = list(&["-l", &at("usdt", &program, "*")]);
    assert_eq!(found.matches(":probe:twice\n").count(), 1, "{found}");
    assert!(found.contains(": 4@%ebx\n") && found.contains(": 4@%edi\n"), "{found}");
    assert!(found.contains(": -4@%eax 8@%rdx 8@$-5 -8@8(%rcx) 8f@%xmm0 2@%si\n"), "{found}");
}

#[test]
fn sources_events_and_tracepoints_by_a_part_of_their_names() {
    if !require_root() {
        return;
    }
    let found = list(&["switch"]);
    for name in ["perf:context-switches ", "tracepoint:sched:sched_switch\n"] {
        assert!(found.contains(name), "{found}");
    }
    assert!(list(&["runq*"]).starts_with("runqlat "));
    let found = list(&["-l", "tracepoint:sched:sched_process_exec"]);
    assert!(found.contains("    __data_loc char[] filename\n"), "{found}");
    assert!(list(&[]).lines().count() > 500);
}

#[test]
fn a_library_of_a_process_by_its_name() {
    if !require_root() {
        return;
    }
    let process = Process::start(std::process::Command::new("sleep").arg("100"));
    let pid = process.id().to_string();
    // It maps it soon after it has become what it is.
    let found = wait_until("the library to be mapped", || {
        let ran = run(&mut rprof(["list", "-p", &pid, "uprobe:c:nanosle??"]));
        (ran.code() == 0).then(|| ran.text().to_owned())
    });
    assert!(found.contains("uprobe:c:nanosleep\n"), "{found}");
}
