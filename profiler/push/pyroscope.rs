//! Grafana Pyroscope: push.v1 over Connect's unary protocol, as binary protobuf.
//!
//! The messages are those of `api/push/v1/push.proto` and `api/types/v1/types.proto` of
//! <https://github.com/grafana/pyroscope>; the protocol is
//! <https://connectrpc.com/docs/protocol#unary-request>. Pyroscope makes a series of each label of a
//! sample, so samples have none.

use anyhow::Result;
use prost::Message;

use super::{
    Address, Parcel, Receiver, Refusal, Settings,
    batch::{Batch, Series, metric},
    http::{Http, below},
    pieces::{self, Limits, pieces},
    series::plain,
};

const PATH: &str = "/push.v1.PusherService/Push";
/// Below its defaults: 16,000 samples and 4 MiB a profile.
const LIMITS: Limits = Limits { samples: 15_000, bytes: 3_900_000 };
/// Bytes of a request at which another begins. It takes bursts of 2 MB.
const REQUEST_BYTES: usize = 1 << 20;

/// `push.v1.PushRequest`
#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    series: Vec<RawProfileSeries>,
}

/// `push.v1.RawProfileSeries`
#[derive(Clone, PartialEq, Message)]
struct RawProfileSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<LabelPair>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<RawSample>,
}

/// `push.v1.RawSample`
#[derive(Clone, PartialEq, Message)]
struct RawSample {
    /// pprof, gzipped.
    #[prost(bytes = "vec", tag = "1")]
    raw_profile: Vec<u8>,
    /// A UUID.
    #[prost(string, tag = "2")]
    id: String,
}

/// `types.v1.LabelPair`
#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// A Pyroscope.
pub struct Pyroscope {
    http: Http,
    url: String,
    /// Who we are to one that many share.
    tenant: Option<String>,
}

impl Pyroscope {
    /// The one at an address: `pyroscope+http://HOST:4040`, or `...?tenant=NAME`.
    ///
    /// # Errors
    /// See [`Http::new`].
    pub fn new(address: &Address, settings: &Settings) -> Result<Self> {
        let http = Http::new(address, settings)?;
        Ok(Self { http, url: below(&address.url, PATH), tenant: address.query("tenant") })
    }
}

impl Receiver for Pyroscope {
    fn pack(&self, batch: &Batch) -> Result<Vec<Parcel>> {
        let mut parcels = Vec::new();
        let (mut request, mut bytes, mut profiles) = (PushRequest::default(), 0, 0);
        let mut close = |request: &mut PushRequest, profiles: u64| {
            let body = std::mem::take(request).encode_to_vec();
            parcels.push(Parcel { place: String::new(), body, profiles });
        };
        for series in batch.parts.iter().flat_map(|part| &part.series) {
            for (index, raw_profile) in pieces(&series.profile, LIMITS)?.into_iter().enumerate() {
                bytes += raw_profile.len();
                let sample = RawSample { raw_profile, id: pieces::id(series, index) };
                request
                    .series
                    .push(RawProfileSeries { labels: labels(series), samples: vec![sample] });
                profiles += 1;
                if bytes >= REQUEST_BYTES {
                    close(&mut request, profiles);
                    (bytes, profiles) = (0, 0);
                }
            }
        }
        if profiles > 0 {
            close(&mut request, profiles);
        }
        Ok(parcels)
    }

    fn send(&mut self, parcel: &Parcel) -> Result<Option<(u64, String)>, Refusal> {
        let mut headers =
            vec![("content-type", "application/proto"), ("connect-protocol-version", "1")];
        headers.extend(self.tenant.as_deref().map(|tenant| ("x-scope-orgid", tenant)));
        self.http.post(&self.url, &headers, &parcel.body).map(|_| None)
    }
}

/// Labels by name, as it wants them.
fn labels(series: &Series) -> Vec<LabelPair> {
    let own = series.labels.iter().map(|(name, value)| (plain(name), value.clone()));
    let more = [
        // What it takes for a counter that only grows it would give the growth of.
        ("__delta__", "false"),
        ("__name__", metric(&series.profile.source)),
        ("pyroscope_spy", "rprof"),
    ];
    let more = more.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut labels: Vec<LabelPair> =
        own.chain(more).map(|(name, value)| LabelPair { name, value }).collect();
    labels.sort_by(|a, b| a.name.cmp(&b.name));
    labels
}
