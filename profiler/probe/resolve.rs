//! From what a probe is called to where it is.

use anyhow::{Context, Result, bail};
use symbolizer::Image;

use super::{
    Argument, PerfEvent, Probe, file,
    function::{Functions, SITES_MAX},
    kernel, operand,
    tracefs::{Format, Tracefs},
};
use crate::{
    heap::{calls_nops, place::is_long_nop},
    nearest::nearest,
    target::Target,
    unwind,
    usdt::Probes,
};

/// Where a probe is.
pub enum Point {
    /// In code of programs.
    Code {
        /// The file.
        image: Box<Image>,
        /// Where in it; one or more.
        sites: Vec<Site>,
        /// At the return of the functions there.
        back: bool,
    },
    /// In the kernel, where it was made to be probed.
    Tracepoint {
        /// The kernel's number for it.
        id: u64,
        /// What it has.
        format: Format,
    },
    /// Wherever it happens.
    Perf(PerfEvent),
    /// At a function of the kernel.
    Kernel {
        /// Its name.
        function: String,
        /// By a trampoline, not by a breakpoint.
        fentry: bool,
        /// At its return.
        back: bool,
        /// What it takes or returns.
        arguments: Vec<Argument>,
    },
}

/// A place in a file.
#[derive(Clone, Debug)]
pub struct Site {
    /// Where in the file, bytes.
    pub offset: u64,
    /// Where the count of listeners is, if the program looks at it.
    pub semaphore: Option<u64>,
    /// Whether the kernel emulates the instruction there: one trap a hit, not two.
    pub emulated: bool,
    /// What can be read there.
    pub arguments: Vec<Argument>,
}

/// Finds out where a probe is in what `target` runs and, with `arguments`, what can be read there.
///
/// # Errors
/// There is no such probe, or this machine cannot have it: says why, and what is near.
pub fn resolve(probe: &Probe, target: &Target, arguments: bool) -> Result<Point> {
    match probe {
        Probe::Tracepoint { category, name } => {
            let (id, format) = Tracefs::open()?.find(category, name)?;
            Ok(Point::Tracepoint { id, format })
        }
        Probe::Perf { event } => Ok(Point::Perf(PerfEvent::find(event)?)),
        Probe::Uprobe { file, function, back } => {
            let image = file::find(file, target)?;
            let functions =
                Functions::of(&image).with_context(|| format!("cannot probe {file}"))?;
            let found = functions.named(function, file)?;
            let sites: Result<Vec<Site>> = found
                .into_iter()
                .map(|function| functions.site(&image, function, arguments, *back))
                .collect();
            let sites = sites.with_context(|| format!("cannot probe {function} of {file}"))?;
            Ok(Point::Code { image: Box::new(image), sites, back: *back })
        }
        Probe::Usdt { file, provider, name } => {
            let image = file::find(file, target)?;
            let sites = marks(&image, file, provider, name)
                .with_context(|| format!("cannot probe {file}"))?;
            Ok(Point::Code { image: Box::new(image), sites, back: false })
        }
        Probe::Kprobe { function, back } => {
            kernel::check_kprobe(function)?;
            let arguments = kernel::arguments(function, false, *back);
            Ok(Point::Kernel { function: function.clone(), fentry: false, back: *back, arguments })
        }
        Probe::Fentry { function, back } => {
            kernel::check_fentry(function)?;
            let arguments = kernel::arguments(function, true, *back);
            Ok(Point::Kernel { function: function.clone(), fentry: true, back: *back, arguments })
        }
    }
}

/// The places of a USDT probe.
fn marks(image: &Image, file: &str, provider: &str, name: &str) -> Result<Vec<Site>> {
    let elf = unwind::Image::read(image.file()).map_err(|error| anyhow::anyhow!("{error}"))?;
    let probes = Probes::read(&elf).map_err(|error| anyhow::anyhow!("{error}"))?;
    // sdt.h leaves two underscores for a dash, and both are written.
    let dashed = name.replace('-', "__");
    let found: Vec<_> = probes
        .all
        .iter()
        .filter(|probe| probe.provider == provider && (probe.name == name || probe.name == dashed))
        .collect();
    if found.is_empty() {
        if probes.all.is_empty() {
            bail!("{file} has no USDT probes: it was built without <sys/sdt.h>");
        }
        let names = probes.all.iter().map(|probe| format!("{}:{}", probe.provider, probe.name));
        let near = nearest(&format!("{provider}:{name}"), names);
        bail!(
            "{file} has no USDT probe {provider}:{name}{near}; `rprof list 'usdt:{file}:*'` lists them"
        );
    }
    if found.len() > SITES_MAX {
        bail!(
            "{provider}:{name} is in {} places of {file}; {SITES_MAX} can be probed",
            found.len()
        );
    }
    let names = found.iter().any(|probe| probe.arguments.contains("(%rip)"));
    let functions = if names { Functions::of(image).ok() } else { None };
    let calls_nops = calls_nops();
    let mut sites = Vec::new();
    for probe in found {
        let mut code = [0; 5];
        let read = unwind::ReadAt::read_exact_at(image.file(), &mut code, probe.offset);
        if calls_nops && read.is_ok() && is_long_nop(&code) {
            bail!(
                "{provider}:{name} of {file} is a nop of five bytes, and this kernel (Linux 6.18) \
                 breaks forks of programs that are probed there; probe the function that it is in"
            );
        }
        let here = elf.segments().iter().find_map(|segment| {
            let inside = probe.offset.checked_sub(segment.offset)?;
            (segment.executable && inside < segment.size).then(|| segment.address + inside)
        });
        let symbol = |name: &str| {
            let address = functions.as_ref()?.address_of(name)?;
            Some(address.wrapping_sub(here?) as i64)
        };
        sites.push(Site {
            offset: probe.offset,
            semaphore: probe.semaphore,
            emulated: true,
            arguments: operand::arguments(&probe.arguments, &symbol),
        });
    }
    Ok(sites)
}

impl Point {
    /// The lists of arguments, a list for each place.
    pub fn arguments(&self) -> Vec<Vec<Argument>> {
        match self {
            Self::Code { sites, .. } => sites.iter().map(|site| site.arguments.clone()).collect(),
            Self::Tracepoint { format, .. } => vec![format.arguments()],
            Self::Perf(_) => vec![vec![
                Argument::register("ip", super::Shown::Hex, 0),
                Argument::register("address", super::Shown::Hex, 1),
            ]],
            Self::Kernel { arguments, .. } => vec![arguments.clone()],
        }
    }

    /// What is to be said of what it costs, where it is more than it has to be.
    pub fn note(&self) -> Option<String> {
        let Self::Code { image, sites, .. } = self else { return None };
        let slow = sites.iter().filter(|site| !site.emulated).count();
        (slow > 0).then(|| {
            format!(
                "{}: {slow} of {} probed instructions cannot be emulated by the kernel, so that a \
                 hit takes two traps",
                image.path(),
                sites.len()
            )
        })
    }
}
