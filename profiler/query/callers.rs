//! Flame graphs from the leaves on: what runs, and on it who called it.
//!
//! The whole inverted tree may be far larger than the tree itself, so it is followed level by
//! level, and only where boxes are wide enough to be drawn.

use std::time::Instant;

use super::{
    Result,
    names::{Names, ROOT},
    straight::groups,
    timely,
    tree::{Label, Least, Pair, Sides, Tile},
};

/// A path that is followed towards its root: the node that it has come to, and its value.
#[derive(Clone, Copy)]
struct Path {
    node: u32,
    value: Pair,
}

/// The boxes of what is shown, and of its base beside it, from the leaves on.
///
/// # Errors
/// It is `until` already.
pub fn inverted<'a>(
    names: &Names,
    sides: &Sides<'a>,
    boxes: usize,
    until: Instant,
) -> Result<Vec<Tile<'a>>> {
    let total = sides.total();
    let least = Least::new(total, boxes);
    let mut out = vec![Tile { parent: 0, label: Label::All, total, own: Pair::default() }];
    let mut narrow = Pair::default();
    for (name, groups) in groups(sides) {
        let whole = Pair::of(groups.map(|group| group.map_or(0, |group| group.total)));
        let mut root = 0;
        if let Some(name) = name {
            if !least.is_met(whole) {
                narrow += whole;
                continue;
            }
            let label = Label::Group(name);
            out.push(Tile { parent: 0, label, total: whole, own: Pair::default() });
            root = out.len() - 1;
        }
        let mut paths = Vec::new();
        for (side, group) in groups.into_iter().enumerate() {
            let own = group.map_or(&[][..], |group| &group.own);
            paths.extend(
                own.iter().map(|(node, own)| Path { node: *node, value: Pair::on(side, *own) }),
            );
        }
        follow(names, paths, root, least, &mut out, until)?;
    }
    if !narrow.is_zero() {
        out.push(Tile { parent: 0, label: Label::Other, total: narrow, own: narrow });
    }
    Ok(out)
}

/// Who called `function`: `calls` are its nodes, and the value of each.
///
/// # Errors
/// It is `until` already.
pub fn callers(
    names: &Names,
    function: u32,
    calls: &[(u32, Pair)],
    least: Least,
    until: Instant,
) -> Result<Vec<Tile<'static>>> {
    let mut total = Pair::default();
    calls.iter().for_each(|(_, value)| total += *value);
    let label = Label::Function(function);
    let mut out = vec![Tile { parent: 0, label, total, own: Pair::default() }];
    let paths = calls.iter().map(|(node, value)| Path { node: up(names, *node), value: *value });
    follow(names, paths.collect(), 0, least, &mut out, until)?;
    Ok(out)
}

/// The caller's node.
fn up(names: &Names, node: u32) -> u32 {
    names.node(node).map_or(ROOT, |node| node.parent)
}

/// Appends what stands on the box `root`: one for each function that `paths` are at, and on it
/// where they came from.
fn follow(
    names: &Names,
    paths: Vec<Path>,
    root: usize,
    least: Least,
    out: &mut Vec<Tile<'_>>,
    until: Instant,
) -> Result<()> {
    let mut open = vec![(root, paths)];
    while let Some((parent, mut paths)) = open.pop() {
        timely(until)?;
        // A path that has come to its root ends in the box that it is at.
        paths.retain(|path| {
            if path.node == ROOT {
                out[parent].own += path.value;
            }
            path.node != ROOT
        });
        let function = |path: &Path| names.node(path.node).map_or(0, |node| node.function);
        paths.sort_unstable_by_key(function);
        let mut narrow = Pair::default();
        for run in paths.chunk_by(|a, b| function(a) == function(b)) {
            let mut total = Pair::default();
            run.iter().for_each(|path| total += path.value);
            if !least.is_met(total) {
                narrow += total;
                continue;
            }
            let label = Label::Function(function(&run[0]));
            out.push(Tile { parent, label, total, own: Pair::default() });
            let next = |path: &Path| Path { node: up(names, path.node), value: path.value };
            open.push((out.len() - 1, run.iter().map(next).collect()));
        }
        if !narrow.is_zero() {
            out.push(Tile { parent, label: Label::Other, total: narrow, own: narrow });
        }
    }
    Ok(())
}
