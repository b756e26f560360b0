//! What packages carry beside the program, and what the program says of itself.

use std::{fs, process::Command};

use regex::Regex;

use super::common::command::{RPROF, has, rprof, run};

/// The commands that help lists.
fn commands() -> Vec<String> {
    let help = run(&mut rprof(["--help"])).ok().to_owned();
    let list = help.split_once("Commands:\n").unwrap().1;
    let lines = list.lines().take_while(|line| !line.is_empty());
    // A line that goes on is indented further.
    let first = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = first.map(|line| line.split_whitespace().next().unwrap().to_owned());
    names.filter(|name| name != "help").collect()
}

#[test]
fn each_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man");
    run(&mut rprof(["man", pages.to_str().unwrap()])).ok();
    let commands = commands();
    assert!(commands.len() > 9, "{commands:?}");
    for name in &commands {
        let page = fs::read_to_string(pages.join(format!("rprof-{name}.1"))).unwrap();
        assert!(page.contains("SYNOPSIS") && page.contains(&format!("rprof\\-{name}")), "{page}");
    }
    let whole = fs::read_to_string(pages.join("rprof.1")).unwrap();
    assert!(whole.contains("rprof\\-record(1)"), "{whole}");
    let record = fs::read_to_string(pages.join("rprof-record.1")).unwrap();
    assert!(record.contains("\\-\\-cgroup"), "{record}");
    let count = super::files(&pages).len();
    assert_eq!(count, commands.len() + 1, "{:?}", super::files(&pages));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    run(&mut rprof(["man", "/dev/null/man"])).fails(1, ["/dev/null/man", "Not a directory"]);
}

#[test]
fn each_shell_completes_all_that_help_lists_and_nothing_else() {
    let hidden = Regex::new(r"start-when-told|\bchild\b").unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let text = run(&mut rprof(["completions", shell])).ok().to_owned();
        for name in commands() {
            assert!(text.contains(&name), "{shell}: no {name}");
        }
        assert!(text.contains("cgroup"), "{shell}");
        assert_eq!(hidden.find(&text), None, "{shell}");
    }
    run(&mut rprof(["completions", "tcsh"])).fails(2, ["tcsh", "bash", "zsh", "fish"]);
}

#[test]
fn bash_completes_a_command_and_its_words() {
    if !has("bash") {
        return;
    }
    let complete = |words: &str, last: usize| {
        let script = format!(
            "source <({RPROF} completions bash); COMP_WORDS=({words}); COMP_CWORD={last}
             _rprof rprof \"${{COMP_WORDS[last]}}\" \"${{COMP_WORDS[{last} - 1]}}\"
             echo \"${{COMPREPLY[@]}}\""
        );
        let script = script.replace("[last]", &format!("[{last}]"));
        run(Command::new("bash").args(["--norc", "-c", &script])).ok().trim().to_owned()
    };
    assert_eq!(complete("rprof rec", 1), "record");
    assert_eq!(complete("rprof report --focu", 2), "--focus");
}

#[test]
fn the_version_is_short_or_tells_of_what_it_was_made() {
    let short = run(&mut rprof(["-V"])).ok().to_owned();
    assert_eq!(short, concat!("rprof ", env!("CARGO_PKG_VERSION"), "\n"));
    let long = run(&mut rprof(["--version"])).ok().to_owned();
    assert!(long.starts_with(short.trim_end()), "{long}");
    for fact in ["\ncommit: ", "\nbuild: x86_64-linux, ", "\nlibbpf: 1.", "\nsources: "] {
        assert!(long.contains(fact), "no {fact:?} in {long}");
    }
    assert!(long.contains(" cpu "), "{long}");
}
