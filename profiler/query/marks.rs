//! What happened: marks of a time, those that are worth listing, and which programs ran when.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::lanes::ms;
use crate::model;

/// What two accounts of when one program began may differ by, ns: the wall clock may have been set
/// between them.
const SAME: u64 = 5_000_000_000;

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Mark {
    /// When, ms since the Unix epoch.
    pub time: f64,
    /// What: `start`, `stop`, `rate` or `gap` of the recording itself; else `exec`, `exit`,
    /// `killed`, `oom`, `gc` or a source.
    pub kind: String,
    /// What, in words.
    pub text: String,
    /// Until when, for what lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<f64>,
    /// The source that told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tid: Option<u32>,
    /// Process by name and pid, as the label has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// `info`, or `error` for what killed or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<&'static str>,
    /// All that the source tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Value>,
}

impl Mark {
    /// As it is told to programs.
    pub fn of(source: &str, mark: &model::Mark) -> Self {
        let known = mark.pid > 0;
        let fields = serde_json::from_str(&mark.fields).ok();
        Self {
            time: ms(mark.time),
            end: mark.end.map(ms),
            kind: mark.kind.clone(),
            text: mark.text.clone(),
            source: Some(source.into()),
            pid: known.then_some(mark.pid),
            tid: (mark.tid > 0).then_some(mark.tid),
            process: known.then(|| format!("{} ({})", mark.comm, mark.pid)),
            level: Some(if is_error(mark) { "error" } else { "info" }),
            fields,
        }
    }
}

/// True for what killed or failed.
fn is_error(mark: &model::Mark) -> bool {
    match &*mark.kind {
        "killed" | "oom" => true,
        "exec" | "gc" => mark.fields.contains("\"error\":\""),
        "exit" => !mark.fields.contains("\"code\":0"),
        _ => mark.fields.contains("\"error\":\""),
    }
}

/// One account of each program: where a recording ended and another went on, both have one.
pub fn distinct(mut marks: Vec<model::Mark>) -> Vec<model::Mark> {
    marks.sort_by_key(|mark| (mark.pid, mark.time));
    marks.dedup_by(|next, kept| {
        let same = next.pid == kept.pid
            && next.pid > 0
            && next.kind == "exec"
            && kept.kind == "exec"
            && next.time - kept.time <= SAME
            && next.text == kept.text
            // Two that ended each by itself are two.
            && (next.end.is_none() || kept.end.is_none() || next.time == kept.time);
        if same && kept.end.is_none() && next.end.is_some() {
            (kept.end, kept.fields) = (next.end, std::mem::take(&mut next.fields));
        }
        same
    });
    marks.sort_by_key(|mark| mark.time);
    marks
}

/// At most `most` of `marks`, by time, and how many others there are: those that last longest, and
/// then those that killed or failed.
pub fn listed(mut marks: Vec<model::Mark>, most: usize) -> (Vec<model::Mark>, u64) {
    let more = marks.len().saturating_sub(most);
    if more > 0 {
        marks.sort_by_cached_key(|mark| {
            let lasts = mark.end.map_or(0, |end| end.saturating_sub(mark.time));
            let lasts = if mark.kind == "exec" && mark.end.is_none() { u64::MAX } else { lasts };
            (std::cmp::Reverse(lasts), !is_error(mark), mark.time)
        });
        marks.truncate(most);
    }
    marks.sort_by_key(|mark| mark.time);
    (marks, more as u64)
}

/// Marks of a time.
#[derive(Debug, Serialize)]
pub struct Marks {
    /// The first of them, by time.
    pub marks: Vec<Mark>,
    /// How many there are.
    pub count: u64,
    /// How many are not listed.
    pub more: u64,
    /// How many were not recorded, for being too many in a second.
    pub left_out: u64,
}

/// Which programs ran.
#[derive(Debug, Default, Serialize)]
pub struct Processes {
    /// The longest first.
    pub processes: Vec<Run>,
    /// How many there are.
    pub count: u64,
    /// How many are not listed.
    pub more: u64,
}

/// A program that a process ran.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// Process.
    pub pid: u32,
    /// Its parent.
    pub ppid: Option<u64>,
    /// Name and pid, as the label has it.
    pub process: String,
    /// Name.
    pub comm: String,
    /// Its words apart by spaces, as the label has it; empty if they are not known.
    pub cmdline: String,
    /// Its file, as exec was told; empty if that is not known.
    pub file: String,
    /// User id.
    pub uid: Option<u64>,
    /// When it began, ms since the Unix epoch.
    pub start: f64,
    /// When it ended; none while it runs.
    pub end: Option<f64>,
    /// False if only its end is in the recording.
    pub known: bool,
    /// Exit code.
    pub code: Option<u64>,
    /// The signal that ended it.
    pub signal: Option<String>,
    /// CPU time of the whole process, ns.
    pub cpu: Option<u64>,
}

impl Run {
    fn of(mark: &model::Mark, known: bool) -> Self {
        let fields: Map<String, Value> = serde_json::from_str(&mark.fields).unwrap_or_default();
        let number = |name: &str| fields.get(name).and_then(Value::as_u64);
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let words = fields.get("args").and_then(Value::as_array);
        let words: Vec<&str> = words.into_iter().flatten().filter_map(Value::as_str).collect();
        Self {
            pid: mark.pid,
            ppid: number("ppid"),
            process: format!("{} ({})", mark.comm, mark.pid),
            comm: mark.comm.clone(),
            cmdline: words.join(" "),
            file: text("file").unwrap_or_default(),
            uid: number("uid"),
            start: ms(mark.time),
            end: mark.end.map(ms),
            known,
            code: number("code"),
            signal: text("signal"),
            cpu: number("cpu_ns"),
        }
    }
}

