//! Source `kmem`: who holds kernel memory. Tracepoints of the kernel's allocators, which sample
//! allocations by their bytes.

use std::mem::MaybeUninit;

use anyhow::{Context, Result, bail};
use libbpf_rs::{
    Link, OpenProgramMut,
    btf::{
        Btf, BtfKind, BtfType, ReferencesType,
        types::{FuncProto, Typedef},
    },
    skel::{OpenSkel, Skel, SkelBuilder},
};

use super::{Base, Options, Stacks, Stream, load, weights::Weights};
use crate::{
    bpf::kmem,
    model::{SourceInfo, Stats, ValueType},
    resolve::Held,
};

/// Bytes from one sample to the next, unless told otherwise.
const RATE: u64 = 512 << 10;

/// Allocations that may be followed at a time; 128 bytes each.
const HELD_MAX: u32 = 128 << 10;

/// The source.
pub struct Kmem;

impl Stacks for Kmem {
    fn name(&self) -> &'static str {
        "kmem"
    }

    fn samples_a_second(&self, options: &Options) -> Result<u64> {
        Ok(if rate(options) > 0 { 20_000 } else { 200_000 })
    }

    fn open(&self, options: &Options, base: &Base, number: u32) -> Result<Box<dyn Stream>> {
        // Once for each run of rprof: what borrows from it may then live as long as it needs.
        let storage = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = kmem::KmemSkelBuilder::default().open(storage)?;
        let rodata = open.maps.rodata_data.as_deref_mut().context("kmem.bpf.c has no .rodata")?;
        let btf = Btf::from_vmlinux().context("this kernel has no BTF (CONFIG_DEBUG_INFO_BTF)")?;
        load::configure!(rodata, options);
        load::number!(rodata, options, base, number);
        rodata.sample_bytes = rate(options);
        rodata.min_size = options.memory.min_size;
        rodata.max_size = options.memory.max_size;
        rodata.kmalloc_has_cache = has_pointer(&btf, "kmalloc", 2);
        rodata.cache_alloc_has_cache = has_pointer(&btf, "kmem_cache_alloc", 2);
        rodata.percpu_has_call_site = arguments(&btf, "percpu_alloc_percpu").len() > 9;
        let missing: Vec<String> = open
            .open_object_mut()
            .progs_mut()
            .filter_map(|mut program| leave_out(&btf, &mut program))
            .collect();
        // All at once: what a map allocates while it grows would be sampled itself.
        open.maps.held.set_map_flags(0)?;
        open.maps.held.set_max_entries(HELD_MAX)?;
        base.lend(open.open_object_mut())?;
        let skel = open.load().map_err(load::explain)?;
        Ok(Box::new(Allocating {
            number,
            rate: rate(options),
            missing,
            links: Vec::new(),
            weights: Weights::new(rate(options)),
            skel,
        }))
    }
}

fn rate(options: &Options) -> u64 {
    options.memory.rate.unwrap_or(RATE)
}

/// The arguments of a raw tracepoint; none if the kernel does not have it.
fn arguments<'b>(btf: &'b Btf<'_>, name: &str) -> Vec<BtfType<'b>> {
    let proto = btf
        .type_by_name::<Typedef<'_>>(&format!("btf_trace_{name}"))
        .and_then(|typedef| FuncProto::try_from(typedef.referenced_type().next_type()?).ok());
    let Some(proto) = proto else { return Vec::new() };
    // The first is the tracepoint's own.
    proto.iter().skip(1).filter_map(|argument| btf.type_by_id(argument.ty)).collect()
}

fn has_pointer(btf: &Btf<'_>, name: &str, argument: usize) -> bool {
    let arguments = arguments(btf, name);
    let kind = arguments.get(argument).map(|kind| kind.skip_mods_and_typedefs().kind());
    kind == Some(BtfKind::Ptr)
}

/// Has a program not loaded whose tracepoint the kernel does not have; returns its name, if it is
/// one that all kernels should have.
fn leave_out(btf: &Btf<'_>, program: &mut OpenProgramMut<'_>) -> Option<String> {
    let section = program.section().to_str()?.to_owned();
    let name = section.strip_prefix("raw_tp/")?;
    if !arguments(btf, name).is_empty() {
        return None;
    }
    program.set_autoload(false);
    // Gone since Linux 6.1, where those without "_node" tell of all.
    (!name.ends_with("_node")).then(|| name.to_owned())
}

struct Allocating {
    number: u32,
    rate: u64,
    /// Tracepoints that this kernel does not have.
    missing: Vec<String>,
    links: Vec<Link>,
    weights: Weights,
    skel: kmem::KmemSkel<'static>,
}

impl Stream for Allocating {
    fn info(&self) -> SourceInfo {
        let without = match &self.missing[..] {
            [] => String::new(),
            missing => format!(", without {}", missing.join(", ")),
        };
        SourceInfo {
            name: "kmem".into(),
            event: format!("tracepoints{without}"),
            period: self.rate.max(1),
            count: ValueType::new("alloc_objects", "count"),
            value: ValueType::new("alloc_space", "bytes"),
            held: true,
            ..SourceInfo::default()
        }
    }

    fn start(&mut self) -> Result<()> {
        for program in self.skel.object().progs_mut().filter(|program| program.autoload()) {
            let name = program.name().to_string_lossy().into_owned();
            let link = program.attach().with_context(|| format!("cannot attach {name}"))?;
            self.links.push(link);
        }
        if self.links.is_empty() {
            bail!("this kernel has none of the tracepoints of its allocators (CONFIG_TRACEPOINTS)");
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.links.clear();
    }

    fn held(&self) -> Held {
        Held::Kernel
    }

    fn weigh(&self, count: u64, value: u64, time: u64) -> (u64, u64) {
        self.weights.of(count, value, time, 1.0)
    }

    fn count(&self, base: &Base, stats: &mut Stats) {
        base.count(self.number, stats);
        let programs: Vec<_> = self.skel.object().progs_mut().collect();
        load::add_run_time(&programs.iter().collect::<Vec<_>>(), stats);
        load::or_own_run_time(&base.counters(self.number), stats);
        let Some(bss) = self.skel.maps.bss_data.as_deref() else { return };
        for (what, count) in
            [("allocations not followed", bss.not_followed), ("frees lost", bss.frees_lost)]
        {
            *stats.missed.entry(what.into()).or_default() += count;
        }
    }
}
