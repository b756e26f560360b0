//! The functions of a file: their symbols, and where each is probed.

use std::{collections::BTreeMap, fs::File, os::unix::fs::FileExt, path::Path};

use anyhow::{Context, Result, bail};
use iced_x86::Register;
use object::{
    LittleEndian as LE, Object, ObjectSection, ObjectSymbol, ReadCache, elf, read::elf::ElfFile64,
};
use symbolizer::{Image, demangle};

use super::{Site, pattern, types};
use crate::{
    heap::place::{self, BODY_MAX, Place},
    nearest::nearest,
    unwind,
};

/// Symbols of one file that are looked at.
const SYMBOLS_MAX: usize = 8 << 20;
/// Functions that one name may mean: overloads, and copies that the compiler made.
pub const SITES_MAX: usize = 64;
/// Names among which the nearest is looked for.
const NEAR_MAX: usize = 200_000;

/// Chosen among several when the program starts: its symbol is of what chooses.
const GNU_IFUNC: u8 = elf::STT_GNU_IFUNC.0;
const FUNC: u8 = elf::STT_FUNC.0;

/// A function that is in the file.
#[derive(Clone, Debug)]
pub struct Function {
    /// As the linker knows it.
    pub symbol: String,
    /// Its address, as the file gives it.
    pub address: u64,
    size: u64,
    /// True if what is there chooses the function and is not itself it.
    pub is_ifunc: bool,
}

impl Function {
    /// Its name as it was written, where that is another than its symbol. It takes a while to find
    /// that of all functions of a large library.
    pub fn written(&self) -> Option<String> {
        demangle(&self.symbol)
    }
}

/// All functions of a file.
pub struct Functions {
    /// By address and name.
    pub all: Vec<Function>,
    /// Functions of others that it calls.
    called: Vec<String>,
    /// What tells of a language whose calls are not those of C.
    is_go: bool,
}

impl Functions {
    /// Those of a file, and of the debug file that was split off it.
    ///
    /// # Errors
    /// It is no ELF file of x86_64, or damaged.
    pub fn of(image: &Image) -> Result<Self> {
        let mut found = BTreeMap::new();
        let mut functions = Self { all: Vec::new(), called: Vec::new(), is_go: false };
        let file = image.file().try_clone().context("cannot open it once more")?;
        functions.read(file, &mut found)?;
        // Its symbols have the addresses of the file that it was split off.
        let debug = image.facts().debug_file.and_then(|path| File::open(Path::new(&path)).ok());
        if let Some(debug) = debug {
            let _ = functions.read(debug, &mut found); // it adds what it can
        }
        functions.all = found.into_values().collect();
        Ok(functions)
    }

    fn read(&mut self, file: File, found: &mut BTreeMap<(u64, String), Function>) -> Result<()> {
        let cache = ReadCache::new(file);
        let elf: ElfFile64<'_, LE, _> =
            ElfFile64::parse(&cache).context("not an ELF file, or damaged")?;
        if elf.elf_header().e_machine.get(LE) != elf::EM_X86_64 {
            bail!("code for another machine");
        }
        self.is_go |= elf.sections().any(|section| section.name() == Ok(".gopclntab"));
        for symbol in elf.symbols().chain(elf.dynamic_symbols()).take(SYMBOLS_MAX) {
            let kind = symbol.elf_symbol().st_type().0;
            let Ok(name) = symbol.name() else { continue };
            if name.is_empty() || (kind != FUNC && kind != GNU_IFUNC) {
                continue;
            }
            // `malloc@@GLIBC_2.2.5`
            let name = name.split('@').next().unwrap_or_default().to_owned();
            if symbol.is_undefined() || symbol.address() == 0 {
                self.called.push(name);
                continue;
            }
            let address = symbol.address();
            found.entry((address, name.clone())).or_insert_with(|| Function {
                symbol: name,
                address,
                size: symbol.size(),
                is_ifunc: kind == GNU_IFUNC,
            });
        }
        Ok(())
    }

