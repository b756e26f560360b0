//! Flame graphs from the root on: the groups, and on each of them the functions of its stacks.

use std::{cmp::Ordering, time::Instant};

use super::{
    Result,
    names::{Names, ROOT},
    timely,
    tree::{Label, Least, Pair, Tile},
    weights::{Group, Weights},
};

/// The boxes of `now`, and of `base` beside it: groups, and the functions of their stacks.
///
/// # Errors
/// It is `until` already.
pub fn straight<'a>(
    names: &Names,
    now: &'a Weights,
    base: Option<&'a Weights>,
    boxes: usize,
    until: Instant,
    sums: &mut Scratch,
) -> Result<Vec<Tile<'a>>> {
    let total = Pair { now: now.total, base: base.map_or(0, |base| base.total) };
    let least = Least::new(total, boxes);
    sums.fit(names, base.is_some());
    let mut out = vec![Tile { parent: 0, label: Label::All, total, own: Pair::default() }];
    let mut narrow = Pair::default();
    for (name, now, base) in groups(now, base) {
        timely(until)?;
        let whole = Pair { now: total_of(now), base: total_of(base) };
        if name.is_some() && !least.is_met(whole) {
            narrow += whole;
            continue;
        }
        sums.add_up(names, own_of(now), own_of(base));
        let mut root = 0;
        if let Some(name) = name {
            root = out.len();
            let label = Label::Group(name);
            out.push(Tile { parent: 0, label, total: whole, own: Pair::default() });
        }
        sums.boxes(names, root, least, [own_of(now), own_of(base)], &mut out);
    }
    if !narrow.is_zero() {
        out.push(Tile { parent: 0, label: Label::Other, total: narrow, own: narrow });
    }
    Ok(out)
}

fn own_of(group: Option<&Group>) -> &[(u32, u64)] {
    group.map_or(&[], |group| &group.own)
}

fn total_of(group: Option<&Group>) -> u64 {
    group.map_or(0, |group| group.total)
}

type GroupPair<'a> = (Option<&'a str>, Option<&'a Group>, Option<&'a Group>);

/// The groups of both by name.
pub fn groups<'a>(now: &'a Weights, base: Option<&'a Weights>) -> Vec<GroupPair<'a>> {
    let mut pairs = Vec::new();
    let (mut now, mut base) =
        (now.groups.iter().peekable(), base.map_or(&[][..], |base| &base.groups).iter().peekable());
    loop {
        let order = match (now.peek(), base.peek()) {
            (Some(a), Some(b)) => a.name.cmp(&b.name),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return pairs,
        };
        let one = if order == Ordering::Greater { None } else { now.next() };
        let other = if order == Ordering::Less { None } else { base.next() };
        let name = one.or(other).and_then(|group| group.name.as_deref());
        pairs.push((name, one, other));
    }
}

/// Sums over the tree of names, used for one group after the other, and for one answer after the
/// other: all is 0 in between. To have new zeros each time would take longer than the sums.
///
/// Nodes with a sum are marked in a bit map that a CPU's cache holds, so that one group of many
/// costs what it has, and not a look at every node that there is.
#[derive(Default)]
pub struct Scratch {
    pub(super) total: [Vec<u64>; 2],
    /// A bit for each node that has a sum.
    marked: Vec<u64>,
    /// The box of each node that has one.
    place: Vec<u32>,
}

/// The box of a node that has none.
const NONE: u32 = u32::MAX;

impl Scratch {
    /// Makes room for all of `names`, and for a base.
    pub(super) fn fit(&mut self, names: &Names, base: bool) {
        let size = names.size();
        self.total[0].resize(size, 0);
        self.total[1].resize(if base { size } else { self.total[1].len().min(size) }, 0);
        self.marked.resize(size.div_ceil(64), 0);
        self.place.resize(size, NONE);
    }

    fn total(&self, node: u32) -> Pair {
        let base = self.total[1].get(node as usize).copied().unwrap_or_default();
        Pair { now: self.total[0][node as usize], base }
    }

    fn mark(&mut self, node: u32) {
        self.marked[node as usize / 64] |= 1 << (node % 64);
    }

    /// Adds up all nodes, from the last to the first: a caller has a smaller number.
    fn add_up(&mut self, names: &Names, now: &[(u32, u64)], base: &[(u32, u64)]) {
        for (which, own) in [now, base].into_iter().enumerate() {
            for &(node, value) in own {
                self.total[which][node as usize] += value;
                self.mark(node);
            }
        }
        let sums = if base.is_empty() { 1 } else { 2 };
        for word in (0..self.marked.len()).rev() {
            // Callers may be marked in this very word meanwhile, below the bit that is looked at.
            let mut below = u64::MAX;
            loop {
                let left = self.marked[word] & below;
                if left == 0 {
                    break;
                }
                let bit = 63 - left.leading_zeros();
                below = (1 << bit) - 1;
                let node = word * 64 + bit as usize;
                let Some(found) = names.node(node as u32) else { continue };
                for total in &mut self.total[..sums] {
                    total[found.parent as usize] += total[node];
                }
                self.mark(found.parent);
            }
        }
    }

    /// Appends the boxes on `root`, one for what is too narrow on each of them included. What they
    /// were made of is forgotten.
    fn boxes<'a>(
        &mut self,
        names: &Names,
        root: usize,
        least: Least,
        own: [&[(u32, u64)]; 2],
        out: &mut Vec<Tile<'a>>,
    ) {
        let first = out.len();
        let whole = self.total(ROOT);
        // What is drawn on `root`, and then on each box from `first` on.
        let mut drawn = vec![Pair::default()];
        let mut nodes = vec![ROOT];
        self.place[ROOT as usize] = 0;
        for word in 0..self.marked.len() {
            let mut left = std::mem::take(&mut self.marked[word]);
            while left != 0 {
                let node = (word * 64) as u32 + left.trailing_zeros();
                left &= left - 1;
                let total = self.total(node);
                self.total[0][node as usize] = 0;
                if let Some(base) = self.total[1].get_mut(node as usize) {
                    *base = 0;
                }
                let Some(found) = names.node(node).filter(|_| least.is_met(total)) else {
                    continue;
                };
                // A caller has at least the sum of what it calls, so it is drawn too.
                let index = self.place[found.parent as usize] as usize;
                drawn[index] += total;
                drawn.push(Pair::default());
                nodes.push(node);
                self.place[node as usize] = nodes.len() as u32 - 1;
                let parent = if index == 0 { root } else { first + index - 1 };
                let label = Label::Function(found.function);
                out.push(Tile { parent, label, total, own: Pair::default() });
            }
        }
        let mut ends = vec![Pair::default(); nodes.len()];
        for (which, own) in own.into_iter().enumerate() {
            for &(node, value) in own {
                if let Some(ends) = ends.get_mut(self.place[node as usize] as usize) {
                    let sum = if which == 0 { &mut ends.now } else { &mut ends.base };
                    *sum += value;
                }
            }
        }
        for (index, ends) in ends.into_iter().enumerate() {
            self.place[nodes[index] as usize] = NONE;
            let place = if index == 0 { root } else { first + index - 1 };
            out[place].own += ends;
            let total = if index == 0 { whole } else { out[place].total };
            let narrow = total - ends - drawn[index];
            if !narrow.is_zero() {
                out.push(Tile { parent: place, label: Label::Other, total: narrow, own: narrow });
            }
        }
    }
}
