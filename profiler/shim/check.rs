//! Whether a program can have the shim: found out from its file before it is started, since the
//! dynamic loader would say it on the program's own standard error, or not at all.

use std::{
    ffi::OsStr,
    fmt,
    fs::File,
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use nix::unistd::{getegid, geteuid, getgid, getuid};
use object::{
    LittleEndian as LE,
    elf::{self, Dyn64, Sym64},
};

use crate::unwind::{Error, Image};

/// Scripts whose interpreter is a script (`BINPRM_MAX_RECURSION` of fs/exec.c is 4).
const SCRIPTS_MAX: u32 = 4;
/// What the kernel reads of a script's first line (`BINPRM_BUF_SIZE`), in bytes.
const LINE_BYTES: u64 = 256;
/// The most symbols that are looked at, and the most bytes of their names.
const SYMBOLS_MAX: u64 = 4 << 20;
const NAMES_BYTES_MAX: u64 = 64 << 20;
/// The most entries of a dynamic section; a browser has 200.
const DYNAMIC_MAX: u64 = 16 << 10;

/// Why a program cannot have the shim.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum WhyNot {
    /// It is linked statically: no loader, and nothing to stand before.
    Static,
    /// It runs with other rights than ours, so its loader heeds no environment; the text says why.
    OtherRights(&'static str),
    /// It brings an allocator in its own file, which comes before any that is preloaded.
    OwnAllocator,
    /// It is built with a sanitizer, which wants to be the first that is loaded; the text is its
    /// library.
    Sanitizer(String),
    /// It is not for this machine's 64-bit loader; the text says what it is.
    Foreign(String),
    /// Its file cannot be read; the text says why.
    Unreadable(String),
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Static => write!(f, "it is linked statically"),
            Self::OtherRights(why) => write!(f, "it {why}, so the dynamic loader preloads nothing"),
            Self::OwnAllocator => write!(f, "it has an allocator of its own in its file"),
            Self::Sanitizer(library) => {
                write!(f, "it is built with a sanitizer ({library}), which preloads its own")
            }
            Self::Foreign(what) => write!(f, "{what}"),
            Self::Unreadable(why) => write!(f, "its file cannot be read: {why}"),
        }
    }
}

impl std::error::Error for WhyNot {}

/// Checks that the program in that file can have the shim. For a script, that is its interpreter;
/// what a program starts in turn is not known.
///
/// # Errors
/// Why not.
pub fn check(program: &Path) -> Result<(), WhyNot> {
    let mut program = program.to_owned();
    for _ in 0..=SCRIPTS_MAX {
        let file = File::open(&program).map_err(unreadable)?;
        let Some(interpreter) = interpreter(&file)? else { return check_file(&file, &program) };
        program = interpreter;
    }
    Err(WhyNot::Foreign("its interpreter is a script, and so on".into()))
}

fn unreadable(error: io::Error) -> WhyNot {
    WhyNot::Unreadable(error.to_string())
}

/// What runs a script; none if the file is no script.
fn interpreter(file: &File) -> Result<Option<PathBuf>, WhyNot> {
    let mut line = Vec::new();
    let mut start = file;
    start.by_ref().take(LINE_BYTES).read_to_end(&mut line).map_err(unreadable)?;
    let Some(line) = line.strip_prefix(b"#!") else { return Ok(None) };
    let mut words = line.split(|byte| b" \t\n\0".contains(byte)).filter(|word| !word.is_empty());
    let path = words.next().filter(|path| path.starts_with(b"/"));
    let path = path.ok_or_else(|| WhyNot::Foreign("it names no interpreter".into()))?;
    Ok(Some(PathBuf::from(OsStr::from_bytes(path))))
}

