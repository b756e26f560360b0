//! What can be probed, for a pattern: `rprof list`.

use anyhow::{Result, bail};
use libbpf_rs::btf::{Btf, types::Func};

use super::{
    KINDS, events, file,
    function::Functions,
    kernel,
    pattern::{Pattern, is_pattern},
    tracefs::Tracefs,
};
use crate::{nearest::nearest, sources::SOURCES, target::Target, unwind, usdt::Probes};

/// Lines that are listed at most; a pattern can ask for less.
const ENTRIES_MAX: usize = 1 << 20;

/// One thing that can be probed.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// What `-e` or the command takes.
    pub probe: String,
    /// As it was written, where that is another name; or what it is.
    pub also: String,
    /// What it tells: a line for each, where that was asked for.
    pub tells: Vec<String>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Listed {
    /// In their order.
    pub entries: Vec<Entry>,
    /// Those beyond the limit.
    pub more: u64,
    /// What could not be looked at, and why.
    pub notes: Vec<String>,
}

impl Listed {
    fn add(&mut self, entry: impl FnOnce() -> Entry) {
        match self.entries.len() < ENTRIES_MAX {
            true => self.entries.push(entry()),
            false => self.more += 1,
        }
    }
}

/// Everything that a pattern means, or all but the functions of files and of the kernel without one;
/// with what each tells, if `verbose`.
///
/// # Errors
/// It means nothing, or a file cannot be read.
pub fn list(pattern: Option<&str>, target: &Target, verbose: bool) -> Result<Listed> {
    let mut listed = Listed::default();
    let text = pattern.unwrap_or("*");
    let (kind, rest) = text.split_once(':').unwrap_or(("", text));
    match kind {
        "uprobe" => functions(rest, target, verbose, &mut listed)?,
        "usdt" => marks(rest, target, verbose, &mut listed)?,
        "tracepoint" => tracepoints(rest, verbose, &mut listed)?,
        "perf" => perf_events(&Pattern::new(&widened(rest))?, &mut listed),
        "kprobe" | "fentry" => kernel_functions(kind, rest, verbose, &mut listed)?,
        "" => {
            let pattern = Pattern::new(&widened(text))?;
            sources(&pattern, &mut listed);
            perf_events(&pattern, &mut listed);
            if let Err(error) = tracepoints(text, verbose, &mut listed) {
                listed.notes.push(format!("{error:#}"));
            }
        }
        kind => {
            let near = nearest(kind, KINDS.map(|(kind, _)| kind.to_owned()));
            let forms: Vec<&str> = KINDS.iter().map(|(_, form)| *form).collect();
            bail!("no kind of probe is called {kind:?}{near}; there are {}", forms.join(", "));
        }
    }
    if listed.entries.is_empty() && listed.notes.is_empty() {
        bail!("nothing can be probed that is called {text}; patterns take * and ?");
    }
    Ok(listed)
}

/// A word without `*` is looked for anywhere in a name.
fn widened(text: &str) -> String {
    if is_pattern(text) { text.to_owned() } else { format!("*{text}*") }
}

fn sources(pattern: &Pattern, listed: &mut Listed) {
    use crate::sources::Source;
    for source in SOURCES.iter().filter(|source| pattern.matches(source.name())) {
        let (command, what) = match source {
            Source::Stacks(_) => ("record -s", "stacks"),
            Source::Events(_) => ("trace", "events"),
            Source::Latency(_) => ("latency", "times"),
        };
        listed.add(|| Entry {
            probe: source.name().into(),
            also: format!("{what}: rprof {command} {}", source.name()),
            tells: Vec::new(),
        });
    }
}

fn perf_events(pattern: &Pattern, listed: &mut Listed) {
    let there =
        events::EVENTS.iter().filter(|event| pattern.matches(event.name) && event.is_there());
    for event in there {
        let probe = format!("perf:{}", event.name);
        listed.add(|| Entry { probe, also: event.what.into(), tells: Vec::new() });
    }
}

