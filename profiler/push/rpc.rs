//! Unary calls over gRPC, with or without TLS.
//!
//! tonic is async, so each receiver has a runtime of one thread, its own, which runs only while a
//! call lasts. Messages come and go as bytes: who packs them knows what they are.

use std::{fs, sync::Arc, time::Duration};

use ::http::uri::PathAndQuery;
use anyhow::{Context, Result};
use prost::{
    Message,
    bytes::{Buf, BufMut, Bytes},
};
use tokio::runtime::{Builder, Runtime};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::{AsciiMetadataKey, AsciiMetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use super::{
    Address, Keys, Refusal, Settings,
    http::{USER_AGENT, told},
};

/// Bytes of an answer that are taken.
const ANSWER_BYTES: usize = 64 << 10;

/// One method of one server.
pub struct Rpc {
    runtime: Runtime,
    channel: Channel,
    method: PathAndQuery,
    keys: Arc<Keys>,
    host: (String, Option<u16>),
    timeout: Duration,
}

impl Rpc {
    /// A client of the server at an address. Nothing is sent yet.
    ///
    /// # Errors
    /// The certificates cannot be read.
    pub fn new(address: &Address, settings: &Settings, method: &'static str) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start a runtime for gRPC")?;
        let url = address.url.as_str().split(['?', '#']).next().unwrap_or_default().to_owned();
        let mut endpoint = Endpoint::from_shared(url)
            .context("that is no address of a server")?
            .user_agent(USER_AGENT)?
            .connect_timeout(settings.timeout)
            .timeout(settings.timeout);
        if address.url.scheme() == "https" {
            let mut tls = ClientTlsConfig::new();
            tls = match &settings.ca {
                None => tls.with_webpki_roots(),
                Some(path) => {
                    let pem = fs::read(path);
                    let pem = pem.with_context(|| format!("cannot read {}", path.display()))?;
                    tls.ca_certificate(Certificate::from_pem(pem))
                }
            };
            endpoint = endpoint.tls_config(tls).context("cannot use the certificates")?;
        }
        // The channel is made for the runtime that is entered.
        let channel = {
            let _entered = runtime.enter();
            endpoint.connect_lazy()
        };
        Ok(Self {
            runtime,
            channel,
            method: PathAndQuery::from_static(method),
            keys: settings.keys.clone(),
            host: address.host(),
            timeout: settings.timeout,
        })
    }

    /// Sends a message, gzipped or not, and gives the answer.
    ///
    /// # Errors
    /// It was not taken.
    pub fn call(&mut self, message: &[u8], gzip: bool) -> Result<Bytes, Refusal> {
        let setup = |error: anyhow::Error| Refusal::Setup(format!("{error:#}"));
        let mut request = Request::new(Bytes::copy_from_slice(message));
        for (name, value) in self.keys.headers(&self.host.0, self.host.1).map_err(setup)? {
            let name = AsciiMetadataKey::from_bytes(name.as_bytes());
            let value = value.parse::<AsciiMetadataValue>();
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(Refusal::Setup("a credential is no header".into()));
            };
            request.metadata_mut().insert(name, value);
        }
        let mut client = Grpc::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES);
        client = client.accept_compressed(CompressionEncoding::Gzip);
        if gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        let (method, timeout) = (self.method.clone(), self.timeout);
        let call = async {
            client.ready().await.map_err(|error| Status::unavailable(words(&error)))?;
            client.unary(request, method, Bare).await
        };
        let answer = self.runtime.block_on(async { tokio::time::timeout(timeout, call).await });
        match answer {
            Err(_) => Err(Refusal::Later("no answer in time".into(), None)),
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(refusal(&status, &self.keys)),
        }
    }
}

/// An error with all that it comes from.
fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// What a status means, as OTLP says of retries
/// (<https://opentelemetry.io/docs/specs/otlp/#failures>); a receiver of profiles that is short of
/// something for now says so by RESOURCE_EXHAUSTED, with or without a time.
fn refusal(status: &Status, keys: &Keys) -> Refusal {
    let mut why = match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    };
    if let Some(cause) = std::error::Error::source(status) {
        why = format!("{why}: {}", words(cause));
    }
    let why = told(keys, &why);
    match status.code() {
        _ if why.contains("certificate") => Refusal::Setup(why),
        Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented | Code::NotFound => {
            Refusal::Setup(why)
        }
        Code::ResourceExhausted if why.contains("larger than max") => Refusal::Never(why),
        Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists => {
            Refusal::Never(why)
        }
        _ => Refusal::Later(why, retry_after(status.details())),
    }
}

/// `google.rpc.Status`, in which details come.
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`
#[derive(Clone, Copy, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// How long a server asks us to wait.
fn retry_after(details: &[u8]) -> Option<Duration> {
    let details = Details::decode(details).ok()?.details;
    let info = details.iter().find(|one| one.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay?;
    let (seconds, nanos) = (u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?);
    Some(Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into())))
}

/// Messages as the bytes that they are.
#[derive(Clone, Copy, Debug, Default)]
struct Bare;

impl Codec for Bare {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bare {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(message);
        Ok(())
    }
}

impl Decoder for Bare {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, input: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(input.copy_to_bytes(input.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_ask_for_a_wait() {
        let retry_delay = Some(Delay { seconds: 3, nanos: 500_000_000 });
        let value = RetryInfo { retry_delay }.encode_to_vec();
        let type_url = "type.googleapis.com/google.rpc.RetryInfo".to_owned();
        let details = Details { details: vec![Any { type_url, value }] }.encode_to_vec();
        assert_eq!(retry_after(&details), Some(Duration::from_millis(3500)));
        assert_eq!(retry_after(b"\xff\xff"), None);
        assert_eq!(retry_after(b""), None);
        let status = Status::with_details(Code::ResourceExhausted, "slow", details.into());
        let Refusal::Later(why, after) = refusal(&status, &Keys::default()) else { panic!() };
        assert_eq!((&*why, after), ("slow", Some(Duration::from_millis(3500))));
    }

    #[test]
    fn what_a_status_means() {
        let of = |code| refusal(&Status::new(code, "why"), &Keys::default());
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::Internal, Code::Unknown] {
            assert!(matches!(of(code), Refusal::Later(_, None)), "{code}");
        }
        for code in [Code::Unauthenticated, Code::PermissionDenied, Code::Unimplemented] {
            assert!(matches!(of(code), Refusal::Setup(_)), "{code}");
        }
        assert!(matches!(of(Code::InvalidArgument), Refusal::Never(_)));
    }
}
