//! Any probe: what has no source of its own, named by a text such as `uprobe:/usr/bin/bash:main`.
//!
//! ```text
//! text ─► Probe ─► resolve ─► Point ─► attach ─► hits of the source that it is for
//!                   │  files, symbols, USDT notes, debug information, tracefs, BTF
//!                   └► where it is, and where its arguments are
//! ```

mod argument;
mod attach;
mod events;
mod file;
mod function;
mod kernel;
mod list;
mod operand;
mod pattern;
mod resolve;
mod tracefs;
mod types;

use std::fmt;

use anyhow::{Result, bail};

pub use argument::{ARGUMENTS_MAX, Argument, Shown, list as argument_list};
pub use attach::{attach, choose_programs};
pub use events::PerfEvent;
pub use kernel::explain_fentry;
pub use list::{Entry, Listed, list};
pub use resolve::{Point, Site, resolve};
pub use tracefs::Format;

use crate::nearest::nearest;

/// A probe, as it is named.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Probe {
    /// A tracepoint of the kernel.
    Tracepoint {
        /// Such as `sched`.
        category: String,
        /// Such as `sched_switch`.
        name: String,
    },
    /// A function of a program or library.
    Uprobe {
        /// A path; a program, by its name; or a library, by its name.
        file: String,
        /// Its symbol, or as programmers wrote it.
        function: String,
        /// Its return, not its entry.
        back: bool,
    },
    /// A place that a program marks for tracers.
    Usdt {
        /// As of [`Probe::Uprobe`].
        file: String,
        /// Who offers it.
        provider: String,
        /// What it is called.
        name: String,
    },
    /// An event that the kernel or the hardware counts.
    Perf {
        /// Such as `page-faults`.
        event: String,
    },
    /// A function of the kernel, by a breakpoint.
    Kprobe {
        /// Its symbol.
        function: String,
        /// Its return, not its entry.
        back: bool,
    },
    /// A function of the kernel, by a trampoline: less than a tenth of the cost of a kprobe.
    Fentry {
        /// Its symbol.
        function: String,
        /// Its return, not its entry.
        back: bool,
    },
}

/// The kinds, and how each is written.
pub const KINDS: [(&str, &str); 6] = [
    ("tracepoint", "tracepoint:CATEGORY:NAME"),
    ("uprobe", "uprobe:FILE:FUNCTION"),
    ("usdt", "usdt:FILE:PROVIDER:NAME"),
    ("perf", "perf:EVENT"),
    ("kprobe", "kprobe:FUNCTION"),
    ("fentry", "fentry:FUNCTION"),
];

/// What ends the name of a function of which the return is meant.
const BACK: &str = "/ret";

/// True if a text is meant to be a probe, and not the name of anything else.
pub fn is_probe(text: &str) -> bool {
    text.contains(':')
}

