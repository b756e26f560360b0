//! Whether what got more is too much: what a build pipeline goes by.
//!
//! Growth is told as a share of the whole, never of the function itself: one that took 0.1 % and takes
//! twice that is nobody's trouble. Where both sides did the same work it is the amount by which it
//! grew, of all that the base took, and the whole is judged as well; else how long each side ran is
//! chance, and it is by how much the share grew. Memory in use is an amount always. Too much is what
//! exceeds the limit for sure, as far as that is asked: the lower end of a one-sided interval.

use serde::Serialize;

use super::diff::{Change, Diff};
use crate::model::{amount_error, quantile, share_error};

/// What is too much.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// The most that anything may grow, of one.
    pub limit: f64,
    /// How sure it has to be that it did, of one.
    pub confidence: f64,
    /// Both sides did the same work.
    pub same_work: bool,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Nothing grew too much.
    pub passed: bool,
    limit: f64,
    confidence: f64,
    same_work: bool,
    /// The whole, where it can be judged.
    pub total: Option<Judged>,
    /// The functions that grew too much, those that grew most first.
    pub functions: Vec<Judged>,
}

/// The growth of something.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// The function, or nothing for the whole.
    pub name: String,
    /// Path of the binary that it is in; empty if not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub binary: String,
    /// What it was, in the unit of what is compared.
    pub base: u64,
    /// What it is.
    pub new: u64,
    /// By how much it grew, of the whole.
    pub growth: f64,
    /// By how much at least, with the confidence asked for.
    pub at_least: f64,
    /// That is too much.
    pub failed: bool,
}

impl Diff {
    /// Judges all functions, and the whole.
    pub fn judge(&self, gate: Gate) -> Verdict {
        let z = quantile(gate.confidence);
        let functions = self.functions.iter().map(|change| self.grown(change, gate, z));
        let mut functions: Vec<Judged> = functions.filter(|judged| judged.failed).collect();
        functions.sort_by(|a, b| b.growth.total_cmp(&a.growth).then_with(|| a.name.cmp(&b.name)));
        let total = (gate.same_work || self.of_amounts).then(|| self.whole(gate, z));
        let failed = total.as_ref().is_some_and(|total| total.failed);
        Verdict {
            passed: functions.is_empty() && !failed,
            limit: gate.limit,
            confidence: gate.confidence,
            same_work: gate.same_work,
            total,
            functions,
        }
    }

    fn grown(&self, change: &Change, gate: Gate, z: f64) -> Judged {
        let (base, new) = (change.base as f64, change.new as f64);
        let sides = (&self.base.side, &self.new.side);
        let (difference, error) = if self.of_amounts {
            // What both sides have of it adds nothing to the noise, as its z says.
            let error = if change.z == 0.0 { 0.0 } else { (change.change / change.z).abs() };
            (change.change / sides.0.total, error / sides.0.total)
        } else if gate.same_work {
            let error = amount_error(sides.0, base, sides.1, new);
            ((new - base) / sides.0.total, error / sides.0.total)
        } else {
            (change.change, share_error(sides.0, base, sides.1, new))
        };
        let at_least = difference - z * error;
        Judged {
            name: change.name.clone(),
            binary: change.binary.clone(),
            base: change.base,
            new: change.new,
            growth: difference,
            at_least,
            failed: at_least > gate.limit,
        }
    }

    fn whole(&self, gate: Gate, z: f64) -> Judged {
        let (base, new) = (&self.base.side, &self.new.side);
        let difference = new.total - base.total;
        let error = amount_error(base, base.total, new, new.total);
        let at_least = (difference - z * error) / base.total;
        Judged {
            name: String::new(),
            binary: String::new(),
            base: self.base.amount(self.by_count),
            new: self.new.amount(self.by_count),
            growth: difference / base.total,
            at_least,
            failed: at_least > gate.limit,
        }
    }
}

impl Verdict {
    /// What it is, in a line.
    pub fn line(&self) -> String {
        let limit = share(self.limit);
        let sure = share(self.confidence);
        if self.passed {
            return format!("passed: nothing got {limit} more, with a confidence of {sure}");
        }
        let total = self.total.as_ref().filter(|total| total.failed).map(|_| "the whole");
        let functions = match self.functions.len() {
            0 => None,
            1 => Some("a function".to_owned()),
            several => Some(format!("{several} functions")),
        };
        let what: Vec<String> = total.map(str::to_owned).into_iter().chain(functions).collect();
        let what = what.join(" and ");
        format!("failed: {what} got more than {limit} more, with a confidence of {sure}")
    }
}

/// A share in per cent, with as many places as it has.
fn share(share: f64) -> String {
    let text = format!("{:.4}", 100.0 * share);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}
