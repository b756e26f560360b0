//! Programs that run: from the exec of each to its exit, or to the exec of another in its place.
//!
//! What ends a program is told twice: by the exit source with all that is known, of which some may be
//! left out in a storm, and by the kernel's side-band records, which only say when.

use std::{collections::HashMap, path::Path};

use crate::{
    collector::{TaskEvent, TaskKind},
    model::{Event, Mark, Value},
    output::Lines,
    sources::Events,
};

/// Programs that are followed at a time; what is beyond has no end. A few hundred bytes each.
const PROCESSES_MAX: usize = 8192;
/// How long after its end a program waits for the exit source to tell of it, ns.
const PATIENCE: u64 = 2_000_000_000;
/// Between two looks whether programs are still there, ns.
const LOOK: u64 = 10_000_000_000;

/// A program that a process began to run, as its exec told.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Program {
    /// When, ns, CLOCK_MONOTONIC.
    pub time: u64,
    /// Process.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// Its file, as exec was told.
    pub file: String,
    /// Its words apart by spaces.
    pub cmdline: String,
}

impl Program {
    /// What an event of exec tells.
    pub fn of(event: &Event<'_>, source: &dyn Events) -> Self {
        let lines = Lines::new(source.name(), source.fields(), false);
        let file = match lines.value(event, "file") {
            Value::Text(file) => String::from_utf8_lossy(file).into_owned(),
            _ => String::new(),
        };
        let cmdline = match lines.value(event, "args") {
            Value::Texts(args) => String::from_utf8_lossy(&args.join(&b' ')).into_owned(),
            _ => String::new(),
        };
        Self { time: event.time, pid: event.pid, uid: event.uid, file, cmdline }
    }
}

/// The programs that run. Times are on CLOCK_MONOTONIC.
#[derive(Default)]
pub struct Running {
    /// By process: the mark of its exec, and when it has ended.
    programs: HashMap<u32, (Mark, Option<u64>)>,
    /// What side-band records told of the end of programs whose exec is not here yet: events wait a
    /// moment for older ones.
    early: HashMap<u32, u64>,
    /// When it was last looked whether they are still there.
    looked: u64,
    /// Programs that were not followed to their end.
    pub turned_away: u64,
    /// Programs whose end nobody told; it was noticed some seconds later.
    pub unseen: u64,
}

impl Running {
    /// A program begins; gives the one whose place it takes.
    pub fn exec(&mut self, mark: Mark) -> Option<Mark> {
        let before = self
            .programs
            .remove(&mark.pid)
            .map(|(before, ended)| Mark { end: Some(ended.unwrap_or(mark.time)), ..before });
        if self.programs.len() >= PROCESSES_MAX {
            self.turned_away += 1;
            return before;
        }
        let ended = self.early.remove(&mark.pid).filter(|ended| *ended > mark.time);
        self.programs.insert(mark.pid, (mark, ended));
        before
    }

    /// A process ends as `exit` tells; gives its program.
    pub fn exit(&mut self, exit: &Mark) -> Option<Mark> {
        let (mut program, _) = self.programs.remove(&exit.pid)?;
        program.end = Some(exit.time);
        program.fields = joined(&program.fields, &exit.fields);
        Some(program)
    }

    /// Takes note of what processes did.
    pub fn follow(&mut self, event: &TaskEvent) {
        if !matches!(event.kind, TaskKind::Exec | TaskKind::Exit) {
            return;
        }
        match self.programs.get_mut(&event.pid) {
            Some((program, ended)) if event.time > program.time => {
                ended.get_or_insert(event.time);
            }
            Some(_) => {}
            None if self.early.len() < PROCESSES_MAX => {
                self.early.insert(event.pid, event.time);
            }
            None => {}
        }
    }

    /// Those that have ended for a while, as of `now`, without the exit source telling of it.
    pub fn ended(&mut self, now: u64) -> Vec<Mark> {
        self.early.retain(|_, time| *time + PATIENCE > now);
        self.look(now);
        let over = |_: &u32, (_, ended): &mut (Mark, Option<u64>)| {
            ended.is_some_and(|ended| ended + PATIENCE < now)
        };
        let ended = self.programs.extract_if(over);
        ended.map(|(_, (program, ended))| Mark { end: ended, ..program }).collect()
    }

