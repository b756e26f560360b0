//! The viewer's process: what it may not do, and that nothing of it ends the agent.

use std::{fs, net::TcpListener, path::Path, process::Command};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    agent::{Agent, rprof},
    workload::{Workshop, require_root, wait_until},
};

/// Starts an agent with a viewer at that address.
fn start(shop: &Workshop, listen: &str) -> Agent {
    let mut command = rprof();
    command.args(["agent", "--window", "1s", "--listen", listen, "--web-user", "nobody"]);
    Agent::run(shop, &mut command)
}

/// A port that was free just now.
fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// The viewer of an agent, once it is a program of its own.
fn viewer_of(agent: &Agent) -> Option<u32> {
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let parent = format!("PPid:\t{}\n", agent.id());
        let is_child = status(pid)?.contains(&parent);
        let words = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        (is_child && words.starts_with("rprof\0web\0")).then_some(pid)
    })
}

fn status(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/status")).ok()
}

fn answers(address: &str) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect(address) else { return false };
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

#[test]
fn it_has_no_privilege() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let address = free_port();
    let agent = start(&shop, &address);
    wait_until("an answer of the viewer", || answers(&address).then_some(()));
    let pid = viewer_of(&agent).unwrap();
    let status = status(pid).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
        line.split_once(':').unwrap().1.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let user = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    assert_eq!(field("Uid"), [user.uid.to_string().as_str(); 4].join(" "));
    assert_eq!(field("Gid"), [user.gid.to_string().as_str(); 4].join(" "));
    let groups = field("Groups");
    assert!(groups.is_empty() || groups == user.gid.to_string(), "{groups}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&field(set), 16).unwrap(), 0, "{set}");
    }
    assert_eq!(field("NoNewPrivs"), "1");
    // It inherited nothing that BPF or perf events can be reached by.
    for file in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let Ok(link) = fs::read_link(file.path()) else { continue };
        let link = link.to_string_lossy().into_owned();
        assert!(!link.contains("bpf") && !link.contains("perf_event"), "{link}");
    }
    agent.end();
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn it_is_started_again_and_ends_with_its_agent() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let address = free_port();
    let mut agent = start(&shop, &address);
    wait_until("an answer of the viewer", || answers(&address).then_some(()));
    let first = viewer_of(&agent).unwrap();
    kill(Pid::from_raw(first as i32), Signal::SIGKILL).unwrap();
    agent.wait_for("SIGKILL; next try in 1 s");
    wait_until("an answer of the next viewer", || answers(&address).then_some(()));
    let second = viewer_of(&agent).unwrap();
    assert_ne!(first, second);
    assert!(agent.is_alive());
    agent.signal(Signal::SIGKILL);
    agent.wait();
    wait_until("the end of the viewer", || {
        (!status(second).is_some_and(|status| status.contains("\nPPid:"))
            || status(second)?.contains("State:\tZ"))
        .then_some(())
    });
}

#[test]
fn without_a_place_to_listen_the_agent_goes_on() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut agent = start(&shop, &taken.local_addr().unwrap().to_string());
    agent.wait_for("next try in 1 s");
    agent.wait_for("next try in 2 s");
    agent.wait_for_samples();
    agent.end();
}

#[test]
fn another_user_cannot_be_become_without_being_root() {
    if !require_root() {
        return;
    }
    let refused = Command::new("setpriv")
        .args(["--reuid", "65534", "--clear-groups", "--inh-caps=-all", "--"])
        .arg(env!("CARGO_BIN_EXE_rprof"))
        .args(["agent", "--listen", "none", "--store", "/nonexistent/store"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("CAP_BPF"), "{said}");
}
