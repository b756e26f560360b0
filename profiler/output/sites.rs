//! Where code stands in its source, as compilers count: functions by the linker's names, lines from the
//! line on which each begins, and what was inlined where. A recording does not keep that, so it is read
//! from the debug information of the binaries that were recorded; one that was built anew since is left
//! out, and said to be.

use std::{collections::HashSet, fs, io::Read, path::Path};

use anyhow::{Context, Result, bail};
use gimli::{
    AttributeValue, DebugInfoOffset, DwarfSections, EndianSlice, LittleEndian, UnitHeader,
    UnitOffset,
};
use object::{CompressionFormat, Object, ObjectSection, elf::FileHeader64, read::elf::ElfFile};

use super::Map;
use crate::{
    model::{FrameKind, Profile},
    resolve::hex,
};

/// The largest file that is read, and the most that one of its sections may hold, bytes.
const FILE_MAX: u64 = 2 << 30;
/// The longest chain of inlined calls.
const CHAIN_MAX: usize = 256;
/// How many entries a name may be away from the entry that refers to it.
const HOPS_MAX: usize = 16;

type Slice<'a> = EndianSlice<'a, LittleEndian>;
type Unit<'a> = gimli::Unit<Slice<'a>>;

/// A place in a function.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Site {
    /// The function's name for the linker.
    pub function: String,
    /// The line that it begins on; 0 if not known.
    pub start: u32,
    /// The line of the place, or of the call to what is inlined there.
    pub line: u32,
    /// What tells several places of one line apart.
    pub discriminator: u32,
}

/// Where frames stand.
#[derive(Debug, Default)]
pub struct Sites {
    /// For each frame that is known the function that holds its code, then what is inlined there.
    chains: Map<u32, Vec<Site>>,
    /// Binaries without, and why.
    pub left_out: Vec<String>,
}

impl Sites {
    /// Those of all user frames of a profile.
    ///
    /// # Errors
    /// None of its binaries has debug information: says why, and the way out.
    pub fn of(profile: &Profile) -> Result<Self> {
        let tables = &profile.tables;
        let stacks: HashSet<u32> = profile.samples.iter().map(|sample| sample.stack).collect();
        let frames: HashSet<u32> =
            stacks.into_iter().flat_map(|stack| tables.stacks.frames(stack)).collect();
        let mut binaries: Map<u32, Vec<(u64, u32)>> = Map::default();
        for index in frames {
            let Some(frame) = tables.frames.get(index) else { continue };
            if frame.kind == FrameKind::User {
                binaries.entry(frame.binary).or_default().push((frame.address, index));
            }
        }
        let mut sites = Self::default();
        for (index, mut frames) in binaries {
            let Some(binary) = tables.binaries.get(index) else { continue };
            let path = tables.strings.get(binary.path);
            if !path.starts_with('/') {
                continue; // no file
            }
            frames.sort_unstable();
            let addresses: Vec<u64> = frames.iter().map(|(address, _)| *address).collect();
            let build_id = tables.strings.get(binary.build_id);
            let sections = sections(Path::new(path), build_id);
            match sections.map(|sections| File::new(&sections).chains(&addresses)) {
                Ok(chains) => {
                    let named = frames.iter().zip(chains).filter(|(_, chain)| !chain.is_empty());
                    sites.chains.extend(named.map(|((_, frame), chain)| (*frame, chain)));
                }
                Err(error) => sites.left_out.push(format!("{path}: {error:#}")),
            }
        }
        sites.left_out.sort();
        if sites.chains.is_empty() {
            bail!(
                "no binary of this recording has debug information, which says where functions \
                 begin; build with -g (C, C++, Rust), or without -ldflags=-w (Go), and record \
                 again: {}",
                sites.left_out.first().map_or("there is none", |first| first)
            );
        }
        Ok(sites)
    }

    /// The functions at a frame, the outermost first; none if they are not known.
    pub fn get(&self, frame: u32) -> Option<&[Site]> {
        self.chains.get(&frame).map(|chain| &**chain)
    }
}

/// A binary with debug information.
struct File<'a> {
    dwarf: gimli::Dwarf<Slice<'a>>,
    headers: Vec<UnitHeader<Slice<'a>>>,
}

/// A function at an address, on the way.
struct Scope {
    unit_offset: UnitOffset,
    depth: isize,
    /// Where it was called, if it was inlined.
    call: (u32, u32),
    /// Where its code begins.
    low: u64,
}

