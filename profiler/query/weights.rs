//! What a view shows, as sums over the tree of names: for each group, the value that ends in each
//! node. Everything that shows functions is made of this.

use std::{collections::HashMap, time::Instant};

use super::{
    Result, SUM_MAX,
    names::{Mapping, Names, ROOT},
    straight::Scratch,
    timely,
};
use crate::{
    model::{Idle, Measure, NameKind, Sample, Side, SourceInfo, Tables, View},
    store::Entry,
};

/// What the numbers in samples lead to.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// Threads, stacks and all else.
    pub tables: &'a Tables,
    /// The stacks in the tree of names.
    pub mapping: &'a Mapping,
}

/// Samples of a source as a view shows them.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// The part of them, and how they are put together.
    pub view: &'a View,
    /// Where they are from.
    pub source: &'a SourceInfo,
    /// Which of their values is shown.
    pub measure: Measure,
}

/// One group: what the view puts below one root frame.
#[derive(Debug, Default)]
pub struct Group {
    /// The root frame; none where the view has none.
    pub name: Option<String>,
    /// Distinct nodes, and the value that ends in each.
    pub own: Vec<(u32, u64)>,
    /// Sum of the values.
    pub total: u64,
}

/// All groups of a view.
#[derive(Debug, Default)]
pub struct Weights {
    /// By name.
    pub groups: Vec<Group>,
    /// Sum of the values, in the unit of the view.
    pub total: u64,
    /// Sum of the counts.
    pub samples: u64,
    /// Sum of the squares of all samples' values, as far as it is known: samples that were added
    /// up are taken to have their mean. See [`SourceInfo::samples_in`].
    squares: f64,
}

/// Groups, numbered as they are met.
#[derive(Debug, Default)]
pub struct Groups {
    names: Vec<Option<String>>,
    known: HashMap<Option<String>, u32>,
}

impl Groups {
    /// The number of the group of that name.
    pub fn number(&mut self, name: Option<String>) -> u32 {
        let next = self.names.len() as u32;
        let number = *self.known.entry(name.clone()).or_insert(next);
        if number == next {
            self.names.push(name);
        }
        number
    }

    /// Their names.
    pub fn into_names(self) -> Vec<Option<String>> {
        self.names
    }
}

/// What a view shows of a sample, and in which group: asked for each sample, so all that can be is
/// known beforehand.
pub struct Lens<'a> {
    part: Part<'a>,
    view: &'a View,
    by_count: bool,
    /// For each node whether its stack is shown; none where all are.
    shown: Option<Vec<bool>>,
    /// For each thread its group, none if it is not shown, once it was asked for.
    threads: Vec<Option<Option<u32>>>,
    groups: Groups,
    /// What all values may still come to.
    room: u64,
}

impl<'a> Lens<'a> {
    /// The lens of what is shown, on what `part` leads to.
    ///
    /// # Errors
    /// It is `until` already.
    pub fn new(part: Part<'a>, names: &Names, shown: Shown<'a>, until: Instant) -> Result<Self> {
        let view = shown.view;
        Ok(Self {
            part,
            view,
            by_count: shown.measure.by_count,
            shown: stacks_shown(names, view, until)?,
            threads: vec![None; part.tables.threads.len()],
            groups: Groups::default(),
            room: SUM_MAX,
        })
    }

    /// The group, the node and the value of what `entry` adds up; none if it is not shown.
    pub fn look(&mut self, entry: &Entry) -> Option<(u32, u32, u64)> {
        let group = match *self.threads.get(entry.thread as usize)? {
            Some(group) => group?,
            None => self.ask(entry.thread)?,
        };
        let mapping = self.part.mapping;
        let node = match (self.view.idle, mapping.idle(entry.stack)) {
            (Idle::Group, Some(node)) => node,
            (Idle::Hide, Some(_)) => return None,
            _ => mapping.node(entry.stack),
        };
        if self.shown.as_ref().is_some_and(|shown| !shown[node as usize]) {
            return None;
        }
        let value = if self.by_count { entry.count } else { entry.value }.min(self.room);
        self.room -= value;
        Some((group, node, value))
    }

    /// The group of a thread that was not asked for before.
    fn ask(&mut self, thread: u32) -> Option<u32> {
        let tables = self.part.tables;
        let shown = self.view.shows_thread(thread, tables);
        let sample = Sample { time: 0, cpu: 0, thread, stack: 0, count: 0, value: 0 };
        let group = shown.then(|| self.groups.number(self.view.root(&sample, tables)));
        *self.threads.get_mut(thread as usize)? = Some(group);
        group
    }

    /// The names of all groups that samples were in.
    pub fn into_groups(self) -> Vec<Option<String>> {
        self.groups.into_names()
    }
}

