//! Self and total of each function, and the sum of each command: what a report is made of.
//!
//! Self is where samples ended, total is where they passed through. Samples of memory all end in an
//! allocator, so of these self is of the function that called it. A function that calls itself
//! is in a sample's total once.

use serde::{Serialize, Serializer};

use super::{Map, summary};
use crate::model::{Name, NameKind, Profile, Table, View, is_allocator};

/// One function of one binary.
#[derive(Clone, Debug, Serialize)]
pub struct Function {
    /// Its name, as recorded.
    pub name: String,
    /// What it is.
    #[serde(serialize_with = "word")]
    pub kind: NameKind,
    /// Path of the binary that it is in; empty if not known.
    pub binary: String,
    /// Samples that ended in it, or what else the source counts.
    #[serde(rename = "self")]
    pub own: u64,
    /// Samples that it is in.
    pub total: u64,
    /// Value of the samples that ended in it, in the source's unit.
    #[serde(rename = "self_value")]
    pub own_value: u64,
    /// Value of the samples that it is in, in the source's unit.
    pub total_value: u64,
}

/// One label at the root of stacks: a command, unless the view groups by something else; there is
/// none if it groups by nothing.
#[derive(Clone, Debug, Serialize)]
pub struct Command {
    /// The label.
    pub name: String,
    /// Its samples.
    pub samples: u64,
    /// Their value, in the source's unit.
    pub value: u64,
}

/// All functions and commands, those with most first: samples, or their value if the view is by
/// value.
#[derive(Debug, Default)]
pub struct Tally {
    /// By self, then total, then name.
    pub functions: Vec<Function>,
    /// By samples or value, then name.
    pub commands: Vec<Command>,
}

impl Function {
    /// Self and total, of count or value.
    pub fn sums(&self, by_value: bool) -> (u64, u64) {
        if by_value { (self.own_value, self.total_value) } else { (self.own, self.total) }
    }
}

impl Command {
    /// Count or value.
    pub fn sum(&self, by_value: bool) -> u64 {
        if by_value { self.value } else { self.samples }
    }
}

fn word<S: Serializer>(kind: &NameKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.word())
}

/// Adds up what `view` shows of `profile`.
pub fn tally(profile: &Profile, view: &View) -> Tally {
    let by_value = view.is_by_value(profile);
    let mut functions = functions(profile);
    functions.sort_by(|a, b| {
        (b.sums(by_value).cmp(&a.sums(by_value)))
            .then_with(|| (&a.name, a.kind, &a.binary).cmp(&(&b.name, b.kind, &b.binary)))
    });
    let mut groups: Map<String, Command> = Map::default();
    for sample in &profile.samples {
        let Some(name) = view.root(sample, &profile.tables) else { continue };
        let command = groups.entry(name).or_insert_with_key(|name| Command {
            name: name.clone(),
            samples: 0,
            value: 0,
        });
        command.samples += sample.count;
        command.value += sample.value;
    }
    let mut commands: Vec<Command> = groups.into_values().collect();
    commands
        .sort_by(|a, b| b.sum(by_value).cmp(&a.sum(by_value)).then_with(|| a.name.cmp(&b.name)));
    Tally { functions, commands }
}

fn functions(profile: &Profile) -> Vec<Function> {
    let tables = &profile.tables;
    // Samples of one stack are counted as one.
    let mut stacks: Map<u32, (u64, u64)> = Map::default();
    for sample in &profile.samples {
        let sums = stacks.entry(sample.stack).or_default();
        sums.0 += sample.count;
        sums.1 += sample.value;
    }
    let mut table: Table<(String, NameKind, &str)> = Table::default();
    let mut known: Map<u32, Vec<u32>> = Map::default();
    let mut rows: Vec<Function> = Vec::new();
    // For each function the last stack that it was counted in.
    let mut counted: Vec<Option<u32>> = Vec::new();
    for (stack, (count, value)) in stacks {
        let mut functions = Vec::new();
        for frame in tables.stacks.frames(stack) {
            functions.extend_from_slice(known.entry(frame).or_insert_with(|| {
                let binary = tables.binary_path(frame);
                let key = |name: Name<'_>| (name.text.into_owned(), name.kind, binary);
                tables.names(frame).map(|name| table.intern(key(name))).collect()
            }));
        }
        if functions.is_empty() {
            functions.push(table.intern((summary::NO_STACK.into(), NameKind::Unknown, "")));
        }
        rows.extend(table.since(rows.len()).map(row));
        counted.resize(rows.len(), None);
        let is_memory = profile.source.is_memory();
        let allocates = |index: &u32| is_memory && is_allocator(&rows[*index as usize].name);
        let own = functions.iter().position(|index| !allocates(index)).unwrap_or_default();
        for (depth, index) in functions.into_iter().enumerate() {
            let row = &mut rows[index as usize];
            if depth == own {
                row.own += count;
                row.own_value += value;
            }
            if counted[index as usize].replace(stack) != Some(stack) {
                row.total += count;
                row.total_value += value;
            }
        }
    }
    rows
}

/// A function of which nothing was counted yet.
fn row((name, kind, binary): &(String, NameKind, &str)) -> Function {
    Function {
        name: name.clone(),
        kind: *kind,
        binary: (*binary).to_owned(),
        own: 0,
        total: 0,
        own_value: 0,
        total_value: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::example;

    #[test]
    fn recursion_is_counted_once() {
        let mut profile = example::empty();
        example::add(&mut profile, &["main", "fib", "fib", "fib"]);
        example::add(&mut profile, &["main", "fib"]);
        example::add(&mut profile, &["main"]);
        let tally = tally(&profile, &View::default());
        let rows: Vec<_> =
            tally.functions.iter().map(|row| (&*row.name, row.own, row.total)).collect();
        assert_eq!(rows, [("fib", 2, 2), ("main", 1, 3)]);
    }

    #[test]
    fn memory_is_of_who_asked_for_it() {
        let mut profile = example::heap();
        example::add(&mut profile, &["main", "enlarge", "operator new(unsigned long)", "malloc"]);
        example::add(&mut profile, &["malloc"]);
        let own = |profile: &Profile| {
            let tally = tally(profile, &View::default());
            let rows = tally.functions.iter().filter(|row| row.own_value == example::PERIOD);
            rows.map(|row| row.name.clone()).collect::<Vec<_>>()
        };
        // What nobody else is known to have asked for is the allocator's own.
        assert_eq!(own(&profile), ["malloc", "enlarge"]);
        (profile.source.held, profile.source.value.unit) = (false, "nanoseconds".into());
        assert_eq!(own(&profile), [] as [&str; 0]);
    }

    #[test]
    fn self_adds_up_to_all_samples() {
        let profile = example::profile();
        let tally = tally(&profile, &View::default());
        assert_eq!(tally.functions.iter().map(|row| row.own).sum::<u64>(), profile.count());
        assert_eq!(tally.functions.iter().map(|row| row.own_value).sum::<u64>(), profile.value());
        assert_eq!(tally.commands.iter().map(|row| row.samples).sum::<u64>(), profile.count());
        assert!(tally.functions.iter().any(|row| row.name == "[no stack]" && row.own == 1));
        let memcpy = tally.functions.iter().filter(|row| row.name == "memcpy").count();
        assert_eq!(memcpy, 2, "kernel and user");
        assert_eq!(tally.functions[0].name, "fast_copy");
    }
}
