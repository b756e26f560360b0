//! Paths as `bpf/path.bpf.h` sends them: names from the last to the first, each with a NUL behind it.

use std::borrow::Cow;

/// `enum path_status`.
const NONE: u32 = 0;
const CUT: u32 = 2;
const PSEUDO: u32 = 3;

/// The path of these names; none if there are none.
pub fn path_of(status: u32, inode: u64, names: &[u8]) -> Option<Vec<u8>> {
    if status == NONE {
        return None;
    }
    let names = names.strip_suffix(b"\0").unwrap_or(names);
    if status == PSEUDO {
        // Pipes and sockets have no names but what they are.
        let name = names.split(|byte| *byte == 0).next().unwrap_or_default();
        return Some(match name {
            b"" => format!("[inode {inode}]").into_bytes(),
            name => [b"[", name, b"]"].concat(),
        });
    }
    let mut path = Vec::with_capacity(names.len() + 4);
    if status == CUT {
        path.extend_from_slice(b"...");
    }
    if names.is_empty() {
        path.push(b'/');
        return Some(path);
    }
    for name in names.rsplit(|byte| *byte == 0) {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    Some(path)
}

/// `path` below `base`, unless it begins at the root.
pub fn join<'a>(base: Option<Vec<u8>>, path: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    if path.starts_with(b"/") {
        return Some(path.into());
    }
    let mut whole = base?;
    if path.is_empty() {
        return None;
    }
    if whole.last() != Some(&b'/') {
        whole.push(b'/');
    }
    whole.extend_from_slice(path);
    Some(whole.into())
}

/// The text before the first NUL.
pub fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths() {
        let path = |status, names: &str| {
            path_of(status, 7, names.as_bytes()).map(|path| String::from_utf8(path).unwrap())
        };
        assert_eq!(path(1, "c\0b\0a\0").unwrap(), "/a/b/c");
        assert_eq!(path(1, "").unwrap(), "/");
        assert_eq!(path(2, "c\0b\0").unwrap(), ".../b/c");
        assert_eq!(path(3, "memfd:x\0").unwrap(), "[memfd:x]");
        assert_eq!(path(3, "\0").unwrap(), "[inode 7]");
        assert_eq!(path(0, ""), None);
    }

    #[test]
    fn paths_begin_at_a_directory_or_at_the_root() {
        let base = || Some(b"/home/x".to_vec());
        assert_eq!(join(base(), b"a/b").unwrap(), &b"/home/x/a/b"[..]);
        assert_eq!(join(base(), b"/a").unwrap(), &b"/a"[..]);
        assert_eq!(join(Some(b"/".to_vec()), b"a").unwrap(), &b"/a"[..]);
        assert_eq!(join(None, b"a"), None);
        assert_eq!(join(base(), b""), None);
    }
}
