//! Where the shim is on disk. Other programs load code from there, so only we may write it.

use std::{
    env, fs,
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, Result, bail};
use nix::{libc::O_NOFOLLOW, unistd::geteuid};
use rustix::fs::{StatVfsMountFlags, statvfs};
use tempfile::{NamedTempFile, TempDir};

use super::BYTES;
use crate::unwind::Image;

/// Versions kept in a folder: programs that run on may need the one that they were started with.
const VERSIONS_MAX: usize = 8;

/// The shim's file.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// Gone when we are, if it is nowhere else.
    _folder: Option<TempDir>,
}

impl File {
    /// In the cache, where it stays; else in a temporary folder.
    pub fn anywhere() -> Result<Self> {
        let refused = match cache().context("there is no cache folder").and_then(|folder| {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
            if geteuid().is_root() {
                open_to_all(&folder)?;
            }
            Self::in_folder(&folder)
        }) {
            Ok(file) => return Ok(file),
            Err(refused) => refused,
        };
        let folder = tempfile::Builder::new().prefix("rprof-").tempdir();
        let folder = folder.context("cannot make a temporary folder")?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let file = Self::in_folder(folder.path()).with_context(|| format!("{refused:#}"))?;
        Ok(Self { _folder: Some(folder), ..file })
    }

    /// In that folder. One that is there already is taken if it is the same and ours.
    pub fn in_folder(folder: &Path) -> Result<Self> {
        let cannot = || format!("cannot keep the preload shim in {}", folder.display());
        check(folder).with_context(cannot)?;
        let key = Image::read(BYTES)?.key()?;
        let path = folder.join(format!("rprof-heap-{:016x}.so", key.hash));
        match fs::File::options().append(true).read(true).custom_flags(O_NOFOLLOW).open(&path) {
            // By this the oldest are known.
            Ok(file) if is_ours(&file) => file.set_modified(SystemTime::now())?,
            _ => write(folder, &path).with_context(cannot)?,
        }
        let metadata = fs::metadata(&path).with_context(cannot)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino(), path, _folder: None })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file system that it is on.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// Its number there.
    pub fn inode(&self) -> u64 {
        self.inode
    }
}

/// `/var/cache/rprof` for root, `rprof` in the cache folder of the XDG base directories for others.
fn cache() -> Option<PathBuf> {
    let base = if geteuid().is_root() {
        Some(PathBuf::from("/var/cache"))
    } else {
        let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home)
    };
    base.map(|base| base.join("rprof/heap"))
}

/// A command that root starts may become another user, and may reach the folder even so: it is ours,
/// and so is the one above it, which was made for unwind tables and nobody else.
fn open_to_all(folder: &Path) -> Result<()> {
    for folder in folder.parent().into_iter().chain([folder]) {
        let metadata = fs::symlink_metadata(folder)?;
        let mode = metadata.mode() & 0o7777;
        if metadata.is_dir() && metadata.uid() == geteuid().as_raw() && mode & 0o011 != 0o011 {
            fs::set_permissions(folder, fs::Permissions::from_mode(mode | 0o011))?;
        }
    }
    Ok(())
}

/// Checks that only we can write there, that code may run from there, and that the dynamic loader
/// takes the name for a name.
fn check(folder: &Path) -> Result<()> {
    let metadata = fs::symlink_metadata(folder)?;
    if !metadata.is_dir() || metadata.uid() != geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
        bail!("it is not a folder that only this user can write to");
    }
    if statvfs(folder)?.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        bail!("its file system is mounted noexec");
    }
    // Space and colon part the entries of LD_PRELOAD, a dollar begins a variable.
    let text = folder.to_str().context("its name is not text")?;
    if !folder.is_absolute() || text.contains([' ', ':', '$']) {
        bail!("its name has a space, a colon or a dollar, or is relative");
    }
    Ok(())
}

fn is_ours(mut file: &fs::File) -> bool {
    let ours = file.metadata().is_ok_and(|metadata| {
        metadata.is_file()
            && metadata.uid() == geteuid().as_raw()
            && metadata.mode() & 0o777 == 0o644
            && metadata.len() == BYTES.len() as u64
    });
    let mut bytes = Vec::new();
    ours && file.read_to_end(&mut bytes).is_ok() && bytes == BYTES
}

fn write(folder: &Path, path: &Path) -> Result<()> {
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(BYTES)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    file.persist(path)?;
    remove_oldest(folder);
    Ok(())
}

/// Best effort: a folder with too many files is no reason not to profile.
fn remove_oldest(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut files: Vec<_> = entries
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "so"))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort();
    let excess = files.len().saturating_sub(VERSIONS_MAX);
    for (_, path) in &files[..excess] {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn it_is_written_once_and_mended() {
        let folder = tempfile::tempdir().unwrap();
        let inode = || {
            let file = File::in_folder(folder.path()).unwrap();
            assert_eq!(fs::read(file.path()).unwrap(), BYTES);
            let metadata = fs::metadata(file.path()).unwrap();
            assert_eq!(metadata.mode() & 0o777, 0o644);
            (metadata.ino(), file.path().to_owned())
        };
        let (first, path) = inode();
        assert_eq!(inode().0, first);
        let mut damaged = BYTES.to_vec();
        damaged[BYTES.len() / 2] ^= 1;
        fs::write(&path, damaged).unwrap();
        assert_ne!(inode().0, first);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        inode();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        inode();
        assert_eq!(files(folder.path()), 1);
    }

    #[test]
    fn old_versions_go() {
        let folder = tempfile::tempdir().unwrap();
        for version in 0..20 {
            fs::write(folder.path().join(format!("heap-{version}.so")), "").unwrap();
        }
        let file = File::in_folder(folder.path()).unwrap();
        assert_eq!(files(folder.path()), VERSIONS_MAX);
        assert!(file.path().exists());
    }

    #[test]
    fn folders_that_will_not_do_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: &Path| match File::in_folder(path) {
            Err(error) => format!("{error:#}"),
            Ok(_) => panic!("{} is taken", path.display()),
        };
        let spaced = folder.path().join("a b");
        fs::create_dir(&spaced).unwrap();
        assert!(refused(&spaced).contains("space"));
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(refused(&open).contains("only this user"));
        assert!(refused(Path::new("/proc")).contains("/proc"));
        assert!(refused(&folder.path().join("none")).contains("No such file"));
    }
}
