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

#[test]
fn what_got_too_much_is_an_exit_status_of_its_own() {
    let kept = kept();
    let judge =
        |words: &[&str]| run(rprof(["diff", &kept, &kept, "--fail-above", "5%"]).args(words));
    for words in [&[][..], &["--same-work"], &["--confidence", "50%"]] {
        let ran = judge(words);
        assert_eq!(ran.code(), 0, "{}", ran.err);
        assert!(ran.err.contains("rprof: passed: nothing got 5% more"), "{}", ran.err);
    }
    // A tenth of a second against all of it, as if both had done the same work.
    let ran = judge(&["--base-to", "100ms", "--same-work", "--json"]);
    assert_eq!(ran.code(), 3, "{}", ran.err);
    assert!(ran.err.contains("rprof: failed: the whole"), "{}", ran.err);
    let diff: serde_json::Value = serde_json::from_str(ran.text()).unwrap();
    let verdict = &diff["verdict"];
    assert_eq!((&verdict["passed"], &verdict["confidence"]), (&false.into(), &0.99.into()));
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let total = &verdict["total"];
    let grown = number(&total["new"]) / number(&total["base"]) - 1.0;
    assert!((number(&total["growth"]) - grown).abs() < 1e-9, "{total}");
    assert!(number(&total["at_least"]) < grown && number(&total["at_least"]) > 0.05, "{total}");
    // As shares the same two need not differ, and the surer one has to be, the less is too much.
    let failed = |confidence: &str| {
        let words = ["--base-to", "1s", "--same-work", "--json", "--confidence", confidence];
        let diff: serde_json::Value = serde_json::from_str(judge(&words).text()).unwrap();
        diff["verdict"]["functions"].as_array().unwrap().len()
    };
    assert!(failed("99.9999%") <= failed("60%") && failed("60%") > 0);
    for wrong in [&["--confidence", "20%"][..], &["--confidence", "1"], &["--markdown", "--json"]] {
        assert_eq!(judge(wrong).code(), 2);
    }
    let alone = run(&mut rprof(["diff", &kept, &kept, "--same-work"]));
    assert_eq!(alone.code(), 2);
}

#[test]
fn what_a_pipeline_keeps_is_the_same_each_time() {
    let kept = kept();
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("diff.svg");
    let written = || {
        let mut command = rprof(["diff", &kept, "--base-to", "1s", "--from", "1s", "--markdown"]);
        let ran = run(command.args(["--all", "--fail-above", "5%", "--svg"]).arg(&svg));
        assert!([0, 3].contains(&ran.code()), "{}", ran.err);
        (ran.text().to_owned(), std::fs::read_to_string(&svg).unwrap())
    };
    let (markdown, picture) = written();
    assert!(markdown.starts_with("**rprof: "), "{markdown}");
    assert!(markdown.contains("| more | base | new | z | function |\n|--:|"), "{markdown}");
    for text in ["<svg", "what changed", ">more of its own</text>", "rgb(255,"] {
        assert!(picture.contains(text), "{text}");
    }
    for _ in 0..3 {
        assert_eq!(written(), (markdown.clone(), picture.clone()));
    }
    let nowhere = run(&mut rprof(["diff", &kept, &kept, "--svg", "/nowhere/x.svg"]));
    nowhere.fails(1, ["cannot write /nowhere/x.svg"]);
}
