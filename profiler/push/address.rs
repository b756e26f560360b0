//! Where a receiver is: `PROTOCOL+TRANSPORT://HOST:PORT/PATH`.
//!
//! An address is told on command lines and in logs, so there is never a credential in it.

use std::{fmt, str::FromStr};

use anyhow::{Context, Error, Result, bail};
use url::Url;

/// What is spoken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// Grafana Pyroscope's push.v1.
    Pyroscope,
    /// OpenTelemetry profiles.
    Otlp,
    /// Parca's WriteRaw.
    Parca,
    /// pprof as the body of a POST.
    Pprof,
    /// The same in Coroot's form.
    Coroot,
    /// Files of a folder.
    Folder,
    /// Objects of a bucket.
    Bucket,
}

/// What carries it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// HTTP/1.1, with or without TLS.
    Http,
    /// gRPC, with or without TLS.
    Grpc,
    /// Neither.
    Local,
}

/// All that there is, as the first words of an address.
const KNOWN: [(&str, Protocol); 7] = [
    ("pyroscope", Protocol::Pyroscope),
    ("otlp", Protocol::Otlp),
    ("parca", Protocol::Parca),
    ("pprof", Protocol::Pprof),
    ("coroot", Protocol::Coroot),
    ("file", Protocol::Folder),
    ("s3", Protocol::Bucket),
];

/// Names in a query that are those of credentials.
const SECRET: [&str; 7] = ["token", "key", "secret", "password", "passwd", "auth", "signature"];

/// The address of a receiver.
#[derive(Clone, Eq, PartialEq)]
pub struct Address {
    /// What is spoken there.
    pub protocol: Protocol,
    /// What carries it.
    pub transport: Transport,
    /// For HTTP and gRPC the URL of the server with the scheme `http` or `https`; otherwise the
    /// address itself.
    pub url: Url,
    /// The first word of the address.
    scheme: String,
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // What is wrong is told without the address: it may hold what should not be there.
        let (scheme, rest) = text.split_once("://").context(
            "an address is PROTOCOL+TRANSPORT://HOST:PORT, such as pyroscope+http://localhost:4040",
        )?;
        let (word, carrier) = scheme.split_once('+').unwrap_or((scheme, ""));
        let Some((_, protocol)) = KNOWN.iter().find(|(known, _)| *known == word) else {
            let known: Vec<&str> = KNOWN.iter().map(|(word, _)| *word).collect();
            bail!("no protocol {word:?}; there is: {}", known.join(", "));
        };
        let protocol = *protocol;
        let local = matches!(protocol, Protocol::Folder | Protocol::Bucket);
        let grpc = matches!(protocol, Protocol::Otlp | Protocol::Parca);
        let (transport, http) = match carrier {
            "" if local => (Transport::Local, word),
            "http" if !local => (Transport::Http, "http"),
            "https" if !local => (Transport::Http, "https"),
            "grpc" if grpc => (Transport::Grpc, "http"),
            "grpcs" if grpc => (Transport::Grpc, "https"),
            _ if local => bail!("{word} goes by itself: {word}://"),
            _ if grpc => bail!("{word} goes over http, https, grpc or grpcs: {word}+grpc://"),
            _ => bail!("{word} goes over http or https: {word}+http://"),
        };
        let url = Url::parse(&format!("{http}://{rest}")).context("the address is not a URL")?;
        if !url.username().is_empty() || url.password().is_some() {
            bail!(
                "an address is shown to everybody, so it takes no user and no password; put them \
                 into the file of --push-auth or into {}",
                super::keys::VARIABLE
            );
        }
        let secret = |name: &str| SECRET.iter().any(|word| name.to_lowercase().contains(word));
        if let Some((name, _)) = url.query_pairs().find(|(name, _)| secret(name)) {
            bail!("{name:?} in an address would be shown to everybody; put it into --push-auth");
        }
        if protocol != Protocol::Folder && url.host_str().is_none_or(str::is_empty) {
            bail!("the address names no {}", if local { "bucket" } else { "host" });
        }
        if protocol == Protocol::Folder && url.host_str().is_some_and(|host| !host.is_empty()) {
            bail!("a folder is named from its root: file:///var/lib/profiles");
        }
        Ok(Self { protocol, transport, url, scheme: scheme.to_owned() })
    }
}