impl Weights {
    /// Adds up what is shown of `entries`, which are of the time that the view says.
    ///
    /// # Errors
    /// It is `until` already.
    pub fn gather(
        part: Part<'_>,
        entries: &[Entry],
        names: &Names,
        shown: Shown<'_>,
        until: Instant,
        scratch: &mut Scratch,
    ) -> Result<Self> {
        let mut lens = Lens::new(part, names, shown, until)?;
        let mut weights = Self::default();
        for entries in entries.chunks(1 << 16) {
            timely(until)?;
            for entry in entries {
                let Some((group, node, value)) = lens.look(entry) else { continue };
                let group = group as usize;
                if group >= weights.groups.len() {
                    weights.groups.resize_with(group + 1, Group::default);
                }
                let group = &mut weights.groups[group];
                group.own.push((node, value));
                group.total += value;
                weights.samples = weights.samples.saturating_add(entry.count);
                weights.total += value;
                let samples = shown.source.samples_in(entry.count, entry.value);
                if samples > 0.0 {
                    weights.squares += value as f64 * value as f64 / samples;
                }
            }
        }
        scratch.fit(names, [true, false, false]);
        for (group, name) in weights.groups.iter_mut().zip(lens.into_groups()) {
            timely(until)?;
            group.name = name;
            add_up(&mut group.own, &mut scratch.total[0]);
        }
        weights.groups.retain(|group| !group.own.is_empty());
        weights.groups.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(weights)
    }

    /// The sum of several, which are of times apart.
    pub fn sum(parts: &[&Self], names: &Names, scratch: &mut Scratch) -> Self {
        let mut sum = Self::default();
        let mut known: HashMap<&Option<String>, usize> = HashMap::new();
        for part in parts {
            sum.samples = sum.samples.saturating_add(part.samples);
            sum.squares += part.squares;
            for group in &part.groups {
                let index = *known.entry(&group.name).or_insert(sum.groups.len());
                if index == sum.groups.len() {
                    sum.groups.push(Group { name: group.name.clone(), ..Group::default() });
                }
                let room = SUM_MAX - sum.total;
                // Only a damaged recording has more than there is room for.
                if group.total <= room {
                    sum.groups[index].own.extend_from_slice(&group.own);
                    sum.groups[index].total += group.total;
                    sum.total += group.total;
                }
            }
        }
        if parts.len() > 1 {
            scratch.fit(names, [true, false, false]);
            let scratch = &mut scratch.total[0];
            sum.groups.iter_mut().for_each(|group| add_up(&mut group.own, scratch));
        }
        sum.groups.retain(|group| !group.own.is_empty());
        sum.groups.sort_by(|a, b| a.name.cmp(&b.name));
        sum
    }

    /// As one side of a comparison; see [`Side::of`].
    pub fn side(&self) -> Side {
        let total = self.total as f64;
        let samples = if self.squares > 0.0 { total * total / self.squares } else { 0.0 };
        Side { total, samples }
    }

    /// The mean weight of a sample, in the unit of the view: the variance of a part is about the
    /// product of this and its value.
    pub fn weight(&self) -> f64 {
        if self.total > 0 { self.squares / self.total as f64 } else { 0.0 }
    }

    /// How many sums there are.
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| group.own.len()).sum()
    }

    /// True if nothing is shown.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// All groups as one.
    pub fn merged(&self, names: &Names) -> Vec<(u32, u64)> {
        let mut own: Vec<(u32, u64)> =
            self.groups.iter().flat_map(|group| group.own.iter().copied()).collect();
        if self.groups.len() > 1 {
            add_up(&mut own, &mut vec![0; names.size()]);
        }
        own
    }
}

/// Makes the nodes distinct. `scratch` is as long as the tree, and all 0 before and after.
fn add_up(own: &mut Vec<(u32, u64)>, scratch: &mut [u64]) {
    for (node, value) in own.iter() {
        scratch[*node as usize] += value;
    }
    own.retain_mut(|(node, value)| {
        *value = std::mem::take(&mut scratch[*node as usize]);
        *value > 0
    });
}

/// For each node whether its stack is shown; none where all are.
fn stacks_shown(names: &Names, view: &View, until: Instant) -> Result<Option<Vec<bool>>> {
    if view.focus.is_none() && view.ignore.is_none() {
        return Ok(None);
    }
    let matches = |pattern: &Option<regex::Regex>| {
        let Some(pattern) = pattern else { return Ok(None) };
        let functions =
            names.each(until, |name, kind| kind != NameKind::Note && pattern.is_match(name))?;
        let mut nodes = vec![false; names.size()];
        for (index, node) in names.nodes().iter().enumerate() {
            nodes[index + 1] = nodes[node.parent as usize] || functions[node.function as usize];
        }
        Ok(Some(nodes))
    };
    let (focus, ignore) = (matches(&view.focus)?, matches(&view.ignore)?);
    let any = |matched: &Option<Vec<bool>>, node| matched.as_ref().map(|matched| matched[node]);
    let shown = |node| any(&focus, node).unwrap_or(true) && !any(&ignore, node).unwrap_or(false);
    Ok(Some((ROOT as usize..names.size()).map(shown).collect()))
}
