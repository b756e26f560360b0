//! A flame graph as flat arrays, depth first: small enough to be sent and drawn, however many
//! stacks there are.
//!
//! What is narrower than a given share is merged with its narrow siblings in one box of kind
//! `other`, so that widths still add up: the value of a box is what ends in it and the sum of the
//! boxes below it.

use std::collections::HashMap;

use serde::Serialize;

use super::{names::Names, weights::Weights};
use crate::model::{difference_z, z};

/// The most boxes that are sent. Where more would be wide enough, narrower ones are merged.
pub const BOXES_MAX: usize = 1_000_000;

/// The kind of a root frame that a view makes.
const GROUP: &str = "group";
/// The kind of a box of what is too narrow.
const OTHER: &str = "other";

/// A flame graph.
#[derive(Debug, Default, Serialize)]
pub struct Flamegraph {
    /// Unit of all values.
    pub unit: String,
    /// Sum of the values.
    pub total: u64,
    /// Samples, or what else the source counts.
    pub samples: u64,
    /// True if it is of what is in use: then amounts are compared, and not shares.
    pub in_use: bool,
    /// Share of the total that is in boxes of kind `other`.
    pub pruned: f64,
    /// Sum of the base's values, where there is a base to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_total: Option<u64>,
    /// Samples of the base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_samples: Option<u64>,
    /// Names of functions and groups.
    pub names: Vec<String>,
    /// Kinds of functions and groups.
    pub kinds: Vec<String>,
    /// Paths of binaries; the first is empty.
    pub modules: Vec<String>,
    /// Paths of source files; the first is empty.
    pub files: Vec<String>,
    /// Functions and groups.
    pub functions: Functions,
    /// The boxes.
    pub tree: Boxes,
}

/// For each function or group, an index into each list of texts.
#[derive(Debug, Default, Serialize)]
pub struct Functions {
    /// Into `names`.
    pub name: Vec<u32>,
    /// Into `kinds`.
    pub kind: Vec<u32>,
    /// Into `modules`.
    pub module: Vec<u32>,
    /// Into `files`.
    pub file: Vec<u32>,
    /// Line, 0 if not known.
    pub line: Vec<u32>,
}

/// The boxes, depth first: those below a box follow it, with a greater depth.
#[derive(Debug, Default, Serialize)]
pub struct Boxes {
    /// 0 for the box of everything.
    pub depth: Vec<u32>,
    /// Into `functions`.
    pub function: Vec<u32>,
    /// Value of the box with all below it.
    pub total: Vec<u64>,
    /// Value that ends in it.
    #[serde(rename = "self")]
    pub own: Vec<u64>,
    /// The base's value of the box with all below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Vec<u64>>,
    /// z score of the change of its share; of what is in use, of its amount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub z: Option<Vec<f64>>,
}

/// What a box stands for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Label<'a> {
    /// Everything.
    All,
    /// A root frame that the view makes.
    Group(&'a str),
    /// A function, by its number.
    Function(u32),
    /// What is too narrow.
    Other,
}

/// A box before it has its place.
#[derive(Clone, Copy, Debug)]
pub struct Tile<'a> {
    /// The box that it stands on, an earlier one; its own number for that of everything.
    pub parent: usize,
    /// What it stands for.
    pub label: Label<'a>,
    /// Value with all that stands on it.
    pub total: Pair,
    /// Value that ends in it.
    pub own: Pair,
}

/// A value on each of the sides.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Pair {
    /// In what is shown.
    pub now: u64,
    /// In the base; 0 without one.
    pub base: u64,
    /// Of both what is the same memory, as far as that is known.
    pub common: u64,
}

