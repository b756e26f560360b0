//! Target: whom to watch. Turned here from words into what `bpf/target.bpf.h` filters by, with
//! everything checked before anything is loaded.

use std::{
    fmt, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::nearest::nearest;

/// Whom to watch; filters add up, and none means the whole machine.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Process ids, each with all its threads.
    pub pids: Vec<u32>,
    /// Not the children that those processes start from now on.
    pub no_children: bool,
    /// A cgroup of the cgroup2 hierarchy, with those below it.
    pub cgroup: Option<Cgroup>,
    /// Command name, of the thread or of its process; 15 bytes at most.
    pub comm: Option<String>,
    /// User id.
    pub uid: Option<u32>,
}

/// A cgroup of the cgroup2 hierarchy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cgroup {
    /// Path below the mount point, with a leading slash.
    pub path: String,
    /// The kernel's id: the inode of its folder.
    pub id: u64,
    /// Depth below the root of the hierarchy.
    pub level: u32,
}

/// Cgroups among which the nearest is looked for.
const CGROUPS_MAX: usize = 16 << 10;

/// Bytes of a command name, without the NUL (TASK_COMM_LEN - 1).
pub const COMM_BYTES: usize = 15;

impl Target {
    /// Checks that the target can match anything.
    ///
    /// # Errors
    /// A process that does not exist; a command name that no process can have.
    pub fn check(&self) -> Result<()> {
        for &pid in &self.pids {
            check_pid(pid)?;
        }
        if let Some(comm) = &self.comm {
            check_comm(comm)?;
        }
        Ok(())
    }

    /// True if some filter is by process id.
    pub fn is_by_pid(&self) -> bool {
        !self.pids.is_empty()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let [pid] = self.pids[..] {
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            parts.push(format!("process {pid} ({})", comm.trim_end()));
        } else if !self.pids.is_empty() {
            let pids: Vec<String> = self.pids.iter().map(u32::to_string).collect();
            parts.push(format!("processes {}", pids.join(", ")));
        }
        if let Some(cgroup) = &self.cgroup {
            parts.push(format!("cgroup {}", cgroup.path));
        }
        if let Some(comm) = &self.comm {
            parts.push(format!("command {comm}"));
        }
        if let Some(uid) = self.uid {
            parts.push(format!("user {uid}"));
        }
        if parts.is_empty() {
            parts.push("whole machine".into());
        }
        f.write_str(&parts.join(", "))
    }
}

impl Cgroup {
    /// The cgroup at `path`: a folder of the cgroup2 mount, or a path below it.
    ///
    /// # Errors
    /// cgroup2 is not mounted, or there is no such cgroup in it.
    pub fn find(path: &str) -> Result<Self> {
        let mount = cgroup2_mount()?;
        let given = Path::new(path);
        let folder = match given.strip_prefix(&mount) {
            Ok(_) => given.to_path_buf(),
            Err(_) => mount.join(path.trim_start_matches('/')),
        };
        let Ok(folder) = fs::canonicalize(&folder) else {
            let near = nearest(&format!("/{}", path.trim_start_matches('/')), cgroups(&mount));
            bail!("no cgroup {path} below {}{near}", mount.display());
        };
        let below = folder
            .strip_prefix(&mount)
            .with_context(|| format!("{path} is not below the cgroup2 mount {}", mount.display()))?
            .to_path_buf();
        if !folder.join("cgroup.procs").exists() {
            bail!("{} is not a cgroup", folder.display());
        }
        Ok(Self {
            id: fs::metadata(&folder)?.ino(),
            level: below.components().count() as u32,
            path: format!("/{}", below.display()),
        })
    }
}

/// Where the cgroup2 hierarchy is mounted.
///
/// # Errors
/// It is not.
pub fn cgroup2_mount() -> Result<PathBuf> {
    let mounts =
        fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    let mount = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let path = fields.nth(1)?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(path))
    });
    mount.context("cgroup2 is not mounted; try: mount -t cgroup2 none /sys/fs/cgroup/unified")
}

/// Every cgroup, as its path below the mount.
fn cgroups(mount: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    let mut folders = vec![mount.to_path_buf()];
    while let Some(folder) = folders.pop()
        && paths.len() < CGROUPS_MAX
    {
        let below = folder.strip_prefix(mount).unwrap_or(&folder);
        paths.push(format!("/{}", below.display()));
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.extend(below.map(|entry| entry.path()));
    }
    paths
}

fn check_pid(pid: u32) -> Result<()> {
    if Path::new(&format!("/proc/{pid}")).exists() {
        return Ok(());
    }
    let nearest = processes().into_iter().min_by_key(|&(other, _)| other.abs_diff(pid));
    match nearest {
        Some((other, comm)) => bail!("no process {pid}; the nearest is {other} ({comm})"),
        None => bail!("no process {pid}, and /proc shows none at all: is it mounted?"),
    }
}

fn check_comm(comm: &str) -> Result<()> {
    if comm.len() > COMM_BYTES {
        let end = (0..=COMM_BYTES).rfind(|&end| comm.is_char_boundary(end)).unwrap_or_default();
        bail!("command names have {COMM_BYTES} bytes at most; try --comm {}", &comm[..end]);
    }
    Ok(())
}

/// True if a process has ended, also where its parent has not taken note of that yet. A leader may
/// end before the other threads; with them there, the process has not.
pub fn has_ended(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    let state = stat.rsplit(") ").next().unwrap_or_default();
    state.starts_with(['Z', 'X'])
        && fs::read_dir(format!("/proc/{pid}/task")).map_or(true, |tasks| tasks.count() < 2)
}

/// Every process: its id and command name.
pub fn processes() -> Vec<(u32, String)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some((pid, comm.trim_end().to_owned()))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_gone_is_named_with_the_nearest() {
        let gone = Target { pids: vec![4_194_999], ..Target::default() };
        let error = gone.check().unwrap_err().to_string();
        assert!(error.starts_with("no process 4194999; the nearest is "), "{error}");
    }

    #[test]
    fn a_name_that_no_process_can_have_is_refused() {
        let target = Target { comm: Some("a-name-of-20-letters".into()), ..Target::default() };
        assert!(target.check().unwrap_err().to_string().contains("--comm a-name-of-20-le"));
    }
}