impl Address {
    /// Host and port, as credentials are told apart by.
    pub fn host(&self) -> (String, Option<u16>) {
        let host = self.url.host_str().unwrap_or_default().to_owned();
        (host, self.url.port_or_known_default())
    }

    /// True if what is sent can be read on its way: neither TLS nor this machine alone.
    pub fn is_open(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        let here = host == "localhost" || host.starts_with("127.") || host == "[::1]";
        self.transport != Transport::Local && self.url.scheme() == "http" && !here
    }

    /// The value of `name` in the query.
    pub fn query(&self, name: &str) -> Option<String> {
        let mut pairs = self.url.query_pairs();
        pairs.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
    }

    /// As it is given to another process of ours: all of it.
    pub fn whole(&self) -> String {
        let rest = self.url.as_str().split_once("://").map_or("", |(_, rest)| rest);
        format!("{}://{rest}", self.scheme)
    }
}

/// Without the query.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.whole();
        f.write_str(whole.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/'))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        format!("{:#}", text.parse::<Address>().unwrap_err())
    }

    #[test]
    fn what_is_spoken_and_what_carries_it() {
        for (text, protocol, transport, url) in [
            ("pyroscope+http://h:4040", Protocol::Pyroscope, Transport::Http, "http://h:4040/"),
            ("otlp+https://h/x", Protocol::Otlp, Transport::Http, "https://h/x"),
            ("otlp+grpcs://h:4317", Protocol::Otlp, Transport::Grpc, "https://h:4317/"),
            ("parca+grpc://[::1]:7070", Protocol::Parca, Transport::Grpc, "http://[::1]:7070/"),
            ("file:///tmp/x", Protocol::Folder, Transport::Local, "file:///tmp/x"),
            ("s3://b/p/q", Protocol::Bucket, Transport::Local, "s3://b/p/q"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.protocol, address.transport), (protocol, transport), "{text}");
            assert_eq!(address.url.as_str(), url);
            assert_eq!(address.whole().parse::<Address>().unwrap(), address);
        }
    }

    #[test]
    fn no_credential_is_in_an_address_and_no_error_repeats_it() {
        for text in ["pprof+http://me:hunter2@h/", "pprof+http://hunter2@h/", "s3://a:hunter2@b/"] {
            let error = refused(text);
            assert!(error.contains("--push-auth") && !error.contains("hunter2"), "{error}");
        }
        for text in ["pprof+http://h/?api_key=hunter2", "coroot+https://h/?Token=hunter2"] {
            let error = refused(text);
            assert!(error.contains("--push-auth") && !error.contains("hunter2"), "{error}");
        }
        let address: Address = "pprof+http://h/in?name=x".parse().unwrap();
        assert_eq!(address.to_string(), "pprof+http://h/in");
        assert_eq!(address.query("name").as_deref(), Some("x"));
    }

    #[test]
    fn what_is_no_address_is_told_with_one_that_is() {
        assert!(refused("localhost:4040").contains("pyroscope+http://localhost:4040"));
        assert!(refused("zipkin+http://h").contains("pyroscope, otlp, parca"));
        assert!(refused("pyroscope+grpc://h").contains("http or https"));
        assert!(refused("otlp://h").contains("grpc"));
        assert!(refused("file+http://x").contains("file://"));
        assert!(refused("file://var/lib").contains("from its root"));
        assert!(refused("s3:///x").contains("bucket"));
    }

    #[test]
    fn plain_http_to_another_machine_can_be_read_on_its_way() {
        let open = |text: &str| text.parse::<Address>().unwrap().is_open();
        assert!(open("pprof+http://example.com/"));
        assert!(!open("pprof+https://example.com/"));
        assert!(!open("pprof+http://127.0.0.1:1/"));
        assert!(!open("pprof+http://localhost:1/"));
        assert!(!open("parca+grpcs://example.com"));
    }
}