/// The programs that marks of exec and exit tell of, at most `limit` of them.
pub fn processes(execs: Vec<model::Mark>, exits: &[model::Mark], limit: usize) -> Processes {
    let execs = distinct(execs);
    let mut ends: HashMap<u32, Vec<u64>> = HashMap::new();
    for exec in &execs {
        ends.entry(exec.pid).or_default().extend(exec.end);
    }
    let mut runs: Vec<(u64, Run)> = Vec::new();
    let lasts = |mark: &model::Mark| mark.end.map_or(u64::MAX, |end| end.saturating_sub(mark.time));
    // A failed one began no program.
    let began = execs.iter().filter(|exec| !exec.fields.contains("\"error\":\""));
    runs.extend(began.map(|exec| (lasts(exec), Run::of(exec, true))));
    for exit in exits {
        if ends.get(&exit.pid).is_some_and(|ends| ends.contains(&exit.time)) {
            continue;
        }
        let fields: Map<String, Value> = serde_json::from_str(&exit.fields).unwrap_or_default();
        let age = fields.get("age_ns").and_then(Value::as_u64).unwrap_or_default();
        let time = exit.time.saturating_sub(age);
        let whole = model::Mark { time, end: Some(exit.time), ..exit.clone() };
        runs.push((age, Run::of(&whole, false)));
    }
    let count = runs.len();
    runs.sort_by(|(a, one), (b, other)| b.cmp(a).then(one.start.total_cmp(&other.start)));
    runs.truncate(limit);
    let more = (count - runs.len()) as u64;
    let processes = runs.into_iter().map(|(_, run)| run).collect();
    Processes { processes, count: count as u64, more }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn mark(kind: &str, pid: u32, time: u64, end: Option<u64>) -> model::Mark {
        model::Mark {
            time,
            end,
            kind: kind.into(),
            pid,
            tid: pid,
            comm: "cc".into(),
            text: "cc -c a.c".into(),
            fields: r#"{"ppid":1,"uid":0,"args":["cc","-c","a.c"],"file":"/usr/bin/cc"}"#.into(),
        }
    }

    #[test]
    fn a_program_that_two_recordings_tell_of_is_one() {
        let whole = model::Mark {
            fields: r#"{"ppid":1,"uid":0,"file":"/usr/bin/cc","code":0,"cpu_ns":5}"#.into(),
            ..mark("exec", 7, 10 * S + 1, Some(30 * S))
        };
        // The first ended while it ran.
        let first = mark("exec", 7, 10 * S, None);
        let all = distinct(vec![whole, first, mark("exec", 8, 10 * S, None)]);
        assert_eq!(all.len(), 2, "{all:?}");
        assert_eq!(all[0].end, Some(30 * S));
        assert!(all[0].fields.contains("cpu_ns"));
        let again = vec![mark("exec", 7, S, Some(2 * S)), mark("exec", 7, 3 * S, Some(4 * S))];
        assert_eq!(distinct(again).len(), 2);
    }

    #[test]
    fn the_longest_and_what_failed_are_listed() {
        let mut marks: Vec<model::Mark> = (0..10).map(|n| mark("open", 1, n * S, None)).collect();
        marks[7].fields = r#"{"error":"ENOENT"}"#.into();
        marks[4].end = Some(5 * S);
        let (listed, more) = listed(marks, 2);
        assert_eq!(more, 8);
        assert_eq!(listed.iter().map(|mark| mark.time / S).collect::<Vec<_>>(), [4, 7]);
    }

    #[test]
    fn programs_are_told_with_their_ends() {
        let exec = model::Mark {
            fields: r#"{"ppid":1,"uid":3,"file":"/usr/bin/cc","code":2,"signal":null,"cpu_ns":5}"#
                .into(),
            ..mark("exec", 7, 10 * S, Some(12 * S))
        };
        let exit = |pid, time, fields: &str| model::Mark {
            fields: fields.into(),
            ..mark("exit", pid, time, None)
        };
        let exits = [
            exit(7, 12 * S, r#"{"age_ns":3000000000,"code":2}"#),
            exit(9, 15 * S, r#"{"age_ns":14000000000,"code":null,"signal":"SIGKILL"}"#),
        ];
        let all = processes(vec![exec, mark("exec", 8, S, None)], &exits, 2);
        assert_eq!((all.count, all.more), (3, 1));
        let [runs, old] = &all.processes[..] else { panic!("{all:?}") };
        assert_eq!((runs.pid, runs.end, runs.known), (8, None, true));
        assert_eq!((old.pid, old.start, old.known), (9, 1000.0, false));
        assert_eq!((old.signal.as_deref(), old.code, &*old.cmdline), (Some("SIGKILL"), None, ""));
        let all = processes(vec![mark("exec", 7, S, Some(2 * S))], &[], 10);
        assert_eq!((&*all.processes[0].cmdline, all.processes[0].uid), ("cc -c a.c", Some(0)));
    }

    #[test]
    fn what_is_no_json_has_no_fields() {
        let mark = model::Mark { fields: "{\"".into(), ..mark("exit", 7, S, None) };
        assert_eq!(Mark::of("exit", &mark).fields, None);
        assert_eq!(Run::of(&mark, false).ppid, None);
    }
}