/// What is shown, what it is compared with, and what of both is the same.
#[derive(Clone, Copy)]
pub struct Sides<'a> {
    /// What is shown.
    pub now: &'a Weights,
    /// What it is compared with.
    pub base: Option<&'a Weights>,
    /// Of memory in use at two times, that which is in use at both.
    pub common: Option<&'a Weights>,
    /// True if amounts are compared, and not shares.
    pub in_use: bool,
    /// True if it is of memory, which all is asked for by way of allocators.
    pub is_memory: bool,
}

/// How many of [`Sides`] there are at most.
pub const SIDES: usize = 3;

impl<'a> Sides<'a> {
    /// All of them, those that are not there as nothing.
    pub fn all(&self) -> [Option<&'a Weights>; SIDES] {
        [Some(self.now), self.base, self.common]
    }

    /// The sums of all.
    pub fn total(&self) -> Pair {
        Pair::of(self.all().map(|side| side.map_or(0, |side| side.total)))
    }

    /// By how many standard errors `part` of the whole differs; none where there is no base.
    pub fn z(&self, part: Pair) -> Option<f64> {
        let base = self.base?;
        let z = match self.in_use {
            true => {
                let alone = |side: &Weights, value: u64| {
                    side.weight() * value.saturating_sub(part.common) as f64
                };
                let squares = alone(self.now, part.now) + alone(base, part.base);
                difference_z(part.now as f64 - part.base as f64, squares)
            }
            false => z(&base.side(), part.base as f64, &self.now.side(), part.now as f64),
        };
        // More digits would say nothing, and are most of an answer.
        Some((z * 100.0).round() / 100.0)
    }
}

impl Pair {
    /// The values of all sides.
    pub fn of([now, base, common]: [u64; SIDES]) -> Self {
        Self { now, base, common }
    }

    /// A value of one of the sides, by its place in [`Sides::all`].
    pub fn on(side: usize, value: u64) -> Self {
        let mut values = [0; SIDES];
        values[side] = value;
        Self::of(values)
    }

    /// True if all are 0.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }
}

impl std::ops::AddAssign for Pair {
    fn add_assign(&mut self, other: Self) {
        self.now += other.now;
        self.base += other.base;
        self.common += other.common;
    }
}

impl std::ops::Sub for Pair {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            now: self.now.saturating_sub(other.now),
            base: self.base.saturating_sub(other.base),
            common: self.common.saturating_sub(other.common),
        }
    }
}

/// What a box has to come to in order to be drawn by itself, in either.
#[derive(Clone, Copy, Debug)]
pub struct Least(Pair);

impl Least {
    /// One of `boxes` equal parts of the whole.
    pub fn new(total: Pair, boxes: usize) -> Self {
        let part = |total: u64| total.div_ceil(boxes.max(1) as u64).max(1);
        Self(Pair { now: part(total.now), base: part(total.base), common: 0 })
    }

    /// True if the box is drawn by itself.
    pub fn is_met(self, total: Pair) -> bool {
        total.now >= self.0.now || total.base >= self.0.base
    }
}

