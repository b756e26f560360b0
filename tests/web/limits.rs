//! What one client may take from all others: nothing for long.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
};

use super::{
    Server,
    client::{ask, connect, encode, parse},
};

#[test]
fn a_request_that_does_not_end_is_cut_off() {
    let server = Server::kept();
    let mut slow = connect(server.port);
    slow.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").unwrap();
    let mut bytes = Vec::new();
    // The client's own limit would be an error here.
    slow.read_to_end(&mut bytes).unwrap();
    assert!(bytes.is_empty() || parse(&bytes).status == 408, "{}", String::from_utf8_lossy(&bytes));
}

#[test]
fn a_second_request_that_does_not_end_is_cut_off_too() {
    let server = Server::kept();
    let mut slow = connect(server.port);
    slow.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHost: loc")
        .unwrap();
    let mut bytes = Vec::new();
    slow.read_to_end(&mut bytes).unwrap();
    assert_eq!(parse(&bytes).status, 200);
}

#[test]
fn nothing_too_long_is_taken_in() {
    let server = Server::kept();
    let host = ("Host", "localhost");
    let get = |path: &str, headers: &[(&str, &str)]| {
        ask(server.port, "GET", path, &[&[host], headers].concat())
    };
    get(&format!("/api/table?focus={}", "x".repeat(50_000)), &[]).refuses(414);
    get(&format!("/api/table?focus={}", "x".repeat(20_000)), &[]).refuses(414);
    get(&format!("/api/table?{}", "pid=1&".repeat(100)), &[]).refuses(414);
    get("/", &[("X-Long", &"x".repeat(20_000))]).refuses(431);
    let endless = get("/", &[("X-Long", &"x".repeat(300_000))]);
    assert!([0, 400, 413, 431].contains(&endless.status), "{}", endless.status);
    let many: Vec<(String, String)> = (0..200).map(|i| (format!("X-{i}"), "y".into())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(get("/", &many).status / 100, 4);
}

#[test]
fn no_pattern_takes_for_ever() {
    let server = Server::kept();
    let focus = |pattern: &str| server.get(&format!("/api/table?focus={}", encode(pattern)));
    let words = focus("((a{100}){100}){100}").refuses(400);
    assert!(words.contains("pattern"), "{words}");
    focus("(").refuses(400);
    // What takes others exponential time.
    assert_eq!(focus("^(a|a)*$").status, 200);
    assert_eq!(focus("(x+x+)+y").status, 200);
}

#[test]
fn a_thousand_connections_keep_nobody_out() {
    let server = Server::kept();
    // Half of them say nothing, half begin to ask.
    let idle: Vec<TcpStream> = (0..1000)
        .map(|index| {
            let mut stream = connect(server.port);
            if index % 2 == 0 {
                stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n").unwrap();
            }
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(server.get("/api/recording").status, 200);
    }
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = kib.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 200 << 10, "{kib} KiB for a thousand connections");
    // All of them are cut off sooner or later, and none before it had its time.
    for mut stream in idle {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes); // a reset is a way to be cut off
        assert!(bytes.is_empty() || parse(&bytes).status == 408);
    }
    assert_eq!(server.get("/api/recording").status, 200);
}

#[test]
fn many_questions_at_once_are_answered_or_refused() {
    let server = Server::kept();
    let ask_all = |_| {
        let reply = server.get("/api/flamegraph?nodes=1000000");
        assert!([200, 503].contains(&reply.status), "{}", reply.status);
        reply.status
    };
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..100).map(|i| scope.spawn(move || ask_all(i))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(statuses.contains(&200));
    assert_eq!(server.get("/api/recording").status, 200);
}
