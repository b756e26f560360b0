//! Tracepoints: which there are, the number that the kernel knows each by, and its fields. All of it
//! is in tracefs, which need not be mounted: then it is, for us alone, at no path.
//! Format: Documentation/trace/events.rst.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use super::argument::{Argument, Shown};
use crate::{bpf::word_at, model::Value, nearest::nearest};

/// Bytes of a tracepoint's record that are looked at (PROBE_RECORD_MAX in `bpf/probeline.bpf.c`).
pub const RECORD_MAX: u32 = 4096;
/// Fields whose content is elsewhere (PROBE_LOCATED there).
pub const LOCATED_MAX: usize = 6;
/// Fields of one tracepoint that are told.
const FIELDS_MAX: usize = 64;
/// Bytes of a format.
const FORMAT_MAX: u64 = 64 << 10;
/// Numbers of an array that are told.
const NUMBERS_MAX: usize = 16;
/// Where it is, if it is mounted.
const MOUNTED: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Where tracepoints are described.
pub struct Tracefs {
    path: PathBuf,
    _mount: Option<OwnedFd>,
}

/// What a tracepoint has.
#[derive(Clone, Debug, Default)]
pub struct Format {
    /// In their order.
    pub fields: Vec<Field>,
    /// Bytes of all that have a fixed place.
    pub bytes: u32,
}

/// One field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type in C.
    pub kind: String,
    offset: u32,
    bytes: u32,
    signed: bool,
    shape: Shape,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Shape {
    Number,
    Bool,
    Address,
    /// The address of a text of the program, which is read too.
    UserText,
    /// Texts that are in the record, or of which it says where they are.
    Chars,
    LocatedChars {
        relative: bool,
    },
    /// Numbers of so many bytes each.
    Array(u32),
    Located {
        each: u32,
        relative: bool,
    },
    Other,
}

impl Tracefs {
    /// Finds it, or mounts it.
    ///
    /// # Errors
    /// It cannot be read: says what is missing.
    pub fn open() -> Result<Self> {
        let readable = |path: &&&str| fs::read_dir(Path::new(path).join("events/sched")).is_ok();
        if let Some(path) = MOUNTED.iter().find(readable) {
            return Ok(Self { path: path.into(), _mount: None });
        }
        let mount = mount().context(
            "tracefs, where the kernel describes its tracepoints, cannot be read: it takes root, \
             and a kernel with CONFIG_TRACING",
        )?;
        // This path leads into it, wherever it is not mounted.
        let path = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
        Ok(Self { path, _mount: Some(mount) })
    }

    /// Every tracepoint: category and name, sorted.
    pub fn all(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for category in folders(&self.path.join("events")) {
            let names = folders(&self.path.join("events").join(&category)).into_iter();
            all.extend(names.map(|name| (category.clone(), name)));
        }
        all.sort();
        all
    }

    /// The number of a tracepoint, and its fields.
    ///
    /// # Errors
    /// There is none of that name: names the nearest.
    pub fn find(&self, category: &str, name: &str) -> Result<(u64, Format)> {
        let folder = self.path.join("events").join(category).join(name);
        let Some(id) = read(&folder.join("id"))? else {
            let all = self.all();
            // The right name in the wrong category is more likely meant than any other.
            if let Some((category, _)) = all.iter().find(|(_, known)| known == name) {
                bail!(
                    "no tracepoint {category_of}; there is tracepoint:{category}:{name}",
                    category_of = format_args!("{}:{name}", folder_name(&folder))
                );
            }
            let asked = format!("{category}:{name}");
            let near =
                nearest(&asked, all.into_iter().map(|(first, second)| format!("{first}:{second}")));
            bail!("no tracepoint {asked}{near}; `rprof list 'tracepoint:*'` lists them");
        };
        let id = id.trim().parse().context("tracefs gives no number for the tracepoint")?;
        let text = read(&folder.join("format"))?.unwrap_or_default();
        Ok((id, Format::parse(&text, category == "syscalls")))
    }

    /// The fields of a tracepoint that there is.
    pub fn format(&self, category: &str, name: &str) -> Option<Format> {
        let path = self.path.join("events").join(category).join(name).join("format");
        Some(Format::parse(&read(&path).ok()??, category == "syscalls"))
    }
}

