//! `trace -e`.

use serde_json::{Value, json};

use crate::{
    at,
    common::{
        command::{rprof, run},
        workload::{C_FLAGS, Workshop, require_root},
    },
    tracer::{Traced, text, trace},
};

const CALLS: usize = 1000;
const TEXTS: [&str; 4] = ["one", "a\\b\"c", "", "grüß\u{1b}[31m"];

fn traced(shop: &Workshop, probes: &[&str], command: &[&str]) -> Traced {
    let words: Vec<&str> = probes.iter().flat_map(|probe| ["-e", *probe]).collect();
    trace(shop, &words, command).whole()
}

fn args<'a>(traced: &'a Traced, probe: &str) -> Vec<&'a Value> {
    traced.of(|event| event["event"] == probe).into_iter().map(|event| &event["args"]).collect()
}

#[test]
fn every_call_is_told_with_its_arguments_and_result() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.c("probe");
    let all = at("uprobe", &program, "take_all");
    let all_back = at("uprobe", &program, "take_all/ret");
    let text_back = at("uprobe", &program, "give_text/ret");
    let large = at("uprobe", &program, "give_large");
    let large_back = at("uprobe", &program, "give_large/ret");
    let nothing = at("uprobe", &program, "give_nothing");
    let probes = [&all[..], &all_back, &text_back, &large, &large_back, &nothing];
    let calls = CALLS.to_string();
    let traced = traced(&shop, &probes, &[text(&program), "calls", &calls]);
    let found = probes.map(|probe| args(&traced, probe));
    let mut counter = 0i32;
    for i in 0..CALLS {
        let said = TEXTS[i % 4];
        assert_eq!(
            *found[0][i],
            json!({
                "small": -3, "medium": 60000, "text": said, "yes": i % 2 == 1,
                "negative": -(1i64 << 40), "address": "0x1234",
                // Floating point is out of reach of a probe, and takes no other's place.
                "real": null,
                "seventh": i, "eighth": format!("{:#x}", u64::MAX - i as u64),
            })
        );
        let flag = (i % 2) as i32;
        counter += -3 + 60000 + said.len() as i32 + flag + 1 + 1 + i as i32 + (-1 - i as i32);
        assert_eq!(*found[1][i], json!({ "result": -counter }));
        assert_eq!(*found[2][i], json!({ "result": format!("text {i}") }));
        assert_eq!(*found[3][i], json!({ "number": i }));
        assert_eq!(*found[4][i], json!({ "result": null }));
        assert_eq!(*found[5][i], json!({ "number": -counter }));
        counter += i32::from(b't') + 2 * i as i32;
    }
    assert!(found.iter().all(|one| one.len() == CALLS));
    // All of them in the order in which they came.
    let order: Vec<&Value> = traced.events.iter().take(6).map(|event| &event["event"]).collect();
    assert_eq!(order, [&all, &all_back, &nothing, &text_back, &large, &large_back]);
}

#[test]
fn without_debug_information_registers_are_told() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.build("probe", "plain", &["-O1", "-pthread"]);
    let probes =
        [&at("uprobe", &program, "take_all")[..], &at("uprobe", &program, "give_text/ret")];
    let traced = traced(&shop, &probes, &[text(&program), "calls", "1"]);
    let arguments = args(&traced, probes[0])[0];
    for (name, value) in [("arg1", "0xea60"), ("arg3", "0x0"), ("arg5", "0x1234")] {
        assert_eq!(arguments[name], value, "{arguments}");
    }
    assert_eq!(arguments["arg4"], format!("{:#x}", -1i64 << 40));
    assert!(args(&traced, probes[1])[0]["result"].as_str().unwrap().starts_with("0x"));
}

