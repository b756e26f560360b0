//! What an agent keeps besides stacks: what happened to processes, without being asked for, bounded
//! in a storm; and histograms where they are asked for.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    agent::{Agent, recordings, rprof},
    workload::{Process, Workshop, require_root, run, wait_until},
};

/// Marks of a source that are kept in a second.
const A_SECOND: u64 = 100;

/// The marks of a source in a store, as `rprof report --json` has them.
fn marks(agent: &Agent, source: &str) -> Vec<Value> {
    let output = rprof().args(["report", "--json", "-s", source]).arg(agent.store()).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What was counted of a lane in the newest recording.
fn counts(agent: &Agent, lane: &str) -> Option<Value> {
    let path = recordings(agent.store()).pop()?;
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let db = rusqlite::Connection::open_with_flags(path, flags).ok()?;
    let query = "SELECT value FROM meta WHERE key = ?1";
    let text: String = db.query_row(query, [format!("counts/{lane}")], |row| row.get(0)).ok()?;
    serde_json::from_str(&text).ok()
}

#[test]
fn what_happens_is_kept_without_being_asked_for() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    // It waits to be told: what others do meanwhile is not to be in the way of the bound.
    let script = "read go; for n in 1 2 3 4 5 6 7 8 9; do /bin/true short-lived $n; done; \
                  sleep 999 & until grep -q sleep /proc/$!/comm; do :; done; \
                  kill -9 $!; wait; exit 7";
    let mut words = Command::new("sh");
    let mut sh = Process::start(words.args(["-c", script]).stdin(Stdio::piped()));
    let pid = sh.id().to_string();
    let mut agent = Agent::start(&shop, ["-s", "cpu,runqlat", "-p", &pid]);
    agent.wait_for("recording cpu, runqlat into");
    sh.tell("go\n");
    assert_eq!(sh.wait().code(), Some(7));
    let execs = wait_until("nine programs in a store", || {
        let execs = marks(&agent, "exec");
        let exits = marks(&agent, "exit");
        let is_over = exits.iter().any(|mark| mark["comm"] == "sh");
        (execs.iter().filter(|mark| mark["comm"] == "true").count() == 9 && is_over)
            .then_some(execs)
    });
    for exec in execs.iter().filter(|mark| mark["comm"] == "true") {
        assert_eq!((&exec["parent"], &exec["code"]), (&"sh".into(), &0.into()), "{exec}");
        assert!(exec["end"].as_f64() >= exec["time"].as_f64(), "{exec}");
    }
    let exits = marks(&agent, "exit");
    let sh = exits.iter().find(|mark| mark["pid"] == sh.id()).unwrap();
    assert_eq!(sh["code"], 7, "{sh}");
    // Who was killed, and by whom.
    let killed = |mark: &&Value| mark["comm"] == "sleep" && mark["ppid"] == sh["pid"];
    let exit = exits.iter().find(killed).unwrap();
    assert_eq!((&exit["kind"], &exit["signal"]), (&"killed".into(), &"SIGKILL".into()));
    let signals = marks(&agent, "signal");
    let signal = signals.iter().find(|mark| mark["to"] == exit["pid"]).unwrap();
    assert_eq!((&signal["pid"], &signal["by"]), (&sh["pid"], &"kill".into()), "{signal}");
    // Of signals that a process may survive there are none.
    assert!(signals.iter().all(|mark| mark["signal"] == "SIGKILL"), "{signals:?}");
    // And histograms, of all processes together.
    let report = ["report", "--json", "-s", "runqlat"];
    let times: Value = serde_json::from_str(&run(rprof().args(report).arg(agent.store()))).unwrap();
    assert_eq!(times["series"].as_array().unwrap().len(), 1);
    assert!(times["series"][0]["count"].as_u64().unwrap() > 9, "{times}");
    agent.end();
}

#[test]
fn a_storm_of_processes_is_bounded_and_what_is_left_out_is_counted() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let mut agent = Agent::start(&shop, ["-s", "cpu"]);
    agent.wait_for("recording cpu into");
    let storm = "n=0; while [ $n -lt 500 ]; do /bin/true; n=$((n+1)); done";
    let mut storms: Vec<Process> =
        (0..2).map(|_| Process::start(Command::new("sh").args(["-c", storm]))).collect();
    storms.iter_mut().for_each(|storm| {
        storm.wait();
    });
    let (marks, left_out) = wait_until("a storm in a store", || {
        let counts = counts(&agent, "exec")?;
        let number = |name: &str| counts[name].as_u64().unwrap();
        (number("marks") + number("left_out") >= 1000)
            .then(|| (number("marks"), number("left_out")))
    });
    println!("{marks} kept, {left_out} left out");
    // The kernel counts seconds of its own clock, of which two are in each of ours at most; CPUs
    // that begin a second at once may let a few more through.
    let mut seconds: BTreeMap<u64, u64> = BTreeMap::new();
    for exit in self::marks(&agent, "exit") {
        *seconds.entry(exit["time"].as_f64().unwrap() as u64).or_default() += 1;
    }
    assert!(seconds.values().all(|count| *count <= 2 * A_SECOND + 20), "{seconds:?}");
    // Those that have no exit of their own in the store have ended all the same.
    wait_until("the end of all", || {
        let running = self::marks(&agent, "exec").into_iter();
        let mut left = running.filter(|mark| mark["comm"] == "true" && mark["end"].is_null());
        left.next().is_none().then_some(())
    });
    agent.end();
}

#[test]
fn without_marks_there_are_none() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let mut agent = Agent::start(&shop, ["--no-marks"]);
    agent.wait_for_samples();
    assert_eq!(counts(&agent, "exec"), None);
    let refused = rprof().args(["report", "-s", "exec"]).arg(agent.store()).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("no source exec"), "{said}");
    agent.end();
}
