//! Which pod of Kubernetes a container is of: from what the container runtime keeps on disk, so
//! that no API server is asked and no token is needed.
//!
//! containerd and CRI-O write each container's OCI configuration, with the names among its
//! annotations, before it starts. Where neither is found, the kubelet's links to log files tell,
//! which it names after pod, namespace and container. What is read is bounded, and nothing becomes
//! a label that Kubernetes would not take for a name.

use std::{
    collections::HashMap,
    fs::{self, OpenOptions},
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::libc::O_NONBLOCK;
use serde::Deserialize;

use crate::model::container;

/// Where the host's files are: here, or, in a pod that shares the host's processes, at its init.
const ROOTS: [&str; 2] = ["/", "/proc/1/root"];
/// Folders that have one of each container, called after its id, and in that the configuration:
/// of containerd, of that in k3s and MicroK8s, and of CRI-O.
const STATES: [(&str, &str); 5] = [
    ("run/containerd/io.containerd.runtime.v2.task/k8s.io", "config.json"),
    ("run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io", "config.json"),
    ("var/snap/microk8s/common/run/containerd/io.containerd.runtime.v2.task/k8s.io", "config.json"),
    ("run/containers/storage/overlay-containers", "userdata/config.json"),
    ("var/lib/containers/storage/overlay-containers", "userdata/config.json"),
];
/// The kubelet's links, `POD_NAMESPACE_CONTAINER-ID.log`.
const LINKS: &str = "var/log/containers";
/// Bytes that a configuration may have; tens of kB are usual.
const CONFIG_BYTES: u64 = 1 << 20;
/// Links that are looked through; a node has some hundreds.
const LINKS_MAX: usize = 16 << 10;
/// Containers that are remembered; beyond, all are forgotten, which costs reading anew.
const CONTAINERS_MAX: usize = 4096;
/// A name may have so many bytes (RFC 1123, which Kubernetes follows).
const NAME_BYTES: usize = 253;
/// One that is not found is looked for again: its link comes after its first process.
const AGAIN: Duration = Duration::from_secs(10);

/// The containers seen so far.
pub struct Pods {
    roots: Vec<PathBuf>,
    known: HashMap<String, Known>,
    refused: u64,
}

struct Known {
    name: String,
    /// When it was not found; none where it was.
    missed: Option<Instant>,
}

impl Default for Pods {
    fn default() -> Self {
        Self::below(ROOTS.map(PathBuf::from).to_vec())
    }
}

impl Pods {
    /// With the host's files in the first of these folders that has them.
    fn below(roots: Vec<PathBuf>) -> Self {
        Self { roots, known: HashMap::new(), refused: 0 }
    }

    /// `NAMESPACE/POD/CONTAINER` of the innermost container of a cgroup path, without CONTAINER for
    /// the one that only holds the pod together; empty if it is not known, or not Kubernetes'.
    pub fn of(&mut self, cgroup: &str) -> &str {
        let Some(id) = container(cgroup).filter(|_| cgroup.contains("kubepods")) else { return "" };
        let now = Instant::now();
        let fresh = |known: &Known| known.missed.is_none_or(|missed| now < missed + AGAIN);
        if !self.known.get(id).is_some_and(fresh) {
            let name = self.find(id);
            if self.known.len() >= CONTAINERS_MAX {
                self.known.clear();
            }
            let missed = name.is_none().then_some(now);
            self.known.insert(id.into(), Known { name: name.unwrap_or_default(), missed });
        }
        self.known.get(id).map_or("", |known| &known.name)
    }

    /// How many configurations were too large, damaged or had names that are none, since this was
    /// last asked.
    pub fn refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    fn find(&mut self, id: &str) -> Option<String> {
        for root in self.roots.clone() {
            for (folder, file) in STATES {
                let path = root.join(folder).join(id).join(file);
                let Some(config) = read(&path) else { continue };
                match config.and_then(|config| config.name()) {
                    Some(name) => return Some(name),
                    None => self.refused += 1,
                }
            }
            if let Some(name) = linked(&root.join(LINKS), id) {
                return Some(name);
            }
        }
        None
    }
}

/// What is read of an OCI runtime configuration.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    annotations: HashMap<String, String>,
}

