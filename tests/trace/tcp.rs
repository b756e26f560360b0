//! `tcpstates`, in a network namespace of each test's own.

use serde_json::Value;

use crate::{
    common::{
        command::has,
        workload::{Workshop, require_root},
    },
    tracer::{Traced, text, trace},
};

fn trace_connections(options: &[&str]) -> Option<Traced> {
    if !require_root() || !has("unshare") || !has("ip") {
        return None;
    }
    let shop = Workshop::new();
    let script = format!("ip link set lo up && exec {}", text(&shop.c("tcpstates")));
    let options = [&["tcpstates"], options].concat();
    Some(trace(&shop, &options, &["unshare", "-n", "sh", "-c", &script]).whole())
}

/// The states of the socket with that local port and that remote one, as `OLD>NEW`.
fn states(traced: &Traced, local: impl Fn(u64) -> bool, remote: impl Fn(u64) -> bool) -> String {
    let port = |event: &Value, name: &str| event[name].as_u64().unwrap();
    let of =
        traced.of(|event| local(port(event, "local_port")) && remote(port(event, "remote_port")));
    let change = |event: &&Value| {
        format!("{}>{}", event["old_state"].as_str().unwrap(), event["new_state"].as_str().unwrap())
    };
    of.iter().map(change).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_connection_goes_through_every_state() {
    let Some(traced) = trace_connections(&[]) else { return };
    let any = |port| port != 0;
    for (port, address) in [(7001, "127.0.0.1"), (7002, "::1")] {
        let is = move |other| other == port;
        // The client is not bound yet as it begins.
        assert_eq!(
            states(&traced, |_| true, is),
            "CLOSE>SYN_SENT SYN_SENT>ESTABLISHED ESTABLISHED>FIN_WAIT1 FIN_WAIT1>FIN_WAIT2 \
             FIN_WAIT2>CLOSE"
        );
        assert_eq!(
            states(&traced, is, any),
            "LISTEN>SYN_RECV SYN_RECV>ESTABLISHED ESTABLISHED>CLOSE_WAIT CLOSE_WAIT>LAST_ACK \
             LAST_ACK>CLOSE"
        );
        assert_eq!(states(&traced, is, |port| port == 0), "CLOSE>LISTEN LISTEN>CLOSE");
        let of = traced.of(|event| event["remote_port"] == port);
        assert!(of.iter().all(|event| event["remote_address"] == address));
    }
    assert_eq!(states(&traced, |_| true, |port| port == 7003), "CLOSE>SYN_SENT SYN_SENT>CLOSE");
    let itself = states(&traced, |port| port == 7004, |port| port == 7004);
    assert_eq!(
        itself,
        "CLOSE>SYN_SENT SYN_SENT>SYN_RECV SYN_RECV>ESTABLISHED ESTABLISHED>FIN_WAIT1 \
         FIN_WAIT1>CLOSING CLOSING>CLOSE"
    );
    // All of them are one process's, those too whose changes came with a packet.
    assert!(traced.events.iter().all(|event| event["comm"] == "tcpstates"));
    let known = traced.of(|event| event["age_ns"].is_number());
    assert!(known.iter().all(|event| event["age_ns"].as_u64().unwrap() < 60_000_000_000));
    // Not known is how long a socket was there before its first change.
    let unknown = traced.of(|event| event["age_ns"].is_null());
    let first = |event: &&&Value| event["old_state"] == "CLOSE" || event["new_state"] == "SYN_RECV";
    assert_eq!(unknown.len(), unknown.iter().filter(first).count());
}

#[test]
fn filters_hold() {
    let Some(traced) = trace_connections(&["-6"]) else { return };
    assert!(!traced.events.is_empty());
    assert!(traced.events.iter().all(|event| event["family"] == 6));
    let Some(traced) = trace_connections(&["-L", "7001,7002", "-4"]) else { return };
    assert!(traced.events.iter().all(|event| event["local_port"] == 7001 && event["family"] == 4));
    assert_eq!(traced.events.len(), 7);
    let Some(traced) = trace_connections(&["-D", "7003"]) else { return };
    assert_eq!(traced.events.len(), 2);
}
