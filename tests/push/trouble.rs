//! Servers that are slow, full, broken, or do not want it.

use std::time::{Duration, Instant};

use crate::{
    pushing::{push, pushing, recording, said},
    server::{Reply, Server, free_port},
};

/// Asserts that a recording arrives although the first answer is this one; gives how long it took.
fn survives(first: Reply) -> Duration {
    let server =
        Server::start(move |number, _| if number == 0 { first.clone() } else { Reply::ok() });
    let start = Instant::now();
    let mut command = pushing(&server.url("pyroscope+http")).unwrap();
    let output = command.args(["--push-timeout", "2s"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let requests = server.requests();
    assert!(requests.len() >= 2);
    // What was not taken was sent again.
    assert_eq!(requests[0].body, requests[1].body);
    start.elapsed()
}

#[test]
fn what_passes_is_waited_for() {
    if recording().is_none() {
        return;
    }
    for reply in [Reply::status(500), Reply::status(503), Reply::CloseInBody, Reply::Silence] {
        survives(reply);
    }
}

#[test]
fn a_server_says_itself_how_long_to_wait() {
    if recording().is_none() {
        return;
    }
    let after = |seconds: &str| Reply::Status(429, vec![("Retry-After", seconds.into())], vec![]);
    // All other waits are of 20 ms.
    assert!(survives(after("3")) >= Duration::from_secs(3));
}

#[test]
fn what_will_never_be_taken_is_not_sent_again() {
    if recording().is_none() {
        return;
    }
    for status in [400, 401, 403, 404, 413, 422] {
        let server = Server::start(move |_, _| Reply::status(status));
        let output = pushing(&server.url("pyroscope+http")).unwrap().output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{status}");
        assert!(said.contains(&format!("status {status}: as told")), "{said}");
        assert_eq!(server.requests().len(), 1, "{status}");
    }
}

#[test]
fn no_redirect_is_followed() {
    if recording().is_none() {
        return;
    }
    let elsewhere = Server::start(|_, _| Reply::ok());
    let to = elsewhere.url("http");
    let server =
        Server::start(move |_, _| Reply::Status(307, vec![("Location", to.clone())], vec![]));
    let output = pushing(&server.url("pprof+http")).unwrap().output().unwrap();
    assert!(!output.status.success() && said(&output).contains("status 307"));
    assert!(elsewhere.requests().is_empty());
}

#[test]
fn nobody_there_is_said_in_the_end() {
    if recording().is_none() {
        return;
    }
    for scheme in ["pyroscope+http", "otlp+grpc", "parca+grpcs"] {
        let to = format!("{scheme}://127.0.0.1:{}", free_port());
        let output = pushing(&to).unwrap().output().unwrap();
        let said = said(&output);
        assert!(!output.status.success());
        assert!(said.contains(&to) && said.contains("refused"), "{said}");
    }
}

#[test]
fn an_endless_answer_is_not_read_to_its_end() {
    if recording().is_none() {
        return;
    }
    let server = Server::start(|_, _| Reply::Status(200, vec![], vec![b'x'; 10 << 20]));
    push(&server.url("pprof+http")).unwrap();
    let server = Server::start(|_, _| Reply::Status(400, vec![], vec![b'x'; 10 << 20]));
    let output = pushing(&server.url("pprof+http")).unwrap().output().unwrap();
    assert!(said(&output).len() < 1000, "{}", said(&output).len());
}
