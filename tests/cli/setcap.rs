//! `rprof doctor --setcap`: a group of users records who are not root.

use std::{fs, os::unix::fs::PermissionsExt, os::unix::process::CommandExt, process::Command};

use nix::mount::MsFlags;

use super::{
    Tmpfs,
    common::command::{has, is_root, rprof, run},
    privilege::{NOBODY, common_folder},
};

/// A group that every distribution has, and that nobody is in.
const GROUP: &str = "games";

fn gid() -> u32 {
    nix::unistd::Group::from_name(GROUP).unwrap().unwrap().gid.as_raw()
}

fn capabilities(file: &std::path::Path) -> String {
    let said = run(Command::new("getcap").arg(file)).ok().to_owned();
    said.split_once(' ').map(|(_, caps)| caps.to_owned()).unwrap_or_default()
}

const SPIN: &str = "i=0; while [ $i -lt 99999 ]; do i=$((i+1)); done";

#[test]
fn members_of_the_group_record_and_others_do_not_get_to_run_it() {
    if !is_root() || !has("getcap") {
        return;
    }
    let (folder, copy) = common_folder();
    let mut apply = Command::new(&copy);
    let said = run(apply.args(["doctor", "--setcap", "--group", GROUP, "--apply"]));
    assert!(said.ok().contains(GROUP), "{}", said.text());
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o7777, 0o750);
    let got = capabilities(&copy);
    for name in ["cap_bpf", "cap_perfmon", "cap_sys_ptrace", "cap_checkpoint_restore"] {
        assert!(got.contains(name), "no {name} in {got}");
    }
    assert!(got.trim_end().ends_with("=ep") && !got.contains("cap_sys_admin"), "{got}");

    let record = |gid: u32| {
        let mut command = Command::new(&copy);
        command.args(["record", "-F", "999", "--", "sh", "-c", SPIN]).uid(NOBODY).gid(gid);
        command.current_dir(folder.path());
        command
    };
    run(&mut record(gid())).ok();
    let mut report = Command::new(&copy);
    report.args(["report", "--json"]).uid(NOBODY).gid(gid()).current_dir(folder.path());
    assert!(run(&mut report).ok().contains("\"sh\""));
    let refused = record(NOBODY).output().unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
}

#[test]
fn the_commands_that_it_prints_do_the_same() {
    if !is_root() || !has("getcap") {
        return;
    }
    let ((_one, applied), (_two, by_hand)) = (common_folder(), common_folder());
    run(Command::new(&applied).args(["doctor", "--setcap", "--group", GROUP, "--apply"])).ok();
    let printed = run(Command::new(&by_hand).args(["doctor", "--setcap", "--group", GROUP]));
    assert_eq!(capabilities(&by_hand), "", "it only prints");
    assert!(!printed.ok().contains("sudo"), "root needs none: {}", printed.text());
    run(Command::new("sh").args(["-ec", printed.text()])).ok();
    assert_eq!(capabilities(&by_hand), capabilities(&applied));
    let (one, two) = (fs::metadata(&by_hand).unwrap(), fs::metadata(&applied).unwrap());
    use std::os::unix::fs::MetadataExt;
    assert_eq!((one.mode(), one.gid()), (two.mode(), two.gid()));
}

#[test]
fn what_stands_in_the_way_is_named() {
    run(&mut rprof(["doctor", "--setcap", "--group", "no-such-group"]))
        .fails(1, ["there is no group no-such-group", "groupadd"]);
    run(&mut rprof(["doctor", "--apply"])).fails(2, ["--setcap"]);
    if !is_root() {
        return;
    }
    let (_folder, copy) = common_folder();
    let mut command = Command::new(&copy);
    run(command.args(["doctor", "--setcap", "--apply"]).uid(NOBODY).gid(NOBODY))
        .fails(1, ["capabilities", "needs root"]);

    let tmpfs = Tmpfs::mount(1 << 20);
    let copy = tmpfs.path().join("rprof");
    fs::copy(super::common::command::RPROF, &copy).unwrap();
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID;
    nix::mount::mount(None::<&str>, tmpfs.path(), None::<&str>, flags, None::<&str>).unwrap();
    run(Command::new(&copy).args(["doctor", "--setcap", "--apply"])).fails(1, ["nosuid"]);
}
