//! Which sources a recording has, of all three kinds, and what each of them is asked.

use anyhow::{Result, bail};

use crate::{
    model::Key,
    nearest::nearest,
    probe::is_probe,
    sources::{Ability, Events, Filters, Latency, Question, SOURCES, Source, Stacks, find_stacks},
};

/// Marks of one source in a second at most: what an agent may write for days, and what a build on
/// a large machine comes to.
const AGENT_MARKS: u64 = 100;
const RECORD_MARKS: u64 = 2000;
/// Bytes of a ring buffer of events.
const AGENT_RING: u32 = 1 << 20;
const RECORD_RING: u32 = 4 << 20;

/// What is recorded besides what was asked for, and how.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Settings {
    /// True if what happens to processes is recorded too, without being asked for.
    pub marks: bool,
    /// True for an agent: what may cost something while nobody looks is left out, and histograms
    /// are of all processes together.
    pub always_on: bool,
}

impl Settings {
    /// Marks of one source in a second at most.
    pub fn marks_a_second(&self) -> u64 {
        if self.always_on { AGENT_MARKS } else { RECORD_MARKS }
    }
}

/// The sources of a recording.
#[derive(Default)]
pub struct Chosen {
    /// Weighted stacks.
    pub stacks: Vec<&'static dyn Stacks>,
    /// Histograms.
    pub latency: Vec<Lane<&'static dyn Latency, Question>>,
    /// Marks.
    pub events: Vec<Lane<&'static dyn Events, Filters>>,
}

/// One source that is not of stacks.
pub struct Lane<S, Q> {
    /// The source.
    pub source: S,
    /// What it is asked.
    pub question: Q,
    /// False if a recording goes without it where it cannot be had.
    pub needed: bool,
    /// True if it only serves others, and is not kept itself.
    pub hidden: bool,
}

impl Chosen {
    /// The sources of these names, and those that are there without being asked for. One name may
    /// be that of stacks and of histograms: a recording then has both, and an agent histograms.
    ///
    /// # Errors
    /// There is no such source, or it cannot be recorded.
    pub fn of(names: &[String], settings: Settings) -> Result<Self> {
        let mut chosen = Self::default();
        for name in names {
            chosen.add(name, settings)?;
        }
        if settings.marks {
            let cheap: &[&str] = if settings.always_on { &["signal", "gc"] } else { &[] };
            for name in ["exec", "exit"].iter().chain(cheap) {
                if !chosen.has(name) {
                    chosen.add_lane(name, settings, false, false);
                }
            }
        }
        // Without it nobody knows when a program ended.
        if chosen.has("exec") && !chosen.has("exit") {
            chosen.add_lane("exit", settings, false, true);
        }
        Ok(chosen)
    }

    fn add(&mut self, name: &str, settings: Settings) -> Result<()> {
        if is_probe(name) {
            self.stacks.push(find_stacks(name)?);
            return Ok(());
        }
        if name == "syscalls" {
            bail!("system calls are not recorded; trace them: rprof trace syscalls");
        }
        let of = SOURCES.iter().filter(|source| source.name() == name);
        let is_latency = of.clone().any(|source| matches!(source, Source::Latency(_)));
        let mut found = self.add_lane(name, settings, true, false);
        for source in of {
            if let Source::Stacks(source) = source
                && !(settings.always_on && is_latency)
            {
                self.stacks.push(*source);
                found = true;
            }
        }
        if !found {
            let mut known: Vec<&str> = SOURCES.iter().map(Source::name).collect();
            known.retain(|known| *known != "syscalls");
            known.sort_unstable();
            known.dedup();
            let near = nearest(name, known.iter().map(|name| (*name).to_owned()));
            bail!("no source {name:?}{near}; there is: {}", known.join(", "));
        }
        Ok(())
    }

    fn add_lane(&mut self, name: &str, settings: Settings, needed: bool, hidden: bool) -> bool {
        let before = self.latency.len() + self.events.len();
        for source in SOURCES.iter().filter(|source| source.name() == name) {
            match source {
                Source::Stacks(_) => {}
                Source::Latency(source) => {
                    let question = question(*source, settings, needed);
                    self.latency.push(Lane { source: *source, question, needed, hidden });
                }
                Source::Events(source) => {
                    let question = filters(settings, needed);
                    self.events.push(Lane { source: *source, question, needed, hidden });
                }
            }
        }
        before < self.latency.len() + self.events.len()
    }

    /// True if there is a lane of that name.
    fn has(&self, name: &str) -> bool {
        self.latency.iter().any(|lane| lane.source.name() == name)
            || self.events.iter().any(|lane| lane.source.name() == name)
    }
}

fn question(source: &dyn Latency, settings: Settings, needed: bool) -> Question {
    let mut by = source.usual_keys().to_vec();
    let process = Key::Process;
    if !settings.always_on && source.keys().contains(&process) && !by.contains(&process) {
        by.insert(0, process);
    }
    Question {
        by,
        // Of the others there are too many to tell each.
        each: source.abilities().contains(&Ability::Each) && source.name() == "gc",
        cheap: !needed,
        ..Question::default()
    }
}

fn filters(settings: Settings, needed: bool) -> Filters {
    Filters {
        deadly: !needed,
        per_second: settings.marks_a_second(),
        ring_bytes: if settings.always_on { AGENT_RING } else { RECORD_RING },
        ..Filters::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(chosen: &Chosen) -> (Vec<&str>, Vec<&str>, Vec<&str>) {
        (
            chosen.stacks.iter().map(|source| source.name()).collect(),
            chosen.latency.iter().map(|lane| lane.source.name()).collect(),
            chosen.events.iter().map(|lane| lane.source.name()).collect(),
        )
    }

    fn of(words: &[&str], marks: bool, always_on: bool) -> Result<Chosen> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Chosen::of(&words, Settings { marks, always_on })
    }

    #[test]
    fn sources_of_all_kinds_are_told_apart() {
        let chosen = of(&["cpu", "hardirqs", "open", "gc"], false, false).unwrap();
        assert_eq!(names(&chosen), (vec!["cpu"], vec!["hardirqs", "gc"], vec!["open"]));
        assert!(chosen.events[0].needed && !chosen.events[0].question.deadly);
    }

    #[test]
    fn marks_that_cost_little_are_there_without_being_asked_for() {
        let chosen = of(&["cpu"], true, true).unwrap();
        assert_eq!(names(&chosen), (vec!["cpu"], vec!["gc"], vec!["exec", "exit", "signal"]));
        assert!(chosen.events.iter().all(|lane| !lane.needed && lane.question.deadly));
        assert!(chosen.latency[0].question.cheap);
        let chosen = of(&["cpu", "signal", "gc"], true, true).unwrap();
        assert!(!chosen.events[0].question.deadly && !chosen.latency[0].question.cheap);
        assert_eq!(names(&chosen).2, ["signal", "exec", "exit"]);
    }

    #[test]
    fn programs_have_an_end_though_only_their_beginning_is_wanted() {
        let chosen = of(&["exec"], false, false).unwrap();
        assert_eq!(names(&chosen).2, ["exec", "exit"]);
        assert!(chosen.events[1].hidden && !chosen.events[0].hidden);
    }

    #[test]
    fn what_is_no_source_is_told_with_the_nearest() {
        let error = of(&["runqlet"], false, false).err().unwrap().to_string();
        assert!(error.contains("runqlat") && error.contains("cpu"), "{error}");
        let error = of(&["syscalls"], false, false).err().unwrap().to_string();
        assert!(error.contains("rprof trace"), "{error}");
    }
}
