//! Functions by what they use: themselves, and with all that they call.

use serde::Serialize;

use super::{
    names::{Names, ROOT},
    tree::Pair,
    weights::Weights,
};
use crate::{model::NameKind, output::NO_STACK};

/// A table of functions.
#[derive(Debug, Default, Serialize)]
pub struct Table {
    /// Unit of all values.
    pub unit: String,
    /// Sum of the values.
    pub total: u64,
    /// Samples.
    pub samples: u64,
    /// Sum of the base's values, where there is a base to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_total: Option<u64>,
    /// Samples of the base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_samples: Option<u64>,
    /// How many functions there are, those beyond the limit included.
    pub count: usize,
    /// The functions, those with the largest self first; with a base, those that changed most.
    pub functions: Vec<Row>,
}

/// One function.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: &'static str,
    /// Path of the binary; empty if not known.
    pub module: String,
    /// Value that ends in it.
    #[serde(rename = "self")]
    pub own: u64,
    /// Value of the stacks that it is in.
    pub total: u64,
    /// As `own`, in the base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_self: Option<u64>,
    /// As `total`, in the base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_total: Option<u64>,
    /// z score of the change of the share of `total`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub z: Option<f64>,
    /// True if sampling alone does not explain the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub significant: Option<bool>,
}

/// What one function comes to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// What ends in it.
    pub own: Pair,
    /// What passes through it.
    pub total: Pair,
}

/// For each function its sums, and last those of samples without a stack.
pub fn tally(names: &Names, now: &Weights, base: Option<&Weights>) -> Vec<Tally> {
    let mut tallies = vec![Tally::default(); names.functions() + 1];
    for (which, weights) in [Some(now), base].into_iter().enumerate() {
        let Some(weights) = weights else { continue };
        let sum = |pair: &mut Pair, value: u64| match which {
            0 => pair.now += value,
            _ => pair.base += value,
        };
        let totals = totals(names, &weights.merged(names), |node, own| {
            let function =
                names.node(node).map_or(names.functions(), |node| node.function as usize);
            sum(&mut tallies[function].own, own);
            if node == ROOT {
                sum(&mut tallies[function].total, own);
            }
        });
        for (node, total) in names.nodes().iter().zip(&totals[1..]) {
            if node.outermost {
                sum(&mut tallies[node.function as usize].total, *total);
            }
        }
    }
    tallies
}

/// For each node what ends in it and above it. Tells `each` node and what ends in it, too.
pub fn totals(names: &Names, own: &[(u32, u64)], mut each: impl FnMut(u32, u64)) -> Vec<u64> {
    let mut totals = vec![0; names.size()];
    for &(node, own) in own {
        each(node, own);
        totals[node as usize] = own;
    }
    for (index, node) in names.nodes().iter().enumerate().rev() {
        totals[node.parent as usize] += totals[index + 1];
    }
    totals
}

/// The rows of all functions that there are in either, in no order.
pub fn rows(names: &Names, tallies: &[Tally], base: bool) -> Vec<Row> {
    let used = tallies.iter().enumerate().filter(|(_, tally)| !tally.total.is_zero());
    let row = |(function, tally): (usize, &Tally)| {
        let known = function < names.functions();
        let function = function as u32;
        Row {
            name: if known { names.name(function).into() } else { NO_STACK.into() },
            kind: if known { names.kind(function) } else { NameKind::Unknown }.word(),
            module: names.text(names.place(function).module).into(),
            own: tally.own.now,
            total: tally.total.now,
            base_self: base.then_some(tally.own.base),
            base_total: base.then_some(tally.total.base),
            z: None,
            significant: None,
        }
    };
    used.map(row).collect()
}