/// The sections of debug information of a file, which is the build that was recorded.
fn sections(path: &Path, build_id: &str) -> Result<DwarfSections<Vec<u8>>> {
    let image = symbolizer::Image::open_path(path)?;
    if hex(image.build_id().unwrap_or_default()) != build_id {
        bail!("it is another build by now");
    }
    if fs::metadata(path)?.len() > FILE_MAX {
        bail!("it is larger than {} GB", FILE_MAX >> 30);
    }
    let data = fs::read(path)?;
    let elf = ElfFile::<FileHeader64<object::LittleEndian>>::parse(&*data)
        .context("it is no ELF file of this architecture")?;
    if elf.section_by_name(".debug_info").is_none() {
        bail!("it has no debug information");
    }
    DwarfSections::load(|id| {
        let content = elf.section_by_name(id.name()).map(|section| content(&section));
        Ok(content.transpose()?.unwrap_or_default())
    })
}

impl<'a> File<'a> {
    fn new(sections: &'a DwarfSections<Vec<u8>>) -> Self {
        let dwarf = sections.borrow(|section| EndianSlice::new(section, LittleEndian));
        let mut headers = Vec::new();
        let mut units = dwarf.units();
        // Those before a broken one are as good as any.
        while let Ok(Some(header)) = units.next() {
            headers.push(header);
        }
        Self { dwarf, headers }
    }

    /// The chain at each of `addresses`, which are sorted.
    fn chains(&self, addresses: &[u64]) -> Vec<Vec<Site>> {
        let mut chains = vec![Vec::new(); addresses.len()];
        for header in &self.headers {
            let Ok(unit) = self.dwarf.unit(*header) else { continue };
            // What stands before broken entries is kept.
            let _ = self.chains_of(&unit, addresses, &mut chains);
        }
        chains
    }

    fn chains_of(
        &self,
        unit: &Unit<'a>,
        addresses: &[u64],
        chains: &mut [Vec<Site>],
    ) -> gimli::Result<()> {
        let mut any = false;
        let mut ranges = self.dwarf.unit_ranges(unit)?;
        while let Some(range) = ranges.next()? {
            any |= !within(addresses, range.begin, range.end).is_empty();
        }
        if !any {
            return Ok(());
        }
        let mut scopes: Map<usize, Vec<Scope>> = Map::default();
        let walked = self.walk(unit, addresses, &mut scopes);
        let lows = scopes.values().filter_map(|scopes| Some(scopes.first()?.low));
        let mut wanted: Vec<u64> =
            scopes.keys().filter_map(|at| addresses.get(*at).copied()).chain(lows).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let rows = rows(unit, &wanted);
        let mut names: Map<usize, (String, u32)> = Map::default();
        for (at, scopes) in scopes {
            let row = |address: u64| rows.get(&address).copied().unwrap_or_default();
            let (Some(address), Some(chain)) = (addresses.get(at), chains.get_mut(at)) else {
                continue;
            };
            // Each but the innermost stands at the call to the next.
            let calls = scopes.iter().skip(1).map(|scope| scope.call).chain([row(*address)]);
            let sites = scopes.iter().zip(calls).map(|(scope, (line, discriminator))| {
                let at = scope.unit_offset;
                let (function, start) =
                    names.entry(at.0).or_insert_with(|| self.function(unit, at)).clone();
                // Compilers that do not say where a function begins put its first code there.
                let start = if start == 0 { row(scope.low).0 } else { start };
                Site { function, start, line, discriminator }
            });
            let sites: Vec<Site> = sites.collect();
            if sites.iter().all(|site| !site.function.is_empty()) {
                *chain = sites;
            }
        }
        walked
    }

    /// Finds the functions around each address, by its place in `addresses`.
    fn walk(
        &self,
        unit: &Unit<'a>,
        addresses: &[u64],
        scopes: &mut Map<usize, Vec<Scope>>,
    ) -> gimli::Result<()> {
        let mut entries = unit.entries();
        while let Some(entry) = entries.next_dfs()? {
            let inlined = match entry.tag() {
                gimli::DW_TAG_subprogram => false,
                gimli::DW_TAG_inlined_subroutine => true,
                _ => continue,
            };
            let number = |name| {
                let value = entry.attr_value(name).and_then(|value| value.udata_value());
                value.and_then(|value| u32::try_from(value).ok()).unwrap_or_default()
            };
            let mut ranges = self.dwarf.die_ranges(unit, entry)?;
            while let Some(range) = ranges.next()? {
                for at in within(addresses, range.begin, range.end) {
                    let chain = scopes.entry(at).or_default();
                    if !inlined {
                        chain.clear();
                    }
                    let deeper = chain.last().is_none_or(|outer| outer.depth < entry.depth());
                    if inlined == chain.is_empty() || !deeper || chain.len() >= CHAIN_MAX {
                        continue;
                    }
                    let call =
                        (number(gimli::DW_AT_call_line), number(gimli::DW_AT_GNU_discriminator));
                    let (depth, low) = (entry.depth(), range.begin);
                    chain.push(Scope { unit_offset: entry.offset(), depth, call, low });
                }
            }
        }
        Ok(())
    }

