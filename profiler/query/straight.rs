//! Flame graphs from the root on: the groups, and on each of them the functions of its stacks.

use std::{collections::BTreeMap, time::Instant};

use super::{
    Result,
    names::{Names, ROOT},
    timely,
    tree::{Label, Least, Pair, SIDES, Sides, Tile},
    weights::Group,
};

/// The boxes of what is shown, and of its base beside it: groups, and the functions of their stacks.
///
/// # Errors
/// It is `until` already.
pub fn straight<'a>(
    names: &Names,
    sides: &Sides<'a>,
    boxes: usize,
    until: Instant,
    sums: &mut Scratch,
) -> Result<Vec<Tile<'a>>> {
    let total = sides.total();
    let least = Least::new(total, boxes);
    sums.fit(names, sides.all().map(|side| side.is_some()));
    let mut out = vec![Tile { parent: 0, label: Label::All, total, own: Pair::default() }];
    let mut narrow = Pair::default();
    for (name, groups) in groups(sides) {
        timely(until)?;
        let whole = Pair::of(groups.map(|group| group.map_or(0, |group| group.total)));
        if name.is_some() && !least.is_met(whole) {
            narrow += whole;
            continue;
        }
        let own = groups.map(|group| group.map_or(&[][..], |group| &group.own));
        sums.add_up(names, own);
        let mut root = 0;
        if let Some(name) = name {
            root = out.len();
            let label = Label::Group(name);
            out.push(Tile { parent: 0, label, total: whole, own: Pair::default() });
        }
        sums.boxes(names, root, least, own, &mut out);
    }
    if !narrow.is_zero() {
        out.push(Tile { parent: 0, label: Label::Other, total: narrow, own: narrow });
    }
    Ok(out)
}

/// The groups of all sides by name.
pub fn groups<'a>(sides: &Sides<'a>) -> BTreeMap<Option<&'a str>, [Option<&'a Group>; SIDES]> {
    let mut groups: BTreeMap<Option<&str>, [Option<&Group>; SIDES]> = BTreeMap::new();
    for (side, weights) in sides.all().into_iter().enumerate() {
        for group in weights.map_or(&[][..], |weights| &weights.groups) {
            groups.entry(group.name.as_deref()).or_default()[side] = Some(group);
        }
    }
    groups
}

/// Sums over the tree of names, used for one group after the other, and for one answer after the
/// other: all is 0 in between. To have new zeros each time would take longer than the sums.
///
/// Nodes with a sum are marked in a bit map that a CPU's cache holds, so that one group of many
/// costs what it has, and not a look at every node that there is.
#[derive(Default)]
pub struct Scratch {
    pub(super) total: [Vec<u64>; SIDES],
    /// A bit for each node that has a sum.
    marked: Vec<u64>,
    /// The box of each node that has one.
    place: Vec<u32>,
}

/// The box of a node that has none.
const NONE: u32 = u32::MAX;

impl Scratch {
    /// Makes room for all of `names`, on those sides that there are.
    pub(super) fn fit(&mut self, names: &Names, sides: [bool; SIDES]) {
        let size = names.size();
        for (total, is_there) in self.total.iter_mut().zip(sides) {
            total.resize(if is_there { size } else { total.len().min(size) }, 0);
        }
        self.marked.resize(size.div_ceil(64), 0);
        self.place.resize(size, NONE);
    }

    fn total(&self, node: u32) -> Pair {
        let value = |total: &Vec<u64>| total.get(node as usize).copied().unwrap_or_default();
        Pair::of(self.total.each_ref().map(value))
    }

    fn mark(&mut self, node: u32) {
        self.marked[node as usize / 64] |= 1 << (node % 64);
    }

    /// Adds up all nodes, from the last to the first: a caller has a smaller number.
    fn add_up(&mut self, names: &Names, own: [&[(u32, u64)]; SIDES]) {
        for (side, own) in own.iter().enumerate() {
            for &(node, value) in *own {
                self.total[side][node as usize] += value;
                self.mark(node);
            }
        }
        let sums = own.iter().rposition(|own| !own.is_empty()).map_or(0, |last| last + 1);
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
        own: [&[(u32, u64)]; SIDES],
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
                for total in &mut self.total {
                    if let Some(total) = total.get_mut(node as usize) {
                        *total = 0;
                    }
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
        for (side, own) in own.into_iter().enumerate() {
            for &(node, value) in own {
                if let Some(ends) = ends.get_mut(self.place[node as usize] as usize) {
                    *ends += Pair::on(side, value);
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
