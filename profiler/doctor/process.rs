//! What a process has mapped to run, and how its stacks and names come out of that.

use std::collections::HashSet;

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use serde::Serialize;
use symbolizer::{FileKey, Image, Kind, Mapping, Maps, PerfMap};

use crate::{
    resolve::hex,
    target::Target,
    unwind::{self, Table},
};

/// How a stack is followed through a piece of code.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// By its unwind table.
    Table,
    /// By rbp: right if it was compiled with -fno-omit-frame-pointer.
    FramePointers,
}

/// What functions are named by.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Symbols {
    /// All of them.
    Full,
    /// Those that other files may call.
    Exported,
    /// By what the process itself writes, `/tmp/perf-PID.map`.
    PerfMap,
    /// None.
    None,
}

/// Code that a process has mapped: a file, the vdso, or what was made at run time.
#[derive(Clone, Debug, Serialize)]
pub struct Code {
    /// The process.
    pub pid: u32,
    /// The file, as the process sees it; in brackets what is none.
    pub path: String,
    /// How stacks are followed through it.
    pub unwind: By,
    /// Why it has no table; empty if it has one.
    pub reason: String,
    /// Rows of its table.
    pub rows: u64,
    /// What its rows and pages take in the kernel.
    pub bytes: u64,
    /// In hexadecimal; empty if it has none.
    pub build_id: String,
    /// Where names come from.
    pub symbols: Symbols,
    /// True if there are lines and inlined functions, in it or in a file of its own.
    pub debug_info: bool,
    /// The separate debug file in use, if there is one.
    pub debug_file: Option<String>,
}

/// Looks at all code of a process, in order of address.
///
/// # Errors
/// There is no such process, or we may not look into it.
pub fn examine_process(pid: u32) -> Result<Vec<Code>> {
    Target { pids: vec![pid], ..Target::default() }.check()?;
    let maps = Maps::read(pid, true).with_context(|| {
        format!(
            "cannot look into process {pid}; for those of other users, CAP_SYS_PTRACE is needed"
        )
    })?;
    if maps.mappings.is_empty() {
        bail!("process {pid} has no memory of its own: it is a kernel thread, or has ended");
    }
    let pieces = pieces(pid, &maps.mappings);
    Ok(pieces.into_par_iter().map(|piece| piece.examine(pid)).collect())
}

/// One of what a process has mapped, however often.
enum Piece {
    File(Box<Image>),
    /// A file that cannot be read, and why.
    Closed(String, String),
    Vdso,
    MadeAtRunTime,
}

fn pieces(pid: u32, mappings: &[Mapping]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let (mut files, mut others) = (HashSet::<FileKey>::new(), HashSet::new());
    for mapping in mappings {
        let piece = match mapping.kind() {
            Kind::File => match Image::open(pid, mapping) {
                Ok(image) if files.insert(image.key()) => Piece::File(Box::new(image)),
                Ok(_) => continue,
                Err(_) if mapping.may_be_jit() => Piece::MadeAtRunTime,
                Err(error) => Piece::Closed(mapping.path.clone(), error.to_string()),
            },
            Kind::Vdso => Piece::Vdso,
            Kind::Vsyscall => continue, // entered by exceptions only, which make no frame
            Kind::Anonymous => Piece::MadeAtRunTime,
            Kind::Special(_) if mapping.may_be_jit() => Piece::MadeAtRunTime,
            Kind::Special(path) => Piece::Closed(path.into(), "not a file".into()),
        };
        let name = match &piece {
            Piece::File(_) => None,
            Piece::Closed(path, _) => Some(path.clone()),
            Piece::Vdso | Piece::MadeAtRunTime => Some(piece.path().to_owned()),
        };
        if name.is_none_or(|name| others.insert(name)) {
            pieces.push(piece);
        }
    }
    pieces
}

impl Piece {
    fn path(&self) -> &str {
        match self {
            Self::File(image) => image.path(),
            Self::Closed(path, _) => path,
            Self::Vdso => "[vdso]",
            Self::MadeAtRunTime => "[jit]",
        }
    }

    fn examine(&self, pid: u32) -> Code {
        let (symbols, debug_info, debug_file) = self.names(pid);
        let table = self.table();
        let (rows, bytes) = table
            .as_ref()
            .map_or((0, 0), |table| (table.rows().len() as u64, table.bytes() as u64));
        Code {
            pid,
            path: self.path().to_owned(),
            unwind: if table.is_ok() { By::Table } else { By::FramePointers },
            reason: table.err().unwrap_or_default(),
            rows,
            bytes,
            build_id: self.build_id(),
            symbols,
            debug_info,
            debug_file,
        }
    }

    fn table(&self) -> Result<Table, String> {
        match self {
            Self::File(image) => build(image.file()),
            Self::Vdso => build(&vdso()?[..]),
            Self::Closed(_, reason) => Err(reason.clone()),
            Self::MadeAtRunTime => Err("made at run time".into()),
        }
    }

    fn build_id(&self) -> String {
        match self {
            Self::File(image) => hex(image.build_id().unwrap_or_default()),
            Self::Vdso => {
                let bytes = vdso().unwrap_or_default();
                let key = unwind::Image::read(&bytes[..]).and_then(|image| image.key());
                key.map_or(String::new(), |key| hex(&key.build_id))
            }
            Self::Closed(..) | Self::MadeAtRunTime => String::new(),
        }
    }

    /// Where names come from, whether there is debug information, and the debug file.
    fn names(&self, pid: u32) -> (Symbols, bool, Option<String>) {
        match self {
            Self::File(image) => {
                let facts = image.facts();
                let full = facts.symbols || facts.debug_file.is_some() || facts.mini_debug_info;
                let symbols = match (full, facts.dynamic_symbols) {
                    (true, _) => Symbols::Full,
                    (false, true) => Symbols::Exported,
                    (false, false) => Symbols::None,
                };
                (symbols, facts.debug_info, facts.debug_file)
            }
            Self::Vdso => (Symbols::Exported, false, None),
            Self::MadeAtRunTime if PerfMap::open(pid).is_ok() => (Symbols::PerfMap, false, None),
            Self::MadeAtRunTime | Self::Closed(..) => (Symbols::None, false, None),
        }
    }
}

fn build<F: unwind::ReadAt + ?Sized>(file: &F) -> Result<Table, String> {
    let table = unwind::Image::read(file).and_then(|image| Table::build(&image));
    table.map_err(|error| error.to_string())
}

fn vdso() -> Result<Vec<u8>, String> {
    let image = symbolizer::vdso::image().map_err(|error| error.to_string())?;
    image.ok_or_else(|| "this process has no vdso".into())
}