fn tracepoints(rest: &str, verbose: bool, listed: &mut Listed) -> Result<()> {
    let tracefs = Tracefs::open()?;
    // `sched:*` is of category and name, `*unlink*` of either.
    let pattern = Pattern::new(&widened(rest))?;
    let whole = rest.contains(':');
    for (category, name) in tracefs.all() {
        let both = format!("{category}:{name}");
        if !pattern.matches(&both) && (whole || !pattern.matches(&name)) {
            continue;
        }
        listed.add(|| {
            let format = if verbose { tracefs.format(&category, &name) } else { None };
            let fields = format.unwrap_or_default().fields.into_iter();
            let tells = fields.map(|field| format!("{} {}", field.kind, field.name)).collect();
            Entry { probe: format!("tracepoint:{both}"), also: String::new(), tells }
        });
    }
    Ok(())
}

fn functions(rest: &str, target: &Target, verbose: bool, listed: &mut Listed) -> Result<()> {
    let (name, pattern) = rest.split_once(':').unwrap_or((rest, "*"));
    let image = file::find(name, target)?;
    let functions = Functions::of(&image)?;
    if functions.all.is_empty() {
        bail!("{name} has no symbols: it was stripped, and no debug symbols are installed");
    }
    let pattern = Pattern::new(&widened(pattern))?;
    for function in &functions.all {
        let written = function.written().unwrap_or_default();
        if !pattern.matches(&function.symbol) && !pattern.matches(&written) {
            continue;
        }
        listed.add(|| {
            let also = match function.is_ifunc {
                true => "chosen at run time among several: not to be probed".into(),
                false => written,
            };
            let tells = if verbose { functions.takes(&image, function) } else { None };
            let tells = tells.into_iter().collect();
            Entry { probe: format!("uprobe:{name}:{}", function.symbol), also, tells }
        });
    }
    Ok(())
}

fn marks(rest: &str, target: &Target, verbose: bool, listed: &mut Listed) -> Result<()> {
    let (name, pattern) = rest.split_once(':').unwrap_or((rest, "*"));
    let image = file::find(name, target)?;
    let elf = unwind::Image::read(image.file()).map_err(|error| anyhow::anyhow!("{error}"))?;
    let probes = Probes::read(&elf).map_err(|error| anyhow::anyhow!("{error}"))?;
    if probes.all.is_empty() {
        bail!("{name} has no USDT probes: it was built without <sys/sdt.h>");
    }
    let pattern = Pattern::new(&widened(pattern))?;
    let mut found: Vec<Entry> = Vec::new();
    for probe in &probes.all {
        let both = format!("{}:{}", probe.provider, probe.name);
        if !pattern.matches(&both) && !pattern.matches(&probe.name) {
            continue;
        }
        let tells = if verbose {
            vec![format!("at {:#x}: {}", probe.offset, probe.arguments)]
        } else {
            Vec::new()
        };
        found.push(Entry { probe: format!("usdt:{name}:{both}"), also: String::new(), tells });
    }
    found.sort_by(|a, b| a.probe.cmp(&b.probe));
    // One that was inlined is in several places.
    found.dedup_by(|next, first| {
        let same = next.probe == first.probe;
        if same {
            first.tells.append(&mut next.tells);
        }
        same
    });
    found.into_iter().for_each(|entry| listed.add(|| entry));
    if probes.malformed > 0 || probes.refused > 0 {
        let (malformed, refused) = (probes.malformed, probes.refused);
        listed
            .notes
            .push(format!("{name}: {malformed} notes make no sense, {refused} are too many"));
    }
    Ok(())
}

fn kernel_functions(kind: &str, rest: &str, verbose: bool, listed: &mut Listed) -> Result<()> {
    let fentry = kind == "fentry";
    let mut names: Vec<String> = match fentry {
        true => {
            let btf = Btf::from_vmlinux()?;
            let functions = btf.type_by_kind::<Func<'_>>();
            functions.filter_map(|one| Some(one.name()?.to_string_lossy().into_owned())).collect()
        }
        false => {
            if !kernel::has_kprobes() {
                bail!("this kernel was built without CONFIG_KPROBES, so it has no kprobes");
            }
            kernel::functions()?
        }
    };
    names.sort();
    names.dedup();
    let pattern = Pattern::new(&widened(rest))?;
    for name in names.iter().filter(|name| pattern.matches(name)) {
        listed.add(|| {
            let arguments =
                if verbose { kernel::arguments(name, fentry, false) } else { Vec::new() };
            let tells = arguments.iter().map(|one| format!("{} {}", one.type_name, one.name));
            Entry { probe: format!("{kind}:{name}"), also: String::new(), tells: tells.collect() }
        });
    }
    Ok(())
}