/// Keys of pod, namespace and container: containerd's `pkg/cri/annotations`, and those that CRI-O
/// and dockershim took from the kubelet's labels.
const KEYS: [[&str; 3]; 2] = [
    [
        "io.kubernetes.cri.sandbox-name",
        "io.kubernetes.cri.sandbox-namespace",
        "io.kubernetes.cri.container-name",
    ],
    ["io.kubernetes.pod.name", "io.kubernetes.pod.namespace", "io.kubernetes.container.name"],
];

impl Config {
    fn name(&self) -> Option<String> {
        KEYS.iter().find_map(|[pod, namespace, container]| {
            let value = |key: &str| self.annotations.get(key).map(String::as_str);
            // CRI-O calls the one that holds a pod together so; containerd gives it no name.
            let container = value(container).filter(|name| *name != "POD").unwrap_or_default();
            join(value(pod)?, value(namespace)?, container)
        })
    }
}

/// One text of the three names, if they are names.
fn join(pod: &str, namespace: &str, container: &str) -> Option<String> {
    let is_name = |name: &str| {
        let known = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
        };
        !name.is_empty() && name.len() <= NAME_BYTES && name.bytes().all(known)
    };
    let all = is_name(pod) && is_name(namespace) && (container.is_empty() || is_name(container));
    all.then(|| format!("{namespace}/{pod}/{container}"))
}

/// A configuration; none where there is no such file, and none within where it is no good.
fn read(path: &Path) -> Option<Option<Config>> {
    // It must not wait for whoever may write to a pipe of that name.
    let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path).ok()?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Some(None);
    }
    let mut bytes = Vec::new();
    let whole = file.take(CONFIG_BYTES + 1).read_to_end(&mut bytes);
    if whole.is_err() || bytes.len() as u64 > CONFIG_BYTES {
        return Some(None);
    }
    Some(serde_json::from_slice(&bytes).ok())
}

