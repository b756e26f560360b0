//! Arguments of a call, out of its record: numbers by their names, and what was read of the rest.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Known, flags, recipe::Kind, table::Call};
use crate::{
    bpf::{syscalls::types::call, word_at},
    model::Value,
    sources::paths::{path_of, until_nul},
};

/// fcntl.h
const AT_FDCWD: i32 = -100;
/// `enum path_status`.
const PSEUDO: u32 = 3;

/// The arguments by name, in the order of the call; none if the record is none of ours. `text` is
/// what was read.
pub fn decode<'a>(
    known: &'static Known,
    named: &'static Call,
    head: &call,
    mut text: &'a [u8],
) -> Option<Vec<(&'static str, Value<'a>)>> {
    let kinds = known.kinds.get(head.number as usize)?;
    let mut values = Vec::with_capacity(named.args.len());
    for (index, arg) in named.args.iter().enumerate().take(taken(named, head)) {
        let (value, part) = (*head.args.get(index)?, head.parts.get(index)?);
        let (bytes, rest) = text.split_at_checked(part.bytes.into())?;
        text = rest;
        let pointer = || number(&named.name, &arg.name, &arg.kind, value);
        let failed = head.result < 0;
        let decoded = match *kinds.get(index)? {
            Kind::Number | Kind::Pointer => pointer(),
            Kind::File => file(value as i32, part.status as u32, bytes),
            _ if bytes.is_empty() => pointer(),
            Kind::Text => Value::text(until_nul(bytes)),
            Kind::Strings => {
                let list = bytes.strip_suffix(b"\0").unwrap_or(bytes);
                Value::Texts(list.split(|byte| *byte == 0).collect())
            }
            Kind::DataIn(count) => data(bytes, *head.args.get(usize::from(count))?),
            Kind::DataOut => data(bytes, head.result.max(0) as u64),
            Kind::AddressIn(_) | Kind::AddressOut(_) => Value::Word(address(bytes).into()),
            // What a call that failed left alone says nothing.
            _ if failed && !arg.kind.starts_with("const") => pointer(),
            Kind::Integers(_, width) => {
                let number = |at| word_at(bytes, at, width.into()).map(|n| (n as i32).to_string());
                let all: Vec<String> =
                    (0..bytes.len()).step_by(width.into()).filter_map(number).collect();
                Value::Word(format!("[{}]", all.join(", ")).into())
            }
            Kind::Struct(_) => match known.layouts.get(&(head.number, index)) {
                Some(layout) => Value::Word(layout.write(bytes).into()),
                None => pointer(),
            },
        };
        values.push((&*arg.name, decoded));
    }
    Some(values)
}

/// How many of its arguments the call takes: some need the last ones only with others.
fn taken(named: &Call, head: &call) -> usize {
    // fcntl.h: O_CREAT, O_TMPFILE
    const CREATES: u64 = 0o100 | 0o20000000;
    let flags = match &*named.name {
        "open" => head.args[1],
        "openat" => head.args[2],
        _ => CREATES,
    };
    named.args.len() - usize::from(flags & CREATES == 0)
}

/// A number, by its name where it has one, else as its type says.
fn number(call: &str, name: &str, kind: &str, value: u64) -> Value<'static> {
    if kind.contains('*') {
        return match value {
            0 => Value::word("NULL"),
            _ => Value::Word(format!("{value:#x}").into()),
        };
    }
    if let Some(text) = flags::named(call, name, value) {
        return Value::Word(text.into());
    }
    match kind {
        "umode_t" => Value::Word(format!("{:#05o}", value & 0xffff).replacen("0o", "0", 1).into()),
        "int" | "pid_t" | "s32" | "clockid_t" | "const clockid_t" | "key_t" | "mqd_t" => {
            Value::Number((value as i32).into())
        }
        "unsigned int" | "unsigned" | "u32" | "uid_t" | "gid_t" => match (value as u32, name) {
            (value, "uid" | "gid" | "user" | "group" | "ruid" | "euid" | "suid") => {
                Value::Number((value as i32).into())
            }
            (value, "cmd") if value > 0xffff => Value::Word(format!("{value:#x}").into()),
            (value, _) => Value::Number(value.into()),
        },
        "off_t" | "loff_t" | "long" => Value::Number(value as i64),
        "size_t" => Value::Number(value as i64),
        _ if matches!(name, "addr" | "start" | "brk" | "arg" | "newsp" | "tls") => match value {
            0 if matches!(name, "addr" | "start" | "brk") => Value::word("NULL"),
            _ => Value::Word(format!("{value:#x}").into()),
        },
        _ if value > 0xffff_ffff => Value::Word(format!("{value:#x}").into()),
        _ => Value::Number(value as i64),
    }
}

