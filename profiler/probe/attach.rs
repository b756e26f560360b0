//! Which program of an object goes to a probe, and attaching it there. The objects for stacks, lines
//! and times have programs of the same names, behind `sample_`, `line_` and `time_`.

use std::os::fd::{AsRawFd, IntoRawFd};

use anyhow::{Context, Result};
use libbpf_rs::{Link, OpenObject, ProgramMut, UprobeMultiOpts, UprobeOpts};
use perf_event::{Builder, events::Tracepoint};

use super::Point;
use crate::{
    machine,
    sources::{explain_perf, has_sessions},
    target::Target,
};

impl Point {
    /// The programs for it, behind the first underscore of their names; for both ends of a function
    /// with `both`.
    fn programs(&self, both: bool) -> &'static [&'static str] {
        match self {
            Self::Code { .. } if both && has_sessions() => &["session"],
            Self::Code { .. } if both => &["leave", "enter"],
            // Where there are sessions, one link takes all places.
            Self::Code { back: false, .. } if has_sessions() => &["uprobe_multi"],
            Self::Code { back: true, .. } if has_sessions() => &["uretprobe_multi"],
            Self::Code { back: false, .. } => &["uprobe"],
            Self::Code { back: true, .. } => &["uretprobe"],
            Self::Tracepoint { .. } => &["tracepoint"],
            Self::Perf(_) => &["perf_event"],
            Self::Kernel { fentry: false, .. } if both => &["kretprobe", "kprobe"],
            Self::Kernel { fentry: true, .. } if both => &["fexit", "fentry"],
            Self::Kernel { fentry: false, back: false, .. } => &["kprobe"],
            Self::Kernel { fentry: false, back: true, .. } => &["kretprobe"],
            Self::Kernel { fentry: true, back: false, .. } => &["fentry"],
            Self::Kernel { fentry: true, back: true, .. } => &["fexit"],
        }
    }
}

fn suffix(name: &str) -> &str {
    name.split_once('_').map_or(name, |(_, suffix)| suffix)
}

/// Has the object load those of its programs that `point` needs, and no others.
///
/// # Errors
/// The kernel function cannot be named to libbpf.
pub fn choose_programs(object: &mut OpenObject, point: &Point, both: bool) -> Result<()> {
    let wanted = point.programs(both);
    for mut program in object.progs_mut() {
        let name = program.name().to_string_lossy().into_owned();
        let load = wanted.contains(&suffix(&name));
        program.set_autoload(load);
        if let Point::Kernel { function, fentry: true, .. } = point
            && load
        {
            program.set_attach_target(0, Some(function.clone()))?;
        }
    }
    Ok(())
}

/// Attaches the programs that [`choose_programs`] chose, those of returns first: no call begins that is
/// not seen to end. Events of perf go to all CPUs that are online.
///
/// # Errors
/// The kernel refuses: says why.
pub fn attach<'o>(
    programs: impl Iterator<Item = ProgramMut<'o>>,
    point: &Point,
    both: bool,
    target: &Target,
) -> Result<Vec<Link>> {
    let programs: Vec<ProgramMut<'o>> = programs.collect();
    let mut links = Vec::new();
    for wanted in point.programs(both) {
        let named =
            |program: &&ProgramMut<'o>| suffix(&program.name().to_string_lossy()) == *wanted;
        let program = programs.iter().find(named);
        let program = program.with_context(|| format!("there is no program for {wanted}"))?;
        match point {
            Point::Code { image, .. } => {
                for pid in pids(target) {
                    let new = attach_code(program, wanted, point, pid);
                    links.extend(new.with_context(|| format!("cannot probe {}", image.path()))?);
                }
            }
            Point::Tracepoint { id, .. } => links.push(attach_tracepoint(program, *id)?),
            Point::Perf(event) => {
                for cpu in machine::online_cpus()? {
                    let counter = event.open(cpu, 1).map_err(explain_perf)?;
                    // The link owns the descriptor from here on, and closes it.
                    links.push(program.attach_perf_event(counter.into_raw_fd())?);
                }
            }
            Point::Kernel { function, fentry: false, .. } => {
                let link = program.attach_kprobe(*wanted == "kretprobe", function);
                links.push(link.with_context(|| {
                    format!("the kernel does not let {function} be probed: `kprobe` has a list of what it never does")
                })?);
            }
            Point::Kernel { function, .. } => {
                let link = program.attach_trace();
                links.push(link.with_context(|| format!("cannot attach to {function}"))?);
            }
        }
    }
    Ok(links)
}

/// Processes that code is probed in: only those that are named, if their children do not matter.
/// All others go on untouched then. -1 is all.
fn pids(target: &Target) -> Vec<i32> {
    match target.is_by_pid() && target.no_children {
        true => target.pids.iter().map(|&pid| pid as i32).collect(),
        false => vec![-1],
    }
}

fn attach_code(program: &ProgramMut<'_>, name: &str, point: &Point, pid: i32) -> Result<Vec<Link>> {
    let Point::Code { image, sites, .. } = point else { return Ok(Vec::new()) };
    // The kernel takes a path only; this one is the very file that we looked at.
    let path = format!("/proc/self/fd/{}", image.file().as_raw_fd());
    if name == "session" || name.ends_with("_multi") {
        let semaphores = sites.iter().map(|site| site.semaphore.unwrap_or_default() as usize);
        let options = UprobeMultiOpts {
            offsets: sites.iter().map(|site| site.offset as usize).collect(),
            ref_ctr_offsets: match sites.iter().any(|site| site.semaphore.is_some()) {
                true => semaphores.collect(),
                false => Vec::new(),
            },
            cookies: (0..).take(sites.len()).collect(),
            session: name == "session",
            retprobe: name == "uretprobe_multi",
            ..UprobeMultiOpts::default()
        };
        return Ok(vec![program.attach_uprobe_multi_with_opts(pid, &path, "", options)?]);
    }
    let mut links = Vec::new();
    for (number, site) in (0..).zip(sites) {
        let options = UprobeOpts {
            ref_ctr_offset: site.semaphore.unwrap_or_default() as usize,
            cookie: number,
            retprobe: name == "uretprobe" || name == "leave",
            ..UprobeOpts::default()
        };
        links.push(program.attach_uprobe_with_opts(pid, &path, site.offset as usize, options)?);
    }
    Ok(links)
}

/// One event is enough: the kernel runs the programs of a tracepoint wherever it is hit.
fn attach_tracepoint(program: &ProgramMut<'_>, id: u64) -> Result<Link> {
    let mut builder = Builder::new(Tracepoint::with_id(id));
    builder.any_pid().one_cpu(machine::online_cpus()?.first().copied().unwrap_or_default());
    builder.exclude_kernel(false).exclude_hv(false).enabled(true);
    let event = builder.build().map_err(explain_perf)?;
    program.attach_perf_event(event.into_raw_fd()).context("cannot attach to the tracepoint")
}