/// What a link of the kubelet's tells of a container.
fn linked(folder: &Path, id: &str) -> Option<String> {
    let end = format!("-{id}.log");
    fs::read_dir(folder).ok()?.take(LINKS_MAX).flatten().find_map(|entry| {
        let name = entry.file_name();
        let mut parts = name.to_str()?.strip_suffix(&end)?.split('_');
        let (pod, namespace, container) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || container.is_empty() {
            return None;
        }
        join(pod, namespace, container)
    })
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, sync::mpsc, thread};

    use tempfile::TempDir;

    use super::*;

    const ID: &str = "8f0a6c1d2e3b4a59687766554433221100ffeeddccbbaa998877665544332211";

    fn cgroup() -> String {
        format!("/kubepods.slice/kubepods-burstable.slice/cri-containerd-{ID}.scope")
    }

    fn pods(folder: &TempDir) -> Pods {
        Pods::below(vec![folder.path().join("none"), folder.path().into()])
    }

    /// Writes the configuration where one of the runtimes has it.
    fn write(folder: &TempDir, (state, file): (&str, &str), text: &str) {
        let path = folder.path().join(state).join(ID).join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn containerd(pod: &str, namespace: &str, container: &str) -> String {
        let [pod_key, namespace_key, container_key] = KEYS[0];
        let annotations = serde_json::json!({
            "io.kubernetes.cri.container-type": "container",
            pod_key: pod, namespace_key: namespace, container_key: container,
        });
        serde_json::json!({"ociVersion": "1.1.0", "process": {"args": ["sh"]},
            "annotations": annotations})
        .to_string()
    }

    #[test]
    fn every_runtime_is_understood() {
        for state in STATES {
            let folder = tempfile::tempdir().unwrap();
            write(&folder, state, &containerd("web-6d5f-x2x", "shop", "nginx"));
            assert_eq!(pods(&folder).of(&cgroup()), "shop/web-6d5f-x2x/nginx", "{state:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let [pod, namespace, container] = KEYS[1];
        let crio = |name| serde_json::json!({"annotations": {pod: "web", namespace: "shop", container: name}});
        write(&folder, STATES[3], &crio("nginx").to_string());
        assert_eq!(pods(&folder).of(&cgroup()), "shop/web/nginx");
        write(&folder, STATES[3], &crio("POD").to_string());
        assert_eq!(pods(&folder).of(&cgroup()), "shop/web/");
    }

    #[test]
    fn the_kubelets_links_tell_where_no_runtime_does() {
        let folder = tempfile::tempdir().unwrap();
        let links = folder.path().join(LINKS);
        fs::create_dir_all(&links).unwrap();
        let other = ID.replace("8f", "77");
        symlink("/nowhere", links.join(format!("a_b_c-{other}.log"))).unwrap();
        symlink("/nowhere", links.join(format!("etcd-n1_kube-system_etcd-{ID}.log"))).unwrap();
        assert_eq!(pods(&folder).of(&cgroup()), "kube-system/etcd-n1/etcd");
        for name in ["etcd-n1_kube-system_", "etcd", "_b_c", "a_b_c_d", "A B_b_c"] {
            assert_eq!(linked(&links, name), None);
            let folder = tempfile::tempdir().unwrap();
            symlink("/nowhere", folder.path().join(format!("{name}-{ID}.log"))).unwrap();
            assert_eq!(linked(folder.path(), ID), None, "{name}");
        }
    }

    #[test]
    fn what_is_not_kubernetes_is_not_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder, STATES[0], &containerd("web", "shop", "nginx"));
        let mut pods = pods(&folder);
        for path in [format!("/docker/{ID}"), "/kubepods.slice".into(), String::new()] {
            assert_eq!(pods.of(&path), "", "{path}");
        }
        assert!(pods.known.is_empty());
    }

    #[test]
    fn hostile_configurations_are_counted_and_give_nothing() {
        let long = "x".repeat(NAME_BYTES + 1);
        let deep = format!("{{\"annotations\":{}", "[".repeat(100_000));
        let large = format!("{}{}", containerd("web", "shop", "nginx"), " ".repeat(1 << 20));
        for text in [
            "",
            "{",
            "[]",
            "{}",
            &*deep,
            &*large,
            "{\"annotations\":{\"io.kubernetes.cri.sandbox-name\":7}}",
            &*containerd("../../etc", "shop", "nginx"),
            &*containerd("web", "shop/x", "nginx"),
            &*containerd("web", "shop", "ng\u{1b}[31m"),
            &*containerd("", "shop", "nginx"),
            &*containerd(&long, "shop", "nginx"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            write(&folder, STATES[0], text);
            let mut pods = pods(&folder);
            assert_eq!(pods.of(&cgroup()), "", "{}", &text[..text.len().min(80)]);
            assert_eq!((pods.refused(), pods.refused()), (1, 0));
        }
    }

    #[test]
    fn a_pipe_in_place_of_a_configuration_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join(STATES[0].0).join(ID);
        fs::create_dir_all(&state).unwrap();
        let (path, mode) = (state.join("config.json"), rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let (done, is_done) = mpsc::channel();
        let mut pods = pods(&folder);
        thread::spawn(move || done.send(pods.of(&cgroup()).to_owned()));
        assert_eq!(is_done.recv_timeout(Duration::from_secs(100)).unwrap(), "");
    }

    #[test]
    fn one_that_is_not_found_is_looked_for_again_later() {
        let folder = tempfile::tempdir().unwrap();
        let mut pods = pods(&folder);
        assert_eq!(pods.of(&cgroup()), "");
        write(&folder, STATES[0], &containerd("web", "shop", "nginx"));
        assert_eq!(pods.of(&cgroup()), "", "not with each sample");
        pods.known.get_mut(ID).unwrap().missed = Instant::now().checked_sub(AGAIN);
        assert_eq!(pods.of(&cgroup()), "shop/web/nginx");
        fs::remove_dir_all(folder.path().join("run")).unwrap();
        assert_eq!(pods.of(&cgroup()), "shop/web/nginx", "what is known stays so");
    }

    #[test]
    fn no_more_containers_are_remembered_than_there_is_room_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut pods = pods(&folder);
        for number in 0..2 * CONTAINERS_MAX {
            pods.of(&format!("/kubepods/burstable/pod1/{number:064x}"));
            assert!(pods.known.len() <= CONTAINERS_MAX);
        }
        assert!(!pods.known.is_empty());
    }
}
