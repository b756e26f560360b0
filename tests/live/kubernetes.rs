//! A container of Kubernetes, as far as rprof can tell: a cgroup with its name, and the state that
//! the container runtime keeps of it.

use std::{fs, process::Command};

use crate::{
    common::workload::{Process, Workshop, need, require_root},
    recorder::Recorder,
    target::Cgroup,
};

#[test]
fn a_container_has_the_names_that_its_runtime_keeps() {
    let mount = rprof::target::cgroup2_mount();
    if !require_root() || !need("a cgroup2 mount", mount.is_ok()) {
        return;
    }
    let id = format!("{:064x}", std::process::id());
    let name = format!("rprof-kubepods-{}", std::process::id());
    let outer = Cgroup::new(mount.unwrap().join(&name));
    let inner = Cgroup::new(outer.path().join(&id));
    let shop = Workshop::new();
    let hog = Process::workload(&shop.c("hog"), &[]);
    inner.take(&hog);

    let config = serde_json::json!({"annotations": {
        "io.kubernetes.cri.sandbox-name": "web-0",
        "io.kubernetes.cri.sandbox-namespace": "shop",
        "io.kubernetes.cri.container-name": "nginx",
    }});
    fs::write(shop.path("config.json"), config.to_string()).unwrap();
    // Nobody else sees what is mounted here over the machine's own /run.
    let script = format!(
        "set -e; state=/run/containerd/io.containerd.runtime.v2.task/k8s.io/{id}
         config=$(cat {}); mount -t tmpfs none /run; mkdir -p $state
         echo \"$config\" > $state/config.json; exec {} \"$@\"",
        shop.path("config.json").display(),
        env!("CARGO_BIN_EXE_rprof")
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh"]);
    let recorder = Recorder::start_by(command, ["-F", "999", "--cgroup", &format!("/{name}")]);
    recorder.wait_for_samples();
    let recording = recorder.interrupt();

    for (label, value) in [("pod", "web-0"), ("namespace", "shop"), ("container_name", "nginx")] {
        let shown = recording.view(&["--by", label, "--only", "pod=web-0"]);
        assert_eq!(shown.roots(), [value], "{label}");
        assert!(shown.own("hog_work") > 0, "{label}: {:?}", shown.frames);
    }
    assert_eq!(recording.view(&["--by", "container"]).roots(), [&*id]);
    drop(hog);
}