fn folder_name(folder: &Path) -> String {
    let parent = folder.parent().and_then(Path::file_name);
    parent.unwrap_or_default().to_string_lossy().into_owned()
}

fn mount() -> rustix::io::Result<OwnedFd> {
    let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let nothing = MountAttrFlags::MOUNT_ATTR_NOEXEC | MountAttrFlags::MOUNT_ATTR_NOSUID;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, nothing)
}

fn folders(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The text of a file; none if there is no such file.
fn read(path: &Path) -> Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context("cannot read the tracepoint's description"),
    };
    let mut text = Vec::new();
    file.take(FORMAT_MAX).read_to_end(&mut text).context("cannot read tracefs")?;
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

impl Format {
    /// Reads `field:TYPE NAME; offset:N; size:N; signed:N;` lines. What makes no sense is left out.
    pub fn parse(text: &str, of_syscall: bool) -> Self {
        let mut format = Self::default();
        for line in text.lines() {
            let Some(line) = line.trim().strip_prefix("field:") else { continue };
            let Some(field) = Field::parse(line, of_syscall) else { continue };
            format.bytes = format.bytes.max(field.offset + field.bytes);
            if !field.name.starts_with("common_") && format.fields.len() < FIELDS_MAX {
                format.fields.push(field);
            }
        }
        format
    }

    /// Where fields are that say where their content is, and whether relative to themselves.
    pub fn located(&self) -> impl Iterator<Item = (u32, bool)> + '_ {
        let fields = self.fields.iter().filter_map(|field| match field.shape {
            Shape::LocatedChars { relative } | Shape::Located { relative, .. } => {
                Some((field.offset, relative))
            }
            _ => None,
        });
        fields.take(LOCATED_MAX)
    }

    /// What is to be read besides the record: texts of the program.
    pub fn arguments(&self) -> Vec<Argument> {
        let texts = self.fields.iter().filter(|field| field.shape == Shape::UserText);
        let argument =
            |field: &Field| Argument::recorded(&field.name, Shown::Text, field.offset.into());
        texts.take(super::ARGUMENTS_MAX).map(argument).collect()
    }

    /// The values of all fields, out of a record. `texts` are those of [`Format::arguments`].
    pub fn values<'a>(
        &self,
        record: &'a [u8],
        mut texts: impl Iterator<Item = Value<'a>>,
    ) -> Vec<Value<'a>> {
        let value = |field: &Field| match field.shape {
            Shape::UserText => texts.next().unwrap_or(Value::None),
            _ => field.value(record).unwrap_or(Value::None),
        };
        self.fields.iter().map(value).collect()
    }
}