#[test]
fn arguments_of_usdt_probes_are_decoded() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.c("probe");
    let [plain, twice, dash] =
        ["probe:plain", "probe:twice", "probe:with-dash"].map(|name| at("usdt", &program, name));
    let command = [text(&program), "marks", "300"];
    let traced = traced(&shop, &[&plain, &twice, &dash], &command);
    let [plain, twice, dash] = [plain, twice, dash].map(|probe| args(&traced, &probe));
    assert_eq!([plain.len(), twice.len(), dash.len()], [300; 3]);
    for i in 0..300i64 {
        let expected = json!({
            "arg0": -i, "arg1": "marked", "arg2": -5, "arg3": 9 * i, "arg4": null,
            // Of the register, two bytes are the probe's.
            "arg5": i,
        });
        assert_eq!(*plain[i as usize], expected);
        // It has two places, with its argument in another register at each.
        assert_eq!(*twice[i as usize], json!({ "arg0": i }));
        assert_eq!(*dash[i as usize], json!({}));
    }
}

#[test]
fn fields_of_tracepoints_are_decoded() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (program, folder) = (shop.c("unlink"), shop.path("files"));
    std::fs::create_dir(&folder).unwrap();
    let exec = "tracepoint:sched:sched_process_exec";
    let (enter, exit) =
        ("tracepoint:syscalls:sys_enter_unlinkat", "tracepoint:syscalls:sys_exit_unlinkat");
    let traced = traced(&shop, &[exec, enter, exit], &[text(&program), text(&folder)]);
    let execs = args(&traced, exec);
    assert_eq!(execs.len(), 1);
    assert_eq!(execs[0]["filename"], text(&program));
    assert_eq!(execs[0]["pid"], traced.events[0]["pid"]);
    let (enters, exits) = (args(&traced, enter), args(&traced, exit));
    assert_eq!((enters.len(), exits.len()), (60, 60));
    let named = |name| enters.iter().filter(|one| one["pathname"] == name).count();
    assert_eq!((named("b"), named("d")), (40, 20));
    let removed = enters.iter().find(|one| one["pathname"] == "d").unwrap();
    // AT_FDCWD and AT_REMOVEDIR.
    assert_eq!((&removed["dfd"], &removed["flag"]), (&json!(-100), &json!(0x200)));
    assert_eq!(exits.iter().filter(|one| one["ret"] == 0).count(), 40);
    assert_eq!(exits.iter().filter(|one| one["ret"] == -2).count(), 20);
}

#[test]
fn probes_go_with_named_events_and_with_system_calls() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.c("probe");
    let probe = at("uprobe", &program, "give_nothing");
    let words = ["exec,syscalls", "-e", &probe, "-e", "execve,exit_group"];
    let traced = trace(&shop, &words, &[text(&program), "calls", "3"]).whole();
    let kinds: Vec<&str> =
        traced.events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == probe).count(), 3, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "exec").count(), 1, "{kinds:?}");
    assert_eq!(traced.count("call", "exit_group"), 1);
    assert_eq!(traced.count("call", "write"), 0);
    let times = traced.events.iter().map(|event| event["time"].as_f64().unwrap());
    assert!(times.is_sorted());
}

#[test]
fn events_of_perf_tell_where_they_happened() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.c("probe");
    let probe = "perf:context-switches";
    let traced = traced(&shop, &[probe], &[text(&program), "sleep", "20"]);
    let switches = args(&traced, probe);
    assert!(switches.len() >= 20, "{}", switches.len());
    assert!(switches.iter().all(|one| one["ip"].as_str().unwrap().starts_with("0x")));
}

#[test]
fn texts_of_programs_reach_no_terminal_as_they_are() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.build("probe", "probe", &[&C_FLAGS[..], &["-pthread"]].concat());
    let probe = at("uprobe", &program, "take_all");
    let (program, file) = (text(&program), shop.path("lines"));
    let words = ["trace", "-e", &probe, "-o", text(&file), "--", program, "calls", "4"];
    run(&mut rprof(words)).ok();
    let lines = std::fs::read_to_string(file).unwrap();
    assert_eq!(lines.lines().count(), 5, "{lines}");
    let last = lines.lines().last().unwrap();
    assert!(last.contains("small=-3 medium=60000 text=\"grüß\\x1b[31m\" yes=true"), "{last}");
    assert!(lines.contains("text=\"a\\\\b\\\"c\""), "{lines}");
}