impl Flamegraph {
    /// Puts boxes in order, siblings by name, and numbers what they stand for. `tiles` begins with
    /// the one that all others stand on.
    pub fn new(names: &Names, tiles: &[Tile<'_>], sides: &Sides<'_>) -> Self {
        let total = tiles.first().map_or(Pair::default(), |tile| tile.total);
        let compared = sides.base.is_some();
        let mut graph = Self {
            total: total.now,
            samples: sides.now.samples,
            in_use: sides.in_use,
            base_total: sides.base.map(|_| total.base),
            base_samples: sides.base.map(|base| base.samples),
            modules: vec![String::new()],
            files: vec![String::new()],
            ..Self::default()
        };
        (graph.tree.base, graph.tree.z) = (compared.then(Vec::new), compared.then(Vec::new));
        let mut legend = Legend::default();
        let children = Children::new(names, tiles);
        let mut narrow = 0;
        let mut open: Vec<(u32, usize)> = if tiles.is_empty() { vec![] } else { vec![(0, 0)] };
        while let Some((depth, place)) = open.pop() {
            let tile = &tiles[place];
            narrow += if tile.label == Label::Other { tile.total.now } else { 0 };
            graph.tree.depth.push(depth);
            let function = legend.number(names, tile.label, &mut graph);
            graph.tree.function.push(function);
            graph.tree.total.push(tile.total.now);
            graph.tree.own.push(tile.own.now);
            if let Some(base) = &mut graph.tree.base {
                base.push(tile.total.base);
            }
            if let (Some(scores), Some(z)) = (&mut graph.tree.z, sides.z(tile.total)) {
                scores.push(z);
            }
            open.extend(children.of(place).iter().rev().map(|child| (depth + 1, *child)));
        }
        graph.pruned = narrow as f64 / total.now.max(1) as f64;
        graph
    }
}

/// For each box those that stand on it, by name; what is too narrow comes last.
struct Children {
    places: Vec<usize>,
    starts: Vec<usize>,
}

impl Children {
    fn new(names: &Names, tiles: &[Tile<'_>]) -> Self {
        let mut starts = vec![0; tiles.len() + 1];
        for tile in tiles.iter().skip(1) {
            starts[tile.parent + 1] += 1;
        }
        for place in 1..starts.len() {
            starts[place] += starts[place - 1];
        }
        let mut ends = starts.clone();
        let mut places = vec![0; tiles.len().saturating_sub(1)];
        for (place, tile) in tiles.iter().enumerate().skip(1) {
            places[ends[tile.parent]] = place;
            ends[tile.parent] += 1;
        }
        let key = |place: &usize| match tiles[*place].label {
            Label::All | Label::Other => (true, "", None),
            Label::Group(name) => (false, name, None),
            Label::Function(function) => (false, names.name(function), Some(names.kind(function))),
        };
        for place in 0..tiles.len() {
            places[starts[place]..starts[place + 1]].sort_by(|a, b| key(a).cmp(&key(b)));
        }
        Self { places, starts }
    }

    fn of(&self, place: usize) -> &[usize] {
        &self.places[self.starts[place]..self.starts[place + 1]]
    }
}

/// The numbers of functions, groups and texts in an answer.
#[derive(Default)]
struct Legend<'a> {
    functions: HashMap<Label<'a>, u32, foldhash::fast::RandomState>,
    kinds: HashMap<&'static str, u32>,
    modules: HashMap<u32, u32>,
    files: HashMap<u32, u32>,
}

impl<'a> Legend<'a> {
    fn number(&mut self, names: &Names, label: Label<'a>, graph: &mut Flamegraph) -> u32 {
        let next = self.functions.len() as u32;
        let number = *self.functions.entry(label).or_insert(next);
        if number < next {
            return number;
        }
        let (name, kind, place) = match label {
            Label::All => ("all", GROUP, None),
            Label::Group(name) => (name, GROUP, None),
            Label::Other => ("other", OTHER, None),
            Label::Function(function) => {
                (names.name(function), names.kind(function).word(), Some(names.place(function)))
            }
        };
        let functions = &mut graph.functions;
        functions.name.push(graph.names.len() as u32);
        graph.names.push(name.to_owned());
        functions.kind.push(*self.kinds.entry(kind).or_insert_with(|| {
            graph.kinds.push(kind.to_owned());
            graph.kinds.len() as u32 - 1
        }));
        let text = |known: &mut HashMap<u32, u32>, list: &mut Vec<String>, string: u32| {
            if string == 0 {
                return 0;
            }
            *known.entry(string).or_insert_with(|| {
                list.push(names.text(string).to_owned());
                list.len() as u32 - 1
            })
        };
        let place = place.unwrap_or_default();
        functions.module.push(text(&mut self.modules, &mut graph.modules, place.module));
        functions.file.push(text(&mut self.files, &mut graph.files, place.file));
        functions.line.push(place.line);
        number
    }
}