impl Probe {
    /// The probe that a text names.
    ///
    /// # Errors
    /// It names none: says how probes of its kind are written.
    pub fn parse(text: &str) -> Result<Self> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let Some((_, form)) = KINDS.iter().find(|(known, _)| *known == kind) else {
            let forms: Vec<&str> = KINDS.iter().map(|(_, form)| *form).collect();
            let near = nearest(kind, KINDS.map(|(kind, _)| kind.to_owned()));
            bail!("no kind of probe is called {kind:?}{near}; there are {}", forms.join(", "));
        };
        match Self::of(kind, rest) {
            Some(probe) => Ok(probe),
            None => bail!("{text:?} is not the whole name of a probe; it is written {form}"),
        }
    }

    fn of(kind: &str, rest: &str) -> Option<Self> {
        if rest.is_empty() || rest.contains('\0') {
            return None;
        }
        let (name, back) = match rest.strip_suffix(BACK) {
            Some(name) => (name, true),
            None => (rest, false),
        };
        let both = |text: &str| {
            let (first, second) = text.split_once(':')?;
            let whole = !first.is_empty() && !second.is_empty();
            whole.then(|| (first.to_owned(), second.to_owned()))
        };
        Some(match kind {
            "tracepoint" => {
                let (category, name) = both(rest)?;
                // They become a path.
                if [&category, &name].iter().any(|word| word.contains('/') || word.contains("..")) {
                    return None;
                }
                Self::Tracepoint { category, name }
            }
            "uprobe" => {
                let (file, function) = both(name)?;
                Self::Uprobe { file, function, back }
            }
            "usdt" => {
                let (file, rest) = both(rest)?;
                let (provider, name) = both(&rest)?;
                Self::Usdt { file, provider, name }
            }
            "perf" => Self::Perf { event: rest.to_owned() },
            _ if name.is_empty() => return None,
            "kprobe" => Self::Kprobe { function: name.to_owned(), back },
            _ => Self::Fentry { function: name.to_owned(), back },
        })
    }

    /// True if it is at the return of a function.
    pub fn is_back(&self) -> bool {
        match self {
            Self::Uprobe { back, .. } | Self::Kprobe { back, .. } | Self::Fentry { back, .. } => {
                *back
            }
            _ => false,
        }
    }

    /// True if it is at a function, of which the entry and the return can be told.
    pub fn is_function(&self) -> bool {
        matches!(self, Self::Uprobe { .. } | Self::Kprobe { .. } | Self::Fentry { .. })
    }

    /// The word for its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tracepoint { .. } => "tracepoint",
            Self::Uprobe { back: false, .. } => "uprobe",
            Self::Uprobe { back: true, .. } => "uretprobe",
            Self::Usdt { .. } => "usdt",
            Self::Perf { .. } => "perf",
            Self::Kprobe { back: false, .. } => "kprobe",
            Self::Kprobe { back: true, .. } => "kretprobe",
            Self::Fentry { back: false, .. } => "fentry",
            Self::Fentry { back: true, .. } => "fexit",
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tracepoint { category, name } => write!(f, "tracepoint:{category}:{name}"),
            Self::Uprobe { file, function, .. } => write!(f, "uprobe:{file}:{function}"),
            Self::Usdt { file, provider, name } => write!(f, "usdt:{file}:{provider}:{name}"),
            Self::Perf { event } => write!(f, "perf:{event}"),
            Self::Kprobe { function, .. } => write!(f, "kprobe:{function}"),
            Self::Fentry { function, .. } => write!(f, "fentry:{function}"),
        }?;
        if self.is_back() { f.write_str(BACK) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written_alike() {
        for text in [
            "tracepoint:sched:sched_switch",
            "uprobe:/usr/bin/bash:main",
            "uprobe:libc:malloc/ret",
            "uprobe:/usr/bin/x:std::sort<int*>",
            "usdt:/usr/bin/python3:python:gc__start",
            "perf:page-faults",
            "kprobe:do_unlinkat",
            "fentry:do_unlinkat/ret",
        ] {
            let probe = Probe::parse(text).unwrap();
            assert_eq!(probe.to_string(), text);
            assert_eq!(probe.is_back(), text.ends_with("/ret"));
        }
    }

    #[test]
    fn what_is_none_is_told_how_it_is_written() {
        for (text, part) in [
            ("", "no kind of probe"),
            ("uprob:/bin/x:y", "; the nearest is uprobe;"),
            ("uprobe:/bin/x", "uprobe:FILE:FUNCTION"),
            ("uprobe:/bin/x:/ret", "uprobe:FILE:FUNCTION"),
            ("uprobe::main", "uprobe:FILE:FUNCTION"),
            ("usdt:/bin/x:y", "usdt:FILE:PROVIDER:NAME"),
            ("tracepoint:sched", "tracepoint:CATEGORY:NAME"),
            ("tracepoint:../sched:x", "tracepoint:CATEGORY:NAME"),
            ("perf:", "perf:EVENT"),
            ("kprobe:/ret", "kprobe:FUNCTION"),
        ] {
            let error = Probe::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