fn check_file(file: &File, path: &Path) -> Result<(), WhyNot> {
    check_rights(file, path)?;
    let image = Image::read(file).map_err(damaged)?;
    let Some(loader) = image.program(elf::PT_INTERP) else { return Err(WhyNot::Static) };
    let loader = image.bytes(loader.offset, loader.size.min(4096)).map_err(damaged)?;
    let loader = String::from_utf8_lossy(&loader);
    // Both publish the list of objects that the shim looks for the allocator in.
    if !loader.contains("/ld-linux-x86-64.so") && !loader.contains("/ld-musl-x86_64.so") {
        return Err(WhyNot::Foreign("its dynamic loader is neither glibc's nor musl's".into()));
    }
    let names = names(&image).map_err(damaged)?;
    if let Some(library) = sanitizer(&image, &names).map_err(damaged)? {
        return Err(WhyNot::Sanitizer(library));
    }
    if has_allocator(&image, &names).map_err(damaged)? {
        return Err(WhyNot::OwnAllocator);
    }
    Ok(())
}

fn damaged(error: Error) -> WhyNot {
    match error {
        Error::Io(error) => unreadable(error),
        Error::NotElf => WhyNot::Foreign("it is no ELF file".into()),
        Error::Foreign(_) => WhyNot::Foreign("it is no program for 64-bit x86".into()),
        other => WhyNot::Unreadable(other.to_string()),
    }
}

/// As the kernel decides on `AT_SECURE`, by which the loader does (security/commoncap.c): the file
/// gives other ids than the real ones, or capabilities to somebody who is not root.
fn check_rights(file: &File, path: &Path) -> Result<(), WhyNot> {
    let metadata = file.metadata().map_err(unreadable)?;
    let (mode, user, group) = (metadata.mode(), metadata.uid(), metadata.gid());
    if mode & 0o4000 != 0 && user != getuid().as_raw() {
        return Err(WhyNot::OtherRights("is setuid"));
    }
    if mode & 0o2010 == 0o2010 && group != getgid().as_raw() {
        return Err(WhyNot::OtherRights("is setgid"));
    }
    if geteuid() != getuid() || getegid() != getgid() {
        return Err(WhyNot::OtherRights("is started by a setuid program"));
    }
    let mut value = [0; 64];
    if !getuid().is_root() && rustix::fs::getxattr(path, "security.capability", &mut value).is_ok()
    {
        return Err(WhyNot::OtherRights("has file capabilities"));
    }
    Ok(())
}

/// The strings of its dynamic section.
fn names(image: &Image<'_, File>) -> Result<Vec<u8>, Error> {
    let Some(section) = image.section(".dynstr") else { return Ok(Vec::new()) };
    image.bytes(section.offset, section.size.min(NAMES_BYTES_MAX))
}

fn name_at(names: &[u8], at: usize) -> &[u8] {
    let rest = names.get(at..).unwrap_or_default();
    rest.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// The library of a sanitizer among those that it needs.
fn sanitizer(image: &Image<'_, File>, names: &[u8]) -> Result<Option<String>, Error> {
    let Some(section) = image.program(elf::PT_DYNAMIC) else { return Ok(None) };
    let count = (section.size / size_of::<Dyn64<LE>>() as u64).min(DYNAMIC_MAX);
    let entries = image.pods::<Dyn64<LE>>(section.offset, count)?;
    let needed = entries
        .iter()
        .filter(|entry| entry.d_tag.get(LE) == elf::DT_NEEDED)
        .map(|entry| name_at(names, entry.d_val.get(LE) as usize));
    let kinds: [&[u8]; 5] =
        [b"libasan.so", b"libtsan.so", b"liblsan.so", b"libhwasan.so", b"libclang_rt."];
    let mut found = needed.filter(|name| kinds.iter().any(|kind| name.starts_with(kind)));
    Ok(found.next().map(|name| name.escape_ascii().to_string()))
}

/// True if it offers a malloc to all that is loaded with it, as programs do that have an allocator
/// linked in.
fn has_allocator(image: &Image<'_, File>, names: &[u8]) -> Result<bool, Error> {
    let Some(section) = image.section(".dynsym") else { return Ok(false) };
    let count = (section.size / size_of::<Sym64<LE>>() as u64).min(SYMBOLS_MAX);
    let symbols = image.pods::<Sym64<LE>>(section.offset, count)?;
    Ok(symbols.iter().any(|symbol| {
        symbol.st_shndx.get(LE) != elf::SHN_UNDEF
            && name_at(names, symbol.st_name.get(LE) as usize) == b"malloc"
    }))
}
