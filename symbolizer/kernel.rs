//! Names of kernel code from `/proc/kallsyms` (format: proc(5)): the way
//! where no BPF program can ask the kernel. The kernel writes some 200,000
//! lines for every reading, so ask for all addresses at once.

use std::fs::File;
use std::io::{BufRead, BufReader};

use crate::maps::hex;
use crate::{Error, Result};

/// The longest distance between a symbol and an address that it names, in
/// bytes. `kallsyms` has no sizes: without a limit the last symbol of a
/// module would name all that follows.
const MAX_DISTANCE: u64 = 1 << 20;
/// The most lines read.
const MAX_LINES: u64 = 8 << 20;

/// A function of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The module that it is from, `bpf` for BPF programs, `None` for the
    /// kernel itself.
    pub module: Option<String>,
}

/// The functions at `addresses`, in their order.
///
/// # Errors
/// [`Error::Absent`] where the kernel hides its addresses from this process,
/// which then see zeros only: by `kptr_restrict`, or for want of the
/// capability `CAP_SYSLOG`. [`Error::Io`] where there is no such file.
pub fn symbolize(addresses: &[u64]) -> Result<Vec<Option<Function>>> {
    let path = "/proc/kallsyms";
    let file = File::open(path).map_err(Error::io(format!("open {path}")))?;
    scan(BufReader::with_capacity(256 << 10, file), addresses)
}

/// As [`symbolize`], from the text of a `kallsyms`.
///
/// # Errors
/// As [`symbolize`], and those of `text`.
pub fn scan(mut text: impl BufRead, addresses: &[u64]) -> Result<Vec<Option<Function>>> {
    let mut order: Vec<(u64, usize)> = addresses.iter().copied().zip(0..).collect();
    order.sort_unstable();
    let mut nearest: Vec<Option<(u64, Function)>> = vec![None; order.len()];
    let mut visible = false;
    let mut line = String::new();
    for _ in 0..MAX_LINES {
        line.clear();
        if text.read_line(&mut line).map_err(Error::io("read /proc/kallsyms"))? == 0 {
            break;
        }
        let mut words = line.split_ascii_whitespace();
        let (Some(start), Some(kind), Some(name)) =
            (words.next().and_then(hex), words.next(), words.next())
        else {
            continue;
        };
        visible |= start != 0;
        if !matches!(kind, "t" | "T" | "w" | "W") {
            continue;
        }
        let at = order.partition_point(|&(address, _)| address < start);
        if let Some(place) = nearest.get_mut(at)
            && place.as_ref().is_none_or(|(known, _)| *known < start)
        {
            let module = words.next().map(|word| word.trim_matches(['[', ']']).to_owned());
            *place = Some((start, Function { name: name.to_owned(), module }));
        }
    }
    if !visible {
        let reason = "the kernel hides its addresses (sysctl kernel.kptr_restrict, CAP_SYSLOG)";
        return Err(Error::Absent(reason.into()));
    }
    let mut found = vec![None; addresses.len()];
    let mut last: Option<(u64, Function)> = None;
    for ((address, at), place) in order.into_iter().zip(nearest) {
        last = place.or(last);
        found[at] = last
            .as_ref()
            .filter(|(start, _)| address - start < MAX_DISTANCE)
            .map(|(_, function)| function.clone());
    }
    Ok(found)
}
