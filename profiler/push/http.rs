//! Requests over HTTP/1.1, with or without TLS.
//!
//! No redirect is followed, an answer is read up to a limit, and each request has one deadline for
//! all of it, from the look-up of the name to the last byte of the answer.

use std::{fs, sync::Arc, time::SystemTime};

use anyhow::{Context, Result, bail};
use ureq::{
    Agent,
    tls::{PemItem, RootCerts, TlsConfig, parse_pem},
};

use super::{
    Address, Keys, Refusal, Settings,
    retry::{after, of_status},
};
use crate::output::clean;

/// Bytes of an answer that are read.
const ANSWER_BYTES: u64 = 64 << 10;
/// Characters of an answer that are told.
const TOLD: usize = 200;

/// How we call ourselves.
pub const USER_AGENT: &str = concat!("rprof/", env!("CARGO_PKG_VERSION"));

/// One server.
pub struct Http {
    agent: Agent,
    keys: Arc<Keys>,
    host: (String, Option<u16>),
}

impl Http {
    /// A client of the server at an address. Nothing is sent yet.
    ///
    /// # Errors
    /// The certificates cannot be read.
    pub fn new(address: &Address, settings: &Settings) -> Result<Self> {
        let roots = match &settings.ca {
            None => RootCerts::WebPki,
            Some(path) => {
                let pem =
                    fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
                let mut certificates = Vec::new();
                for item in parse_pem(&pem) {
                    let item = item.with_context(|| format!("{} is no PEM", path.display()))?;
                    if let PemItem::Certificate(certificate) = item {
                        certificates.push(certificate);
                    }
                }
                if certificates.is_empty() {
                    bail!("{} has no certificate in it", path.display());
                }
                RootCerts::new_with_certs(&certificates)
            }
        };
        let config = Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .timeout_global(Some(settings.timeout))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(USER_AGENT)
            .max_idle_connections(1)
            .build();
        Ok(Self { agent: config.into(), keys: settings.keys.clone(), host: address.host() })
    }

    /// Posts `body` to a URL; gives what was answered.
    ///
    /// # Errors
    /// It was not taken.
    pub fn post(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let keys = self.keys.headers(&self.host.0, self.host.1);
        let keys = keys.map_err(|error| Refusal::Setup(format!("{error:#}")))?;
        let mut request = self.agent.post(url);
        for (name, value) in headers.iter().copied() {
            request = request.header(name, value);
        }
        for (name, value) in &keys {
            request = request.header(name, value);
        }
        self.finish(request.send(body))
    }

    /// Puts `body` at a URL, which may be a signed one.
    ///
    /// # Errors
    /// It was not taken.
    pub fn put(&self, url: &str, body: &[u8]) -> Result<(), Refusal> {
        self.finish(self.agent.put(url).send(body)).map(drop)
    }

    fn finish(
        &self,
        sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Vec<u8>, Refusal> {
        let mut answer = sent.map_err(|error| self.failure(&error))?;
        let status = answer.status().as_u16();
        let retry = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry = retry.and_then(|value| after(value, SystemTime::now()));
        let read = answer.body_mut().with_config().limit(ANSWER_BYTES).read_to_vec();
        match read {
            Ok(body) if (200..300).contains(&status) => Ok(body),
            Err(error) if (200..300).contains(&status) => match error {
                // It said yes, at length.
                ureq::Error::BodyExceedsLimit(_) => Ok(Vec::new()),
                error => Err(self.failure(&error)),
            },
            read => {
                let said = read.unwrap_or_default();
                Err(of_status(status, &told(&self.keys, &String::from_utf8_lossy(&said)), retry))
            }
        }
    }

    /// A failure of the connection. Its words never hold the URL, whose query may be signed.
    fn failure(&self, error: &ureq::Error) -> Refusal {
        let why = told(&self.keys, &words(error));
        match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => Refusal::Setup("no such URL".into()),
            ureq::Error::Tls(_) | ureq::Error::Pem(_) | ureq::Error::Rustls(_) => {
                Refusal::Setup(why)
            }
            _ if why.contains("certificate") => Refusal::Setup(why),
            _ => Refusal::Later(why, None),
        }
    }
}

fn words(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::HostNotFound => "there is no host of that name".into(),
        ureq::Error::ConnectionFailed => "no connection".into(),
        ureq::Error::Timeout(_) => "no answer in time".into(),
        other => other.to_string(),
    }
}

/// What may be told of what a server says: its beginning, without what we told it.
pub fn told(keys: &Keys, said: &str) -> String {
    let text = keys.scrub(said);
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String = text.chars().take(TOLD).collect();
    clean(&text).into_owned()
}

/// `url` with a path added to its own, and its query left out.
pub fn below(url: &url::Url, path: &str) -> String {
    let mut url = url.clone();
    let base = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{base}{path}"));
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}