impl Field {
    fn parse(line: &str, of_syscall: bool) -> Option<Self> {
        let mut parts = line.split(';').map(str::trim);
        let declared = parts.next()?;
        let mut number = |key: &str| parts.next()?.strip_prefix(key)?.parse::<u32>().ok();
        let (offset, bytes) = (number("offset:")?, number("size:")?);
        let signed = number("signed:") == Some(1);
        if offset.checked_add(bytes)? > RECORD_MAX {
            return None;
        }
        // `char comm[16]`, `__data_loc char[] name`, `const char * name`, `unsigned long args[6]`
        let (kind, name) = declared.rsplit_once([' ', '*'])?;
        let kind = match declared.as_bytes().get(kind.len()) {
            Some(b'*') => format!("{} *", kind.trim_end()),
            _ => kind.trim_end().to_owned(),
        };
        let (name, length) = match name.split_once('[') {
            Some((name, length)) => (name, Some(length.trim_end_matches(']'))),
            None => (name, None),
        };
        let shape = shape(&kind, length, bytes, of_syscall);
        // Each argument of a call has eight bytes, of which a smaller type uses the first.
        let (bytes, signed) = match (of_syscall && length.is_none(), &*kind) {
            (true, "int" | "pid_t" | "clockid_t" | "key_serial_t" | "timer_t") => {
                (bytes.min(4), true)
            }
            (true, "unsigned int" | "uid_t" | "gid_t" | "u32" | "__u32") => (bytes.min(4), false),
            (true, "umode_t") => (bytes.min(2), false),
            _ => (bytes, signed),
        };
        let kind = match length {
            Some(length) => format!("{kind}[{length}]"),
            None => kind,
        };
        let plain =
            !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_graphic());
        plain.then(|| Self { name: name.into(), kind, offset, bytes, signed, shape })
    }

    fn value<'a>(&self, record: &'a [u8]) -> Option<Value<'a>> {
        let (at, bytes) = (self.offset as usize, self.bytes as usize);
        let here = record.get(at..at.checked_add(bytes)?)?;
        Some(match self.shape {
            Shape::Number => number(here, self.signed)?,
            Shape::Bool => Value::Flag(here.iter().any(|byte| *byte != 0)),
            Shape::Address => Value::Word(format!("{:#x}", word_at(here, 0, bytes.min(8))?).into()),
            Shape::Chars => Value::text(until_nul(here)),
            Shape::LocatedChars { relative } => {
                Value::text(until_nul(self.located(record, relative)?))
            }
            Shape::Array(each) => numbers(here, each, self.signed),
            Shape::Located { each, relative } => {
                numbers(self.located(record, relative)?, each, self.signed)
            }
            Shape::UserText | Shape::Other => {
                Value::Data(&here[..here.len().min(32)], here.len() > 32)
            }
        })
    }

    /// The content of a field that says where it is: its offset in the low, its bytes in the high
    /// half.
    fn located<'a>(&self, record: &'a [u8], relative: bool) -> Option<&'a [u8]> {
        let word = word_at(record, self.offset as usize, 4)? as usize;
        let (mut at, bytes) = (word & 0xffff, word >> 16);
        if relative {
            at += self.offset as usize + 4;
        }
        record.get(at..at.checked_add(bytes)?)
    }
}

fn shape(kind: &str, length: Option<&str>, bytes: u32, of_syscall: bool) -> Shape {
    let words: Vec<&str> = kind.split_whitespace().collect();
    let located = words.first().is_some_and(|word| ["__data_loc", "__rel_loc"].contains(word));
    let is_char = words.contains(&"char") || words.contains(&"char[]");
    if located {
        let relative = words.first() == Some(&"__rel_loc");
        let element = kind.trim_end_matches("[]");
        return match is_char && !words.contains(&"unsigned") {
            true => Shape::LocatedChars { relative },
            false => Shape::Located { each: size_of_type(element), relative },
        };
    }
    if kind.ends_with('*') {
        let text = of_syscall && is_char && length.is_none() && kind.matches('*').count() == 1;
        return if text && bytes == 8 { Shape::UserText } else { Shape::Address };
    }
    match length {
        Some(_) if is_char && !words.contains(&"unsigned") => Shape::Chars,
        Some(length) => match length.parse::<u32>() {
            Ok(count)
                if count > 0
                    && bytes.is_multiple_of(count)
                    && [1, 2, 4, 8].contains(&(bytes / count)) =>
            {
                Shape::Array(bytes / count)
            }
            _ => Shape::Other,
        },
        None if words.contains(&"bool") => Shape::Bool,
        None if [1, 2, 4, 8].contains(&bytes) => Shape::Number,
        None => Shape::Other,
    }
}

/// Bytes of a type that elements of an array have: those that tracepoints use.
fn size_of_type(kind: &str) -> u32 {
    let last = kind.split_whitespace().last().unwrap_or_default();
    match last {
        "char" | "u8" | "__u8" | "s8" | "bool" | "uint8_t" => 1,
        "short" | "u16" | "__u16" | "s16" | "__le16" | "__be16" => 2,
        "long" | "u64" | "__u64" | "s64" | "size_t" | "__le64" | "__be64" => 8,
        _ => 4,
    }
}

fn number(bytes: &[u8], signed: bool) -> Option<Value<'static>> {
    let value = word_at(bytes, 0, bytes.len())?;
    let cut = 64 - 8 * bytes.len() as u32;
    Some(match signed {
        true => Value::Number(((value << cut) as i64) >> cut),
        false => i64::try_from(value)
            .map_or_else(|_| Value::Word(format!("{value:#x}").into()), Value::Number),
    })
}

