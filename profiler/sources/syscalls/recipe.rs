//! How each argument of a system call is read and written down, told from its name and its type.

use super::{structs::Structs, table::Call};
use crate::bpf::syscalls::types::{part, recipe};

/// What an argument is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A number, as its type says.
    Number,
    /// A pointer to what is not read.
    Pointer,
    /// A path or another string.
    Text,
    /// A file descriptor.
    File,
    /// Bytes that the call reads: as many as the argument of that number says.
    DataIn(u8),
    /// Bytes that the call writes: as many as its result says.
    DataOut,
    /// A socket's address that the call reads: the size is in the argument of that number.
    AddressIn(u8),
    /// A socket's address that the call writes: that argument points to the size.
    AddressOut(u8),
    /// Integers: how many, and the bytes of each.
    Integers(u8, u8),
    /// A struct, whose layout is that of the kernel.
    Struct(u16),
    /// A list of strings.
    Strings,
}

/// enum part_kind.
const TEXT: u8 = 1;
const FILE: u8 = 2;
const DATA_IN: u8 = 3;
const DATA_OUT: u8 = 4;
const FIXED: u8 = 5;
const SIZED: u8 = 6;
const STRINGS: u8 = 7;

/// Which programs a call is read by.
const READ_FILES: u8 = 1;
const READ_DATA: u8 = 2;

/// The most bytes of a struct (DATA_MAX in `bpf/callparts.bpf.h`).
const STRUCT_MAX: usize = 256;
/// A socket's address is as large as this at most (include/uapi/linux/socket.h).
const ADDRESS_MAX: u16 = 128;

/// Arguments that are file descriptors.
const FILES: [&str; 22] = [
    "fd", "dfd", "dirfd", "olddfd", "newdfd", "oldfd", "newfd", "fildes", "epfd", "fd_in",
    "fd_out", "in_fd", "out_fd", "fdin", "fdout", "ufd", "mqdes", "pidfd", "from_dfd", "to_dfd",
    "outfd", "fs_fd",
];

/// Pointers to the first of several structs, of which one alone would tell too little.
const LISTS: [&str; 9] = ["ufds", "vec", "iov", "lvec", "rvec", "events", "mmsg", "iocbpp", "rseq"];

/// What each argument of `call` is.
pub fn kinds(call: &Call, structs: &mut Structs) -> Vec<Kind> {
    (0..call.args.len()).map(|index| kind(call, index, structs)).collect()
}

fn kind(call: &Call, index: usize, structs: &mut Structs) -> Kind {
    let (name, kind) = (&*call.args[index].name, &*call.args[index].kind);
    let next = index as u8 + 1;
    let has_next = call.args.len() > usize::from(next);
    let pointer = kind.contains('*');
    match (&*call.name, name) {
        ("pipe" | "pipe2", "fildes") | ("socketpair", "usockvec") => return Kind::Integers(2, 4),
        ("wait4", "stat_addr") => return Kind::Integers(1, 4),
        ("sethostname" | "setdomainname", "name") => return Kind::DataIn(next),
        ("execve" | "execveat", "argv") => return Kind::Strings,
        ("execve" | "execveat", "envp") => return Kind::Pointer,
        // What they write begins with a size of its own.
        ("getdents" | "getdents64", "dirent") => return Kind::Pointer,
        _ => {}
    }
    if !pointer {
        let integer = matches!(kind, "int" | "unsigned int" | "unsigned long" | "s32" | "u32");
        return if integer && FILES.contains(&name) { Kind::File } else { Kind::Number };
    }
    if kind.contains("struct sockaddr *") && has_next {
        return match &*call.name {
            "accept" | "accept4" | "getsockname" | "getpeername" | "recvfrom" => {
                Kind::AddressOut(next)
            }
            _ => Kind::AddressIn(next),
        };
    }
    if kind.contains("struct ") && !LISTS.contains(&name) && !kind.contains("**") {
        return match structs.size(kind).filter(|size| (1..=STRUCT_MAX).contains(size)) {
            Some(size) => Kind::Struct(size as u16),
            None => Kind::Pointer,
        };
    }
    match (kind, name) {
        ("const char *", "buf") | ("void *", "buff") if has_next => Kind::DataIn(next),
        ("char *", "buf" | "ubuf") | ("void *", "ubuf") if has_next => Kind::DataOut,
        ("const char *", _) => Kind::Text,
        ("char *", "name" | "dev_name" | "dir_name" | "type") => Kind::Text,
        _ => Kind::Pointer,
    }
}

/// How the kernel half reads a call whose arguments are these.
pub fn recipe(call: &Call, kinds: &[Kind]) -> recipe {
    let mut made = recipe { is_wanted: 1, ..Default::default() };
    for (part, kind) in made.parts.iter_mut().zip(kinds) {
        let (kind, size_in, size, reads) = match *kind {
            Kind::Number | Kind::Pointer => continue,
            Kind::Text => (TEXT, 0, 0, READ_FILES),
            Kind::File => (FILE, 0, 0, READ_FILES),
            Kind::DataIn(count) => (DATA_IN, count, 0, READ_DATA),
            Kind::DataOut => (DATA_OUT, 0, 0, READ_DATA),
            // All of it: a size says so.
            Kind::AddressIn(size) => (DATA_IN, size, ADDRESS_MAX, READ_DATA),
            Kind::AddressOut(size) => (SIZED, size, ADDRESS_MAX, READ_DATA),
            Kind::Integers(count, bytes) => (FIXED, 0, u16::from(count * bytes), READ_DATA),
            Kind::Struct(size) => (FIXED, 0, size, READ_DATA),
            Kind::Strings => (STRINGS, 0, 0, 0),
        };
        *part = part_of(kind, size_in, size);
        made.reads |= reads;
    }
    made.at_entry = u8::from(call.name.starts_with("exec"));
    made.is_final = u8::from(matches!(&*call.name, "exit" | "exit_group"));
    made
}

fn part_of(kind: u8, size_in: u8, size: u16) -> part {
    part { kind, size_in, size, ..Default::default() }
}