    /// Looks now and then whether programs are still there: in a storm, both accounts of an end may
    /// be lost.
    fn look(&mut self, now: u64) {
        if now < self.looked + LOOK {
            return;
        }
        self.looked = now;
        let is_gone = |pid: u32| !Path::new("/proc").join(pid.to_string()).exists();
        for (pid, (program, ended)) in &mut self.programs {
            // What came this moment may have an end that was not read yet.
            if ended.is_none() && program.time + LOOK < now && is_gone(*pid) {
                *ended = Some(now);
                self.unseen += 1;
            }
        }
    }

    /// Those that still run.
    pub fn all(&self) -> impl Iterator<Item = &Mark> {
        self.programs.values().map(|(program, _)| program)
    }
}

/// Fields of the end that those of the beginning do not have.
const ADDED: [&str; 5] = ["age_ns", "cpu_ns", "code", "signal", "core"];

/// The fields of a program: those of its exec, and how it ended.
fn joined(exec: &str, exit: &str) -> String {
    let parse = |text| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text);
    let (Ok(mut exec_fields), Ok(mut exit)) = (parse(exec), parse(exit)) else {
        return exec.to_owned();
    };
    for name in ADDED {
        if let Some(value) = exit.remove(name) {
            exec_fields.insert(name.into(), value);
        }
    }
    serde_json::Value::Object(exec_fields).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(pid: u32, time: u64) -> Mark {
        Mark { time, pid, fields: r#"{"ppid":1}"#.into(), ..Mark::default() }
    }

    fn event(pid: u32, time: u64, kind: TaskKind) -> TaskEvent {
        TaskEvent { time, pid, kind }
    }

    #[test]
    fn a_program_lasts_from_exec_to_exit() {
        let mut running = Running::default();
        assert_eq!(running.exec(mark(7, 10)), None);
        let exit = Mark { fields: r#"{"code":3,"cpu_ns":5}"#.into(), ..mark(7, 30) };
        let program = running.exit(&exit).unwrap();
        assert_eq!((program.time, program.end), (10, Some(30)));
        let fields: serde_json::Value = serde_json::from_str(&program.fields).unwrap();
        assert_eq!(fields, serde_json::json!({"ppid": 1, "code": 3, "cpu_ns": 5}));
        assert_eq!(running.exit(&exit), None);
    }

    #[test]
    fn another_takes_its_place() {
        let mut running = Running::default();
        running.exec(mark(7, 10));
        assert_eq!(running.exec(mark(7, 20)).unwrap().end, Some(20));
        assert_eq!(running.all().count(), 1);
    }

    #[test]
    fn one_whose_exit_was_left_out_ends_all_the_same() {
        let mut running = Running::default();
        running.exec(mark(7, 10));
        // The side-band tells of its own exec, too.
        running.follow(&event(7, 9, TaskKind::Exec));
        assert!(running.ended(PATIENCE / 2).is_empty());
        running.follow(&event(7, 40, TaskKind::Exit));
        assert!(running.ended(PATIENCE).is_empty());
        assert_eq!(running.ended(2 * PATIENCE)[0].end, Some(40));
        assert_eq!(running.all().count(), 0);
    }

    #[test]
    fn one_whose_end_nobody_told_is_noticed_later() {
        let mut running = Running::default();
        // Above the highest pid that there can be; and this process.
        running.exec(mark(1 << 30, 10));
        running.exec(mark(std::process::id(), 10));
        assert!(running.ended(2 * LOOK).is_empty());
        assert_eq!(running.ended(3 * LOOK)[0].end, Some(2 * LOOK));
        assert_eq!((running.all().count(), running.unseen), (1, 1));
    }

    #[test]
    fn one_whose_end_is_told_before_its_beginning_ends_too() {
        let mut running = Running::default();
        running.follow(&event(7, 40, TaskKind::Exit));
        running.exec(mark(7, 10));
        assert_eq!(running.ended(2 * PATIENCE)[0].end, Some(40));
        // That of another before it is not its own.
        running.follow(&event(8, 5, TaskKind::Exit));
        running.exec(mark(8, 10));
        assert!(running.ended(2 * PATIENCE).is_empty());
    }

    #[test]
    fn more_than_there_is_room_for_are_counted() {
        let mut running = Running::default();
        for pid in 0..PROCESSES_MAX as u32 + 3 {
            running.exec(mark(pid + 1, 10));
        }
        assert_eq!((running.all().count(), running.turned_away), (PROCESSES_MAX, 3));
    }
}
