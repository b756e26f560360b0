//! Who may ask, and what of.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    process::Command,
};

use super::{
    Server,
    client::{ask, connect, send},
    common::command::{RPROF, kept_recording, skip},
};

#[test]
fn other_names_and_other_pages_are_turned_away() {
    let server = Server::kept();
    let own = format!("localhost:{}", server.port);
    let get = |headers: &[(&str, &str)]| ask(server.port, "GET", "/api/recording", headers);
    assert_eq!(get(&[("Host", &own)]).status, 200);
    assert_eq!(get(&[("Host", "[::1]:1")]).status, 200);
    for foreign in ["evil.example", "evil.example:80", "localhost.evil.example", "169.254.1.1", ""]
    {
        let words = get(&[("Host", foreign)]).refuses(421);
        assert!(words.contains("localhost"), "{words}");
    }
    assert_eq!(get(&[]).status / 100, 4);
    assert_eq!(get(&[("Host", &own), ("Host", "evil.example")]).status / 100, 4);

    let origin = format!("http://{own}");
    assert_eq!(get(&[("Host", &own), ("Origin", &origin)]).status, 200);
    for foreign in ["http://evil.example", "http://localhost:1", "null"] {
        get(&[("Host", &own), ("Origin", foreign)]).refuses(403);
    }
    assert_eq!(get(&[("Host", &own), ("Sec-Fetch-Site", "same-origin")]).status, 200);
    for foreign in ["cross-site", "same-site"] {
        get(&[("Host", &own), ("Sec-Fetch-Site", foreign)]).refuses(403);
    }
}

#[test]
fn every_answer_says_what_a_browser_must_not_do() {
    let server = Server::kept();
    for path in ["/", "/api/recording", "/api/nothing", "/nothing"] {
        let reply = server.get(path);
        let policy = reply.header("content-security-policy").unwrap();
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"), "{path}");
        assert_eq!(reply.header("cross-origin-resource-policy"), Some("same-origin"), "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), None, "{path}");
    }
}

#[test]
fn no_path_leads_out_of_the_page() {
    let server = Server::kept();
    for path in [
        "/../Cargo.toml",
        "/..%2fCargo.toml",
        "/%2e%2e/Cargo.toml",
        "/static/../../Cargo.toml",
        "//etc/passwd",
        "/api/../../Cargo.toml",
        "/api/%2e%2e",
        "/index.html%00",
        "/.git/config",
    ] {
        server.get(path).refuses(404);
    }
}

#[test]
fn only_questions_are_answered() {
    let server = Server::kept();
    let host = format!("localhost:{}", server.port);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"] {
        let reply = ask(server.port, method, "/api/recording", &[("Host", &host)]);
        assert_eq!(reply.status, 405, "{method}");
        assert_eq!(reply.header("allow"), Some("GET, HEAD"));
    }
    let head = ask(server.port, "HEAD", "/api/recording", &[("Host", &host)]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    let body = format!("GET / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(send(server.port, &body).status, 413);
    assert_eq!(send(server.port, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n").status / 100, 4);
    assert_eq!(send(server.port, "\0\0\0\r\n\r\n").status / 100, 4);
}

#[test]
fn other_machines_need_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let start = || {
        let mut command = Command::new(RPROF);
        command.arg("web").arg(kept_recording()).args(["--listen", "0.0.0.0:0", "--token-file"]);
        Server::start(command.arg(&file))
    };
    let server = start();
    let token = fs::read_to_string(&file).unwrap().trim().to_owned();
    assert_eq!(token.len(), 64);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(server.said.contains("other machines") && server.said.contains(&token));

    let host = format!("127.0.0.1:{}", server.port);
    let get = |path: &str, headers: &[(&str, &str)]| {
        ask(server.port, "GET", path, &[&[("Host", &*host)], headers].concat())
    };
    for path in ["/", "/api/recording", "/metrics", "/api/live"] {
        get(path, &[]).refuses(401);
        get(path, &[("Authorization", "Bearer 0123")]).refuses(401);
        get(path, &[("Cookie", "rprof=0123")]).refuses(401);
    }
    let bearer = format!("Bearer {token}");
    assert_eq!(get("/api/recording", &[("Authorization", &bearer)]).status, 200);
    get(&format!("/api/recording?token={token}"), &[]).refuses(401);
    get("/?token=wrong", &[]).refuses(401);

    let exchange = get(&format!("/?token={token}&by=process"), &[]);
    assert_eq!((exchange.status, exchange.header("location")), (303, Some("/?by=process")));
    let cookie = exchange.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(get("/api/recording", &[("Cookie", cookie)]).status, 200);
    // A name is not this machine just because it has the token.
    let foreign = [("Host", "evil.example"), ("Authorization", &*bearer)];
    assert_eq!(ask(server.port, "GET", "/api/recording", &foreign).status, 421);

    drop(server);
    assert!(start().said.contains(&token), "the token stays");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let mut command = Command::new(RPROF);
    command.arg("web").arg(kept_recording()).args(["--listen", "0.0.0.0:0", "--token-file"]);
    let ran = super::common::command::run(command.arg(&file));
    ran.fails(1, ["can be read by others", "chmod 600"]);
}

#[test]
fn both_addresses_of_localhost_are_one_place() {
    let mut command = Command::new(RPROF);
    command.arg("web").arg(kept_recording()).args(["--listen", "localhost:0"]);
    let server = Server::start(&mut command);
    assert_eq!(server.get("/").status, 200);
    let Ok(mut stream) = std::net::TcpStream::connect(("::1", server.port)) else {
        return skip("there is no ::1");
    };
    stream.write_all(b"GET / HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    assert!(text.starts_with(b"HTTP/1.1 200"));
}

#[test]
fn nothing_is_sent_without_being_asked() {
    let server = Server::kept();
    let mut stream = connect(server.port);
    stream.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    assert!(stream.read(&mut [0; 16]).is_err());
}
