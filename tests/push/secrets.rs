//! Credentials reach the server that they are for, and nothing else.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::{
    pushing::{pushing, recording, said},
    server::{Reply, Server},
    workload::Workshop,
};

const SECRET: &str = "hunter2-and-more";

#[test]
fn each_server_gets_its_own_and_none_is_told_to_anybody() {
    if recording().is_none() {
        return;
    }
    let shop = Workshop::new();
    // These say back all that they are told, with an answer that is logged.
    let echo = |_: usize, request: &crate::server::Request| {
        Reply::Status(400, vec![], format!("{:?}", request.headers).into_bytes())
    };
    let (one, other) = (Server::start(echo), Server::start(echo));
    let file = shop.path("keys");
    let lines = format!(
        "127.0.0.1:{} bearer {SECRET}\n127.0.0.1:{} basic me {SECRET}\n\
         127.0.0.1:{} header X-API-Key: {SECRET}\n",
        one.port, other.port, other.port
    );
    fs::write(&file, lines).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    for server in [&one, &other] {
        let mut command = pushing(&server.url("pprof+http")).unwrap();
        let output = command.arg("-vv").arg("--push-auth").arg(&file).output().unwrap();
        let said = said(&output);
        assert!(said.contains("authorization"), "{said}");
        // Neither as it is nor as basic authentication writes it.
        assert!(!said.contains(SECRET) && !said.contains("bWU6aHVudGVy"), "{said}");
    }
    let header = |server: &Server, name: &str| {
        server.requests()[0].header(name).map(str::to_owned).unwrap_or_default()
    };
    assert_eq!(header(&one, "authorization"), format!("Bearer {SECRET}"));
    assert_eq!(header(&one, "x-api-key"), "");
    assert_eq!(header(&other, "authorization"), "Basic bWU6aHVudGVyMi1hbmQtbW9yZQ==");
    assert_eq!(header(&other, "x-api-key"), SECRET);
}

#[test]
fn the_environment_may_hold_them() {
    if recording().is_none() {
        return;
    }
    let server = Server::start(|_, _| Reply::ok());
    let mut command = pushing(&server.url("coroot+http")).unwrap();
    command.env("RPROF_PUSH_AUTH", format!("127.0.0.1 header X-API-Key: {SECRET}"));
    let output = command.arg("-vv").output().unwrap();
    assert!(output.status.success() && !said(&output).contains(SECRET), "{}", said(&output));
    assert_eq!(server.requests()[0].header("x-api-key"), Some(SECRET));
}

#[test]
fn none_is_taken_from_a_command_line() {
    if recording().is_none() {
        return;
    }
    for to in [format!("pprof+http://me:{SECRET}@h/"), format!("pprof+http://h/?token={SECRET}")] {
        let output = pushing(&to).unwrap().output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = said(&output);
        assert!(said.contains("--push-auth"), "{said}");
    }
    let shop = Workshop::new();
    let file = shop.path("keys");
    fs::write(&file, format!("h bearer {SECRET}")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let mut command = pushing("pprof+http://127.0.0.1:1/").unwrap();
    let output = command.arg("--push-auth").arg(&file).output().unwrap();
    assert!(!output.status.success() && said(&output).contains("everybody can read it"));
}
