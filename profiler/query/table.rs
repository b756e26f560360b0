//! Functions by what they use: themselves, and with all that they call.

use serde::Serialize;

use super::{
    names::{Names, ROOT},
    tree::{Pair, Sides},
};
use crate::{
    model::{NameKind, is_allocator},
    output::NO_STACK,
};

/// A table of functions.
#[derive(Debug, Default, Serialize)]
pub struct Table {
    /// Unit of all values.
    pub unit: String,
    /// Sum of the values.
    pub total: u64,
    /// Samples, or what else the source counts.
    pub samples: u64,
    /// True if it is of what is in use: then amounts are compared, and not shares.
    pub in_use: bool,
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
    /// z score of the change of the share of `total`; of what is in use, of its amount.
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
pub fn tally(names: &Names, sides: &Sides<'_>) -> Vec<Tally> {
    let mut tallies = vec![Tally::default(); names.functions() + 1];
    let owner = Owner::new(names, sides.is_memory);
    for (side, weights) in sides.all().into_iter().enumerate() {
        let Some(weights) = weights else { continue };
        let totals = totals(names, &weights.merged(names), |node, own| {
            let owner = owner.of(names, node);
            let function =
                names.node(owner).map_or(names.functions(), |node| node.function as usize);
            tallies[function].own += Pair::on(side, own);
            if node == ROOT {
                tallies[function].total += Pair::on(side, own);
            }
        });
        for (node, total) in names.nodes().iter().zip(&totals[1..]) {
            if node.outermost {
                tallies[node.function as usize].total += Pair::on(side, *total);
            }
        }
    }
    tallies
}

/// Tells whose own is what ends in a node: of memory, that of who called the allocator.
struct Owner {
    /// For each function whether it is an allocator; empty where that does not matter.
    allocators: Vec<bool>,
}

impl Owner {
    fn new(names: &Names, is_memory: bool) -> Self {
        let functions = 0..if is_memory { names.functions() as u32 } else { 0 };
        Self { allocators: functions.map(|function| is_allocator(names.name(function))).collect() }
    }

    fn of(&self, names: &Names, node: u32) -> u32 {
        let mut owner = node;
        while let Some(found) = names.node(owner)
            && self.allocators.get(found.function as usize) == Some(&true)
        {
            if found.parent == ROOT {
                return node;
            }
            owner = found.parent;
        }
        owner
    }
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
pub fn rows(names: &Names, tallies: &[Tally], sides: &Sides<'_>) -> Vec<Row> {
    let base = sides.base.is_some();
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
            z: sides.z(tally.total),
            significant: None,
        }
    };
    used.map(row).collect()
}