/// A descriptor, and what it is open on.
fn file(number: i32, status: u32, bytes: &[u8]) -> Value<'static> {
    if number == AT_FDCWD {
        return Value::word("AT_FDCWD");
    }
    let path = match bytes.split_last_chunk::<8>() {
        Some((name, inode)) if status == PSEUDO => {
            let name = until_nul(name);
            let inode = u64::from_ne_bytes(*inode);
            // As in /proc/PID/fd: there sockets go by their protocol's name.
            Some(match name {
                b"" => format!("pipe:[{inode}]").into_bytes(),
                _ if name.starts_with(b"[") => [b"anon_inode:", name].concat(),
                _ if name.iter().all(|c| c.is_ascii_uppercase() || !c.is_ascii_alphabetic()) => {
                    format!("socket:[{inode}]").into_bytes()
                }
                _ => name.to_vec(),
            })
        }
        _ => path_of(status, 0, bytes),
    };
    Value::File(number, path)
}

/// Bytes, of which there were `all`.
fn data(bytes: &[u8], all: u64) -> Value<'_> {
    Value::Data(bytes, all > bytes.len() as u64)
}

/// A socket's address: `127.0.0.1:80`, `[::1]:80`, a path, or its family.
fn address(bytes: &[u8]) -> String {
    let family = word_at(bytes, 0, 2).unwrap_or_default();
    let port = bytes.get(2..4).map_or(0, |port| u16::from_be_bytes([port[0], port[1]]));
    match family {
        1 => match bytes.get(2..).unwrap_or_default() {
            [] => "unix:".to_owned(),
            [0, name @ ..] => format!("unix:@{}", name.escape_ascii()),
            path => format!("unix:{}", until_nul(path).escape_ascii()),
        },
        2 if bytes.len() >= 8 => {
            format!("{}:{port}", Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]))
        }
        10 if bytes.len() >= 24 => {
            let mut address = [0; 16];
            address.copy_from_slice(&bytes[8..24]);
            format!("[{}]:{port}", Ipv6Addr::from(address))
        }
        other => flags::family(other).unwrap_or_else(|| format!("family {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_sockets() {
        assert_eq!(address(&[2, 0, 0, 80, 127, 0, 0, 1]), "127.0.0.1:80");
        let mut six = vec![10, 0, 1, 187, 0, 0, 0, 0];
        six.extend([0; 15]);
        six.push(1);
        assert_eq!(address(&six), "[::1]:443");
        assert_eq!(address(b"\x01\x00/run/x\x1b\0\0"), "unix:/run/x\\x1b");
        assert_eq!(address(b"\x01\x00\0abs"), "unix:@abs");
        assert_eq!(address(&[16, 0, 0]), "AF_NETLINK");
        assert_eq!(address(&[2, 0]), "AF_INET");
        assert_eq!(address(&[]), "AF_UNSPEC");
    }

    #[test]
    fn descriptors_are_told_with_what_they_are_open_on() {
        let file = |status, bytes: &[u8]| match file(3, status, bytes) {
            Value::File(3, path) => path.map(|path| String::from_utf8(path).unwrap()),
            other => panic!("{other:?}"),
        };
        assert_eq!(file(1, b"b\0a\0").unwrap(), "/a/b");
        assert_eq!(file(0, b""), None);
        assert_eq!(file(PSEUDO, b"\0\x07\0\0\0\0\0\0\0").unwrap(), "pipe:[7]");
        assert_eq!(file(PSEUDO, b"TCP\0\x07\0\0\0\0\0\0\0").unwrap(), "socket:[7]");
        assert_eq!(file(PSEUDO, b"[eventfd]\0\x07\0\0\0\0\0\0\0").unwrap(), "anon_inode:[eventfd]");
        assert_eq!(file(PSEUDO, b"memfd:x\0\x07\0\0\0\0\0\0\0").unwrap(), "memfd:x");
    }
}