    /// The name and first line of the function that an entry is of; empty if it has none.
    fn function(&self, unit: &Unit<'a>, at: UnitOffset) -> (String, u32) {
        let (mut linkage, mut plain, mut start) = (None, None, 0);
        let _ = self.describe(unit, at, 0, &mut linkage, &mut plain, &mut start);
        (linkage.or(plain).unwrap_or_default(), start)
    }

    fn describe(
        &self,
        unit: &Unit<'a>,
        at: UnitOffset,
        hops: usize,
        linkage: &mut Option<String>,
        plain: &mut Option<String>,
        start: &mut u32,
    ) -> gimli::Result<()> {
        let entry = unit.entry(at)?;
        let text = |name| {
            let value = entry.attr_value(name)?;
            let text = self.dwarf.attr_string(unit, value).ok()?;
            let text = gimli::Reader::to_string_lossy(&text).ok()?.into_owned();
            (!text.is_empty()).then_some(text)
        };
        *linkage = linkage.take().or_else(|| {
            text(gimli::DW_AT_linkage_name).or_else(|| text(gimli::DW_AT_MIPS_linkage_name))
        });
        *plain = plain.take().or_else(|| text(gimli::DW_AT_name));
        if *start == 0 {
            let line = entry.attr_value(gimli::DW_AT_decl_line);
            let line = line.and_then(|line| line.udata_value()).unwrap_or_default();
            *start = u32::try_from(line).unwrap_or_default();
        }
        let next = [gimli::DW_AT_abstract_origin, gimli::DW_AT_specification];
        let Some(next) = next.into_iter().find_map(|name| entry.attr_value(name)) else {
            return Ok(());
        };
        if hops >= HOPS_MAX {
            return Ok(());
        }
        match next {
            AttributeValue::UnitRef(at) => self.describe(unit, at, hops + 1, linkage, plain, start),
            // Of another unit, as where the linker optimised.
            AttributeValue::DebugInfoRef(at) => {
                let Some((unit, at)) = self.unit_of(at) else { return Ok(()) };
                self.describe(&unit, at, hops + 1, linkage, plain, start)
            }
            _ => Ok(()),
        }
    }

    fn unit_of(&self, at: DebugInfoOffset) -> Option<(Unit<'a>, UnitOffset)> {
        let header = self.headers.iter().find_map(|header| {
            let offset = at.to_unit_offset(header)?;
            Some((header, offset))
        });
        let (header, offset) = header?;
        Some((self.dwarf.unit(*header).ok()?, offset))
    }
}

/// The places in `addresses`, which are sorted, of those in a range. Ranges that begin at 0 are of
/// code that the linker left out.
fn within(addresses: &[u64], begin: u64, end: u64) -> std::ops::Range<usize> {
    if begin == 0 {
        return 0..0;
    }
    let from = addresses.partition_point(|&address| address < begin);
    from..addresses.partition_point(|&address| address < end).max(from)
}

/// Line and discriminator at each of `wanted`, which are sorted.
fn rows(unit: &Unit<'_>, wanted: &[u64]) -> Map<u64, (u32, u32)> {
    let mut found = Map::default();
    let Some(program) = unit.line_program.clone() else { return found };
    let mut rows = program.rows();
    let mut before: Option<(u64, u32, u32)> = None;
    while let Ok(Some((_, row))) = rows.next_row() {
        if let Some((start, line, discriminator)) = before {
            for at in within(wanted, start, row.address()) {
                if let Some(address) = wanted.get(at) {
                    found.entry(*address).or_insert((line, discriminator));
                }
            }
        }
        let line = row.line().map_or(0, |line| u32::try_from(line.get()).unwrap_or_default());
        let discriminator = u32::try_from(row.discriminator()).unwrap_or_default();
        before = (!row.end_sequence()).then(|| (row.address(), line, discriminator));
    }
    found
}

/// What a section holds, decompressed if need be; believes no size that it claims.
fn content<'data>(section: &impl ObjectSection<'data>) -> Result<Vec<u8>> {
    let data = section.compressed_data()?;
    let mut content = Vec::new();
    let limited = |reader: &mut dyn Read, content: &mut Vec<u8>| -> Result<()> {
        reader.take(FILE_MAX + 1).read_to_end(content).context("a section cannot be unpacked")?;
        if content.len() as u64 > FILE_MAX {
            bail!("a section of it is larger than {} GB", FILE_MAX >> 30);
        }
        Ok(())
    };
    match data.format {
        CompressionFormat::None => return Ok(data.data.to_vec()),
        CompressionFormat::Zlib => {
            limited(&mut flate2::bufread::ZlibDecoder::new(data.data), &mut content)?;
        }
        CompressionFormat::Zstandard => {
            limited(&mut zstd::stream::Decoder::with_buffer(data.data)?, &mut content)?;
        }
        _ => bail!("a section of it is packed in an unknown way"),
    }
    Ok(content)
}
