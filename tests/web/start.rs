//! How the server starts and ends, and what it is shown.

use std::{
    fs,
    net::TcpListener,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    Server,
    common::command::{RPROF, kept_recording, rprof, run, wait_until},
    copy,
};

#[test]
fn signals_end_it_at_once() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut server = Server::kept();
        // A page in live mode does not keep it.
        let port = server.port;
        let page = thread::spawn(move || {
            super::client::ask(port, "GET", "/api/live", &[("Host", "localhost")])
        });
        assert_eq!(server.get("/").status, 200);
        kill(Pid::from_raw(server.pid() as i32), signal).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let status = loop {
            if let Some(status) = server.child().try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "{signal} does not end it");
            thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.code(), Some(0));
        page.join().unwrap();
    }
}

#[test]
fn a_port_that_is_taken_is_said_with_who_has_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{port}");
    let ran = run(rprof(["web", "--listen", &listen]).arg(kept_recording()));
    let process = format!("process {}", std::process::id());
    ran.fails(1, [&format!("port {port}"), &process, "--listen localhost:"]);
}

#[test]
fn what_cannot_be_shown_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = folder.path().join("nothing");
    let ran = run(rprof(["web", nothing.to_str().unwrap()]).args(["--listen", "127.0.0.1:0"]));
    ran.fails(1, ["there is no", "rprof record"]);
    for wrong in ["localhost:x", "no.such.host.invalid:1", "192.0.2.1:7171"] {
        let ran = run(rprof(["web", "--listen", wrong]).arg(kept_recording()));
        ran.fails(1, ["rprof: "]);
    }
}

#[test]
fn it_gives_up_what_it_does_not_need() {
    let server = Server::kept();
    assert_eq!(server.get("/api/recording").status, 200);
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let mut workers = 0;
    for task in tasks {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let value = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
        };
        assert_eq!(value("NoNewPrivs:"), "1");
        // CAP_DAC_READ_SEARCH is the second bit of linux/capability.h; others have none.
        assert_eq!(u64::from_str_radix(&value("CapPrm:"), 16).unwrap() & !0b100, 0);
        assert_eq!(u64::from_str_radix(&value("CapEff:"), 16).unwrap() & !0b100, 0);
        workers += 1;
    }
    assert!(workers > 1);
}

#[test]
fn a_child_ends_with_its_parent() {
    // A shell that starts the server and is then killed, as an agent could be.
    let script = "\"$0\" web --child --listen 127.0.0.1:0 \"$1\" & echo $!; wait";
    let mut shell = Command::new("sh")
        .args(["-c", script, RPROF, kept_recording().to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(shell.stdout.take().unwrap());
    let mut said = std::io::BufReader::new(shell.stderr.take().unwrap());
    let mut pid = String::new();
    std::io::BufRead::read_line(&mut lines, &mut pid).unwrap();
    std::io::BufRead::read_line(&mut said, &mut String::new()).unwrap();
    let process = format!("/proc/{}", pid.trim());
    let runs = || {
        // One that has ended and that nobody has asked about yet is a zombie.
        let stat = fs::read_to_string(format!("{process}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z")
    };
    assert!(runs());
    shell.kill().unwrap();
    shell.wait().unwrap();
    wait_until("ended", || !runs());
}

/// Everything that can be asked.
const QUESTIONS: [&str; 11] = [
    "/api/recording",
    "/api/stats",
    "/api/timeline",
    "/api/heatmap",
    "/api/flamegraph",
    "/api/table",
    "/api/sandwich?function=main",
    "/api/labels?label=comm",
    "/api/export?format=folded",
    "/metrics",
    "/healthz",
];

#[test]
fn a_damaged_recording_is_shown_as_far_as_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = copy(folder.path());
    let whole = fs::read(&path).unwrap();
    let mut remarks = 0;
    let mut check = |bytes: &[u8], server: &Server| {
        fs::write(&path, bytes).unwrap();
        for question in QUESTIONS {
            let reply = server.get(question);
            let text = String::from_utf8_lossy(&reply.body);
            assert!([200, 404, 500].contains(&reply.status), "{question}: {text}");
            assert!(!text.contains("a bug"), "{question}: {text}");
            remarks += usize::from(question == "/api/recording" && text.contains("damaged"));
        }
    };
    // Found so, and becoming so while it is shown.
    let running = Server::of(&path);
    assert_eq!(running.json("/api/table")["samples"], 195);
    let half = whole.len() / 2;
    for cut in [0, 50, 100, 1000, half, half + 2000, whole.len() - 1000] {
        fs::write(&path, &whole[..cut]).unwrap();
        check(&whole[..cut], &Server::of(&path));
        check(&whole[..cut], &running);
    }
    for step in [7, 97, 997] {
        let mut noise = whole.clone();
        (100..noise.len()).step_by(step).for_each(|place| noise[place] ^= 0x55);
        check(&noise, &running);
        check(&noise, &Server::of(&path));
    }
    assert!(remarks > 0);
    fs::write(&path, &whole).unwrap();
    wait_until("whole again", || {
        let reply = running.get("/api/table");
        reply.status == 200 && reply.json()["samples"] == 195
    });
}

#[test]
fn an_empty_store_is_shown_as_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::of(folder.path());
    for question in QUESTIONS {
        let expected =
            if question.contains("sandwich") || question.contains("export") { 404 } else { 200 };
        let reply = server.get(question);
        assert_eq!(reply.status, expected, "{question}: {}", String::from_utf8_lossy(&reply.body));
    }
    assert_eq!(server.json("/api/flamegraph")["total"], 0);
    assert_eq!(server.json("/api/recording")["sources"], serde_json::json!([]));
    // The first recording shows up by itself.
    fs::copy(kept_recording(), folder.path().join("2026-11-21T08-00-00Z.rprof")).unwrap();
    wait_until("there", || server.json("/api/table")["samples"] == 195);
    fs::write(folder.path().join("2026-11-22T00-00-00Z.rprof"), "nothing of use").unwrap();
    wait_until("said", || server.get("/api/recording").text().contains("2026-11-22"));
    assert_eq!(server.json("/api/table")["samples"], 195);
    fs::remove_dir_all(folder.path()).unwrap();
    wait_until("gone", || server.get("/api/table").status == 500);
}
