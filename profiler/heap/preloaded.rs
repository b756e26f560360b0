//! Processes that run with our preload shim: they announce themselves what they allocate, so their
//! allocators are left alone.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};
use libbpf_rs::{Link, ProgramMut, UprobeOpts};
use symbolizer::{Image, Maps};

use crate::shim::Shim;

/// The probes of the shim, and who has it.
pub struct Preloaded {
    shim: Arc<Shim>,
    links: Vec<Link>,
}

impl Preloaded {
    /// None is set yet.
    pub fn new(shim: Arc<Shim>) -> Self {
        Self { shim, links: Vec::new() }
    }

    /// Sets probes at the shim's: for all processes that load it, now or later, since a command is
    /// heard from its first instruction on.
    ///
    /// # Errors
    /// The kernel refuses one.
    pub fn attach(&mut self, alloc: &ProgramMut<'_>, free: &ProgramMut<'_>) -> Result<()> {
        let path = self.shim.path();
        for (program, probe) in [(alloc, &self.shim.alloc), (free, &self.shim.free)] {
            let link = at(program, path, probe.offset);
            self.links.push(link.with_context(|| format!("cannot probe {}", path.display()))?);
        }
        Ok(())
    }

    /// Takes them off.
    pub fn detach(&mut self) {
        self.links.clear();
    }

    /// True if `pid`, which has these mappings, runs with the shim.
    pub fn is_in(&self, pid: u32, maps: &Maps) -> bool {
        maps.mappings
            .iter()
            .filter(|mapping| self.shim.may_be(mapping))
            .any(|mapping| Image::open(pid, mapping).is_ok_and(|image| self.shim.is(image.key())))
    }
}

fn at(program: &ProgramMut<'_>, path: &Path, offset: u64) -> libbpf_rs::Result<Link> {
    program.attach_uprobe_with_opts(-1, path, offset as usize, UprobeOpts::default())
}
