//! The values that a label has, to choose from.

use std::collections::HashMap;

use serde::Serialize;

use super::weights::Weights;
use crate::model::Label;

/// Values of a label.
#[derive(Debug, Default, Serialize)]
pub struct Labels {
    /// Those with the largest total first.
    pub values: Vec<Value>,
    /// How many there are, those beyond the limit included.
    pub count: usize,
}

/// One value of a label.
#[derive(Debug, Serialize)]
pub struct Value {
    /// As `only=LABEL=VALUE` takes it; empty for what has none.
    pub value: String,
    /// Sum of the samples' values.
    pub total: u64,
}

/// The `limit` largest values of `label`, by which `weights` are grouped.
pub fn labels(weights: &Weights, label: Label, limit: usize) -> Labels {
    let missing = format!("[no {}]", label.word());
    let mut totals: HashMap<&str, u64> = HashMap::new();
    for group in &weights.groups {
        let name = group.name.as_deref().filter(|name| *name != missing).unwrap_or_default();
        *totals.entry(name).or_default() += group.total;
    }
    let mut values: Vec<Value> =
        totals.into_iter().map(|(value, total)| Value { value: value.to_owned(), total }).collect();
    values.sort_by(|a, b| b.total.cmp(&a.total).then_with(|| a.value.cmp(&b.value)));
    let count = values.len();
    values.truncate(limit);
    Labels { values, count }
}