    /// The functions of that name: its symbol, or as it was written, or a pattern.
    ///
    /// # Errors
    /// There is none: says why, or which is near.
    pub fn named(&self, name: &str, file: &str) -> Result<Vec<&Function>> {
        let mut found: Vec<&Function> =
            self.all.iter().filter(|function| function.symbol == name).collect();
        if found.is_empty() {
            let is = |function: &&Function| function.written().as_deref() == Some(name);
            found = self.all.iter().filter(is).collect();
        }
        // Two names of one function are one.
        found.dedup_by_key(|function| function.address);
        if found.len() > SITES_MAX {
            bail!(
                "{name} means {} functions of {file}, of which {SITES_MAX} can be probed",
                found.len()
            );
        }
        if let Some(ifunc) = found.iter().find(|function| function.is_ifunc) {
            let others = self.all.iter().filter(|other| {
                !other.is_ifunc && other.symbol.trim_start_matches('_').starts_with(&*ifunc.symbol)
            });
            let others: Vec<&str> = others.map(|other| &*other.symbol).take(4).collect();
            let instead = match others.is_empty() {
                true => "with its debug symbols installed, the one in use can be named".to_owned(),
                false => format!("probe the one in use: {}", others.join(", ")),
            };
            bail!(
                "{name} of {file} is no function but a choice among several, made when the program \
                 starts (STT_GNU_IFUNC); {instead}"
            );
        }
        if !found.is_empty() {
            return Ok(found);
        }
        if self.called.iter().any(|called| called == name) {
            bail!("{file} calls {name}, but has it from a library: name that as FILE");
        }
        if self.all.is_empty() {
            bail!("{file} has no symbols: it was stripped, and no debug symbols are installed");
        }
        let hint = if pattern::is_pattern(name) { "; `rprof list` takes patterns" } else { "" };
        let names = self
            .all
            .iter()
            .take(NEAR_MAX)
            .map(|function| function.written().unwrap_or_else(|| function.symbol.clone()));
        bail!("{file} has no function {name}{}{hint}", nearest(name, names));
    }

    /// Where a function is probed at its entry. With `arguments` they are found out, and still there.
    ///
    /// # Errors
    /// Its code is not in the file.
    pub fn site(
        &self,
        image: &Image,
        function: &Function,
        arguments: bool,
        back: bool,
    ) -> Result<Site> {
        let elf = unwind::Image::read(image.file()).map_err(|error| anyhow::anyhow!("{error}"))?;
        let segment = elf.segments().iter().find(|segment| {
            let inside = function.address.checked_sub(segment.address);
            segment.executable && inside.is_some_and(|inside| inside < segment.size)
        });
        let segment = segment.with_context(|| format!("{} has no code there", function.symbol))?;
        let inside = function.address - segment.address;
        // One whose symbol gives no size is taken for a short one.
        let size = if function.size == 0 { 64 } else { function.size };
        let size = size.min(segment.size - inside).min(BODY_MAX as u64);
        let mut code = vec![0; size as usize];
        let at = segment.offset + inside;
        image.file().read_exact_at(&mut code, at).context("cannot read its code")?;
        // A return is found by where the stack is at the entry.
        let kept: &[Register] = if arguments { &place::CALL } else { &[Register::RSP] };
        let Place { offset, emulated } = place::choose_keeping(&code, function.address, kept);
        if place::is_long_nop(&code[offset as usize..]) {
            bail!(
                "{} begins with a nop of five bytes and nothing behind it that could be probed, and \
                 Linux 6.18 breaks forks of programs that are probed there",
                function.symbol
            );
        }
        let signature = match arguments && !self.is_go && types::is_of_c(&function.symbol) {
            true => image.signature(function.address),
            false => None,
        };
        let arguments = match (arguments, back) {
            (false, _) => Vec::new(),
            (true, false) => types::arguments(signature.as_ref()),
            (true, true) => types::result(signature.as_ref()),
        };
        Ok(Site { offset: at + offset, semaphore: None, emulated, arguments })
    }

    /// What a function takes, in words; empty where that is not known.
    pub fn takes(&self, image: &Image, function: &Function) -> Option<String> {
        let known = !self.is_go && types::is_of_c(&function.symbol);
        Some(types::words(&image.signature(function.address).filter(|_| known)?))
    }

    /// The address of a variable or function, for USDT operands.
    pub fn address_of(&self, name: &str) -> Option<u64> {
        self.all.iter().find(|function| function.symbol == name).map(|function| function.address)
    }
}
