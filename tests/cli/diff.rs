//! `rprof diff`: of equals nothing, of two times what changed, and what to type where it is said
//! wrong.

use super::common::command::{kept_recording, rprof, run};

fn kept() -> String {
    kept_recording().to_str().unwrap().to_owned()
}

fn changes(words: &[&str]) -> serde_json::Value {
    let kept = kept();
    let mut command = rprof(["diff", &kept, "--json"]);
    serde_json::from_slice(run(command.args(words)).ok_bytes()).unwrap()
}

#[test]
fn equals_do_not_differ() {
    let kept = kept();
    let ran = run(&mut rprof(["diff", &kept, &kept]));
    assert_eq!(ran.ok().matches("no change that sampling noise does not explain").count(), 2);
    let diff = changes(&[&kept]);
    let functions = diff["functions"].as_array().unwrap();
    assert!(functions.len() > 5);
    assert!(functions.iter().all(|one| one["change"] == 0.0 && one["significant"] == false));
}

#[test]
fn two_times_of_one_recording_make_up_each_side() {
    let diff = changes(&["--base-to", "1s", "--from", "1s"]);
    let sum = |side: &str| -> u64 {
        let functions = diff["functions"].as_array().unwrap();
        functions.iter().map(|one| one[side].as_u64().unwrap()).sum()
    };
    for side in ["base", "new"] {
        assert!(sum(side) > 0);
        assert_eq!(Some(sum(side)), diff[side]["value"].as_u64());
    }
    let all: f64 = diff["functions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["change"].as_f64().unwrap())
        .sum();
    assert!(all.abs() < 1e-9, "what some got more, others got less: {all}");
}

#[test]
fn a_command_against_another_is_all_change() {
    let diff = changes(&[&kept(), "--base-to", "1s", "--comm", "pastel"]);
    assert!(diff["new"]["samples"].as_u64().unwrap() > 0);
    let text = run(rprof(["diff", &kept(), &kept()]).args(["--all", "-n", "3"]));
    assert!(text.ok().contains("FUNCTION"));
}

#[test]
fn what_is_missing_is_said() {
    let kept = kept();
    run(&mut rprof(["diff", &kept])).fails(1, ["Name a second recording", "--base-from"]);
    run(&mut rprof(["diff", &kept, "/nowhere"])).fails(1, ["no recording /nowhere"]);
    run(&mut rprof(["diff", &kept, &kept, "--comm", "nobody"])).fails(1, ["none of the"]);
}
