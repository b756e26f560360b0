//! What the sources about TCP connections share.

/// Sets the knobs of `bpf/tcp.bpf.h`.
macro_rules! ask_ends {
    ($rodata:expr, $question:expr) => {{
        use $crate::model::Key;
        let (rodata, question) = (&mut *$rodata, $question);
        if let Some(address) = question.local.bytes() {
            rodata.filter_local = true;
            rodata.local_address = address;
        }
        if let Some(address) = question.remote.bytes() {
            rodata.filter_remote = true;
            rodata.remote_address = address;
        }
        rodata.local_port = question.local.port.unwrap_or_default();
        rodata.remote_port = question.remote.port.unwrap_or_default();
        rodata.family = match question.family {
            // include/linux/socket.h
            Some($crate::sources::Family::V4) => 2,
            Some($crate::sources::Family::V6) => 10,
            None => 0,
        };
        rodata.by_local_address = question.by.contains(&Key::LocalAddress);
        rodata.by_local_port = question.by.contains(&Key::LocalPort);
        rodata.by_remote_address = question.by.contains(&Key::RemoteAddress);
        rodata.by_remote_port = question.by.contains(&Key::RemotePort);
    }};
}
pub(super) use ask_ends;