fn numbers(bytes: &[u8], each: u32, signed: bool) -> Value<'static> {
    let each = each.max(1) as usize;
    let mut words: Vec<String> = Vec::new();
    for chunk in bytes.chunks_exact(each).take(NUMBERS_MAX) {
        words.push(match number(chunk, signed) {
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Word(word)) => word.into_owned(),
            _ => String::new(),
        });
    }
    let more = if bytes.len() / each > NUMBERS_MAX { ", ..." } else { "" };
    Value::Word(format!("[{}{more}]", words.join(", ")).into())
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXEC: &str = "name: sched_process_exec\nID: 365\nformat:\n\
        \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\
        \tfield:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;\n\
        \tfield:pid_t pid;\toffset:12;\tsize:4;\tsigned:1;\n\
        \tfield:char comm[4];\toffset:16;\tsize:4;\tsigned:0;\n\
        \tfield:const void * at;\toffset:24;\tsize:8;\tsigned:0;\n\
        \tfield:unsigned long args[2];\toffset:32;\tsize:16;\tsigned:0;\n\
        \tfield:__rel_loc u16[] ids;\toffset:48;\tsize:4;\tsigned:0;\n\
        print fmt: \"x\"\n";

    #[test]
    fn fields_are_read_by_their_types() {
        let format = Format::parse(EXEC, false);
        assert_eq!(format.bytes, 52);
        assert_eq!(format.located().collect::<Vec<_>>(), [(8, false), (48, true)]);
        let mut record = vec![0u8; 62];
        record[8..12].copy_from_slice(&(56u32 | 4 << 16).to_ne_bytes());
        record[12..16].copy_from_slice(&(-7i32).to_ne_bytes());
        record[16..20].copy_from_slice(b"ab\0c");
        record[24..32].copy_from_slice(&0x1234u64.to_ne_bytes());
        record[32..40].copy_from_slice(&5u64.to_ne_bytes());
        // Four bytes behind the field's own end.
        record[48..52].copy_from_slice(&(8u32 | 2 << 16).to_ne_bytes());
        record[56..60].copy_from_slice(b"xyz\0");
        record[60..62].copy_from_slice(&9u16.to_ne_bytes());
        let word = |text: &'static str| Value::word(text);
        assert_eq!(
            format.values(&record, std::iter::empty()),
            [
                Value::text(&b"xyz"[..]),
                Value::Number(-7),
                Value::text(&b"ab"[..]),
                word("0x1234"),
                word("[5, 0]"),
                word("[9]"),
            ]
        );
    }

    #[test]
    fn texts_of_system_calls_are_the_programs() {
        let line = "field:const char * filename;\toffset:24;\tsize:8;\tsigned:0;";
        assert_eq!(Format::parse(line, true).arguments().len(), 1);
        assert_eq!(Format::parse(line, false).arguments().len(), 0);
        let line = "field:int dfd;\toffset:16;\tsize:8;\tsigned:0;";
        let record = [&[0; 16][..], &(-100i32).to_ne_bytes(), &[0; 4]].concat();
        let dfd = Format::parse(line, true).values(&record, std::iter::empty());
        assert_eq!(dfd, [Value::Number(-100)]);
        let line = "field:const char *const * argv;\toffset:24;\tsize:8;\tsigned:0;";
        assert_eq!(Format::parse(line, true).arguments().len(), 0);
    }

    #[test]
    fn a_format_that_lies_reaches_nothing_else() {
        for line in [
            "field:int x;\toffset:4294967295;\tsize:4;\tsigned:1;",
            "field:int x;\toffset:0;\tsize:9999;\tsigned:1;",
            "field:int;\toffset:0;\tsize:4;\tsigned:1;",
            "field:;;;;",
            "field:int x;\toffset:a;\tsize:4;",
            "field:int ;\toffset:0;\tsize:4;\tsigned:0;",
        ] {
            assert_eq!(Format::parse(line, false).fields, [], "{line}");
        }
        let lies =
            Format::parse("field:__data_loc char[] x;\toffset:0;\tsize:4;\tsigned:0;", false);
        for record in [&[0xff; 4][..], &[], &[0; 3], &[8, 0, 1, 0]] {
            assert_eq!(lies.values(record, std::iter::empty()), [Value::None]);
        }
        let many = "field:int x;\toffset:0;\tsize:4;\tsigned:1;\n".repeat(10_000);
        assert_eq!(Format::parse(&many, false).fields.len(), FIELDS_MAX);
    }
}
