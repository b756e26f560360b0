//! What shows functions, whole: flame graph, table, and the sandwich of one function.

use std::{collections::HashMap, time::Instant};

use serde::Serialize;

use super::{
    Error, Result,
    callers::{callers, inverted},
    names::Names,
    straight::{Scratch, straight},
    table::{Row, Table, rows, tally, totals},
    timely,
    tree::{Flamegraph, Label, Least, Pair, SIDES, Sides, Tile},
};
use crate::model::{View, significant};

/// A flame graph of about `boxes` wide boxes.
///
/// # Errors
/// It is `until` already.
pub fn flamegraph(
    names: &Names,
    view: &View,
    sides: &Sides<'_>,
    boxes: usize,
    until: Instant,
    scratch: &mut Scratch,
) -> Result<Flamegraph> {
    let tiles = match view.inverted {
        true => inverted(names, sides, boxes, until)?,
        false => straight(names, sides, boxes, until, scratch)?,
    };
    Ok(Flamegraph::new(names, &tiles, sides))
}

/// The `limit` functions with the largest self; with a base, those that changed most beyond what
/// chance explains.
pub fn table(names: &Names, sides: &Sides<'_>, limit: usize) -> Table {
    let tallies = tally(names, sides);
    let mut functions = rows(names, &tallies, sides);
    let name = |a: &Row, b: &Row| (&a.name, a.kind).cmp(&(&b.name, b.kind));
    functions.sort_by(|a, b| (b.own, b.total).cmp(&(a.own, a.total)).then_with(|| name(a, b)));
    if sides.base.is_some() {
        let scores: Vec<f64> = functions.iter().map(|row| row.z.unwrap_or_default()).collect();
        for (row, significant) in functions.iter_mut().zip(significant(&scores)) {
            row.significant = Some(significant);
        }
        let size = |row: &Row| row.z.unwrap_or_default().abs();
        functions.sort_by(|a, b| size(b).total_cmp(&size(a)));
    }
    let count = functions.len();
    functions.truncate(limit);
    Table {
        unit: String::new(),
        total: sides.now.total,
        samples: sides.now.samples,
        in_use: sides.in_use,
        base_total: sides.base.map(|base| base.total),
        base_samples: sides.base.map(|base| base.samples),
        count,
        functions,
    }
}

/// One function between those that call it and those that it calls.
#[derive(Debug, Serialize)]
pub struct Sandwich {
    /// From the function on, who called it.
    pub callers: Flamegraph,
    /// From the function on, whom it called.
    pub callees: Flamegraph,
}

/// The sandwich of the function `name`. A stack in which it calls itself counts once, from the
/// outermost call on.
///
/// # Errors
/// There is no such function, or it is `until` already.
pub fn sandwich(
    names: &Names,
    sides: &Sides<'_>,
    name: &str,
    boxes: usize,
    until: Instant,
) -> Result<Sandwich> {
    let wanted = names.each(until, |text, _| text == name)?;
    let first = wanted.iter().position(|wanted| *wanted);
    let first = first.ok_or_else(|| Error::Missing(format!("no function {name:?} was sampled")))?;
    timely(until)?;
    let own = sides.all().map(|side| side.map(|side| side.merged(names)).unwrap_or_default());
    let sums = Sums { totals: own.each_ref().map(|own| totals(names, own, |_, _| {})), own };
    timely(until)?;
    let (callees, calls) = callees(names, &sums, &wanted, first as u32);
    let total = callees.first().map_or(Pair::default(), |root| root.total);
    let least = Least::new(total, boxes);
    let callers = callers(names, first as u32, &calls, least, until)?;
    let picture = |tiles: &[Tile<'_>]| Flamegraph::new(names, tiles, sides);
    Ok(Sandwich { callers: picture(&callers), callees: picture(&prune(&callees, least)) })
}

/// What ends in each node and passes through it, on all sides.
struct Sums {
    own: [Vec<(u32, u64)>; SIDES],
    totals: [Vec<u64>; SIDES],
}

/// The boxes of all that `wanted` functions call, as one: the first box is labelled `first`. Gives
/// the outermost calls, too: their nodes, and the value of each.
fn callees(
    names: &Names,
    sums: &Sums,
    wanted: &[bool],
    first: u32,
) -> (Vec<Tile<'static>>, Vec<(u32, Pair)>) {
    const NONE: usize = usize::MAX;
    // The box of each node that has one; its callees' boxes stand on it.
    let mut places = vec![NONE; names.size()];
    let mut known: HashMap<(usize, u32), usize, foldhash::fast::RandomState> = HashMap::default();
    let tile = |parent, function| {
        let label = Label::Function(function);
        Tile { parent, label, total: Pair::default(), own: Pair::default() }
    };
    let (mut tiles, mut calls) = (vec![tile(0, first)], Vec::new());
    for (index, found) in names.nodes().iter().enumerate() {
        let node = index + 1;
        let total = Pair::of(sums.totals.each_ref().map(|totals| totals[node]));
        let above = places[found.parent as usize];
        let place = match above {
            _ if total.is_zero() => continue,
            NONE if wanted[found.function as usize] => {
                calls.push((node as u32, total));
                0
            }
            NONE => continue,
            above => *known.entry((above, found.function)).or_insert_with(|| {
                tiles.push(tile(above, found.function));
                tiles.len() - 1
            }),
        };
        tiles[place].total += total;
        places[node] = place;
    }
    for (side, own) in sums.own.iter().enumerate() {
        for &(node, own) in own {
            if let Some(tile) = tiles.get_mut(places[node as usize]) {
                tile.own += Pair::on(side, own);
            }
        }
    }
    (tiles, calls)
}

/// Merges what is too narrow, box for box.
fn prune<'a>(tiles: &[Tile<'a>], least: Least) -> Vec<Tile<'a>> {
    let mut out: Vec<Tile<'a>> = Vec::new();
    let mut places = vec![None; tiles.len()];
    let mut narrow: Vec<Pair> = Vec::new();
    for (index, tile) in tiles.iter().enumerate() {
        let Some(parent) = (if index == 0 { Some(0) } else { places[tile.parent] }) else {
            continue;
        };
        if index == 0 || least.is_met(tile.total) {
            places[index] = Some(out.len());
            out.push(Tile { parent, ..*tile });
            narrow.push(Pair::default());
        } else {
            narrow[parent] += tile.total;
        }
    }
    for (parent, total) in narrow.into_iter().enumerate().filter(|(_, total)| !total.is_zero()) {
        out.push(Tile { parent, label: Label::Other, total, own: total });
    }
    out
}
