//! Stacks as folded lines and flame graphs show them: root first, a label at the root, equal ones
//! added up.
//!
//! Labels are numbered in the order of their texts, so that stacks sort by their frames, which
//! sorting finished lines does not do: `read (deleted)` would stand between `read` and `read;x`,
//! and a flame graph would draw `read` twice.

use crate::model::{NameKind, Profile, Table, Tables, View};

use super::{Map, summary, text};

/// One frame as it is shown.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Label {
    /// The name, safe within a folded line.
    pub text: String,
    /// What it is; none for the label at the root, which is no function.
    pub kind: Option<NameKind>,
}

/// The stacks of a profile, and the labels that they are made of.
#[derive(Debug, Default)]
pub struct Fold {
    /// Distinct labels, sorted.
    pub labels: Vec<Label>,
    /// For each distinct stack, its labels from the root on, and its samples, or their value if the
    /// view is by value; sorted.
    pub stacks: Vec<(Vec<u32>, u64)>,
}

/// Folds what `view` shows of `profile`.
pub fn fold(profile: &Profile, view: &View) -> Fold {
    let tables = &profile.tables;
    let by_value = view.is_by_value(profile);
    let mut labels = Labels::default();
    let mut counts: Map<(Option<u32>, u32), u64> = Map::default();
    let mut roots: Map<u32, Option<u32>> = Map::default();
    for sample in &profile.samples {
        let root = *roots
            .entry(sample.thread)
            .or_insert_with(|| Some(labels.intern(&view.root(sample, tables)?, None)));
        *counts.entry((root, sample.stack)).or_default() +=
            if by_value { sample.value } else { sample.count };
    }
    let mut stacks = Vec::with_capacity(counts.len());
    for ((root, stack), count) in counts {
        stacks.push((labels.path(root, stack, view.inverted, tables), count));
    }
    labels.sort(stacks)
}

/// Labels in order of arrival, and those of each frame once it was met.
#[derive(Default)]
struct Labels {
    table: Table<Label>,
    frames: Map<u32, Box<[u32]>>,
}

impl Labels {
    fn intern(&mut self, name: &str, kind: Option<NameKind>) -> u32 {
        self.table.intern(Label { text: text::folded(name), kind })
    }

    /// The labels of a stack, from the root on.
    fn path(&mut self, root: Option<u32>, stack: u32, inverted: bool, tables: &Tables) -> Vec<u32> {
        let mut path = Vec::new();
        for frame in tables.stacks.frames(stack) {
            if let Some(labels) = self.frames.get(&frame) {
                path.extend(labels);
                continue;
            }
            let names = tables.names(frame).map(|name| self.intern(&name.text, Some(name.kind)));
            let labels: Box<[u32]> = names.collect();
            path.extend(&labels);
            self.frames.insert(frame, labels);
        }
        if path.is_empty() && root.is_none() {
            // A line with nothing in it would be no line at all.
            path.push(self.intern(summary::NO_STACK, Some(NameKind::Unknown)));
        }
        if !inverted {
            path.reverse();
        }
        root.into_iter().chain(path).collect()
    }

    /// Renumbers labels by their texts, and adds up the stacks that are equal.
    fn sort(self, mut stacks: Vec<(Vec<u32>, u64)>) -> Fold {
        let mut order: Vec<(&Label, u32)> = self.table.since(0).zip(0..).collect();
        order.sort_unstable();
        let mut ranks = vec![0; order.len()];
        for (rank, (_, index)) in (0..).zip(&order) {
            ranks[*index as usize] = rank;
        }
        for label in stacks.iter_mut().flat_map(|(path, _)| path) {
            *label = ranks[*label as usize];
        }
        stacks.sort_unstable();
        stacks.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            kept.1 += if same { next.1 } else { 0 };
            same
        });
        Fold { labels: order.into_iter().map(|(label, _)| label.clone()).collect(), stacks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::example;

    #[test]
    fn stacks_sort_by_their_frames() {
        let mut profile = example::empty();
        for names in [&["read", "x"][..], &["read"], &["read (deleted)"], &["read", "x"]] {
            example::add(&mut profile, names);
        }
        let fold = fold(&profile, &View::default());
        let texts = |path: &[u32]| {
            let texts: Vec<_> =
                path.iter().map(|label| &*fold.labels[*label as usize].text).collect();
            texts.join(";")
        };
        let stacks: Vec<_> =
            fold.stacks.iter().map(|(path, count)| (texts(path), *count)).collect();
        let expected = [("app;read", 1), ("app;read;x", 2), ("app;read (deleted)", 1)];
        assert_eq!(stacks, expected.map(|(path, count)| (path.to_owned(), count)));
    }
}
