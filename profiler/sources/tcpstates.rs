//! Source `tcpstates`: TCP connections as they change their state, with the time in the old one.

use std::{
    mem::offset_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::Result;

use super::{
    Base, Events, Filters, Options,
    events::{EventStream, event, open_events},
};
use crate::{
    bpf::{self, tcpstates::TcpstatesSkelBuilder, tcpstates::types::tcpstate},
    model::{Event, Field, Value},
};

/// The source.
pub struct Tcpstates;

const FIELDS: &[Field] = &[
    Field::text("old_state", 11),
    Field::text("new_state", 11),
    Field::number("age", 10),
    Field::text("local", 24),
    Field::text("remote", 24),
    Field::hidden("local_address"),
    Field::hidden("local_port"),
    Field::hidden("remote_address"),
    Field::hidden("remote_port"),
    Field::hidden("family"),
    Field::hidden("socket"),
];

/// include/net/tcp_states.h
const STATES: [&str; 14] = [
    "",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "NEW_SYN_RECV",
    "BOUND",
];

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

impl Events for Tcpstates {
    fn name(&self) -> &'static str {
        "tcpstates"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn open(&self, options: &Options, filters: &Filters, base: &Base) -> Result<EventStream> {
        let skel = open_events!(TcpstatesSkelBuilder, options, filters, base, |open| {
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.family_only = match filters.family {
                    Some(6) => AF_INET6,
                    Some(_) => AF_INET,
                    None => 0,
                };
                rodata.local_ports = fill(&mut rodata.local_port, &filters.local_ports);
                rodata.remote_ports = fill(&mut rodata.remote_port, &filters.remote_ports);
            }
        });
        Ok(EventStream::new(skel, Vec::new()))
    }

    fn decode<'a>(&self, record: &'a [u8]) -> Option<Event<'a>> {
        let head = bpf::read::<tcpstate>(record)?;
        let six = head.family == AF_INET6;
        let local = address(record, offset_of!(tcpstate, local), six)?;
        let remote = address(record, offset_of!(tcpstate, remote), six)?;
        let end = |address: IpAddr, port: u16| match address {
            IpAddr::V4(address) => format!("{address}:{port}"),
            IpAddr::V6(address) => format!("[{address}]:{port}"),
        };
        let values = vec![
            state(head.old_state),
            state(head.new_state),
            if head.age == 0 { Value::None } else { Value::Span(head.age) },
            Value::Word(end(local, head.local_port).into()),
            Value::Word(end(remote, head.remote_port).into()),
            Value::Word(local.to_string().into()),
            Value::Number(head.local_port.into()),
            Value::Word(remote.to_string().into()),
            Value::Number(head.remote_port.into()),
            Value::Number(if six { 6 } else { 4 }),
            Value::Number(head.socket as i64),
        ];
        event(record, values)
    }
}

fn fill(to: &mut [u16], from: &[u16]) -> u32 {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    from.len().min(to.len()) as u32
}

fn state(number: u32) -> Value<'static> {
    match STATES.get(number as usize) {
        Some(name) if !name.is_empty() => Value::word(name),
        _ => Value::Number(number.into()),
    }
}

fn address(record: &[u8], at: usize, six: bool) -> Option<IpAddr> {
    let bytes: [u8; 16] = record.get(at..at + 16)?.try_into().ok()?;
    match (six, Ipv6Addr::from(bytes)) {
        (true, address) => Some(IpAddr::V6(address)),
        (false, _) => Some(IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))),
    }
}
