//! Runs `rprof trace` on a command, and reads what it wrote.

use std::{fs, path::Path};

use serde_json::Value;

use crate::common::{
    command::{Ran, rprof, run},
    workload::Workshop,
};

/// What a run came to.
pub struct Traced {
    /// The events, in the order of the lines.
    pub events: Vec<Value>,
    /// What rprof wrote to standard error.
    pub err: String,
    /// How it ended.
    pub ran: Ran,
}

/// `rprof trace --json EVENTS OPTIONS -- COMMAND`. All options stand before the command.
pub fn trace(shop: &Workshop, options: &[&str], command: &[&str]) -> Traced {
    let file = shop.path("events.json");
    let mut rprof = rprof(["trace", "--json", "-o"]);
    let ran = run(rprof.arg(&file).args(options).arg("--").args(command));
    let text = fs::read_to_string(&file).unwrap();
    let events = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    Traced { events, err: ran.err.clone(), ran }
}

impl Traced {
    /// Asserts that nothing was lost, and that the command ended well.
    pub fn whole(self) -> Self {
        assert!(self.err.contains(" 0 lost;"), "{}", self.err);
        assert_eq!(self.ran.code(), 0, "{}", self.err);
        self
    }

    /// The events for which `which` holds.
    pub fn of(&self, which: impl Fn(&Value) -> bool) -> Vec<&Value> {
        self.events.iter().filter(|event| which(event)).collect()
    }

    /// How many events have this text in that field.
    pub fn count(&self, field: &str, text: &str) -> usize {
        self.of(|event| event[field] == text).len()
    }
}

/// A path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
