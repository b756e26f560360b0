//! Totals of system calls, which the kernel half keeps by call and CPU.

use anyhow::Result;
use libbpf_rs::{MapCore, MapFlags};

use super::table::Table;
use crate::{
    bpf::{self, syscalls::types::totals},
    model::{CallTotals, Histogram},
};

/// What was counted of each call that there was.
pub fn read(table: &Table, map: &impl MapCore) -> Result<Vec<CallTotals>> {
    let mut all = Vec::new();
    for (number, call) in table.calls() {
        let cpus = map.lookup_percpu(&number.to_ne_bytes(), MapFlags::ANY)?.unwrap_or_default();
        let mut sum = CallTotals { name: call.name.clone(), ..CallTotals::default() };
        for cpu in cpus.iter().filter_map(|bytes| bpf::read::<totals>(bytes)) {
            sum.errors += cpu.errors;
            sum.times.merge(&Histogram::from_counts(&cpu.counts, cpu.sum, cpu.max));
        }
        if sum.times.count() > 0 {
            all.push(sum);
        }
    }
    Ok(all)
}
