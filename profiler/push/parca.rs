//! Parca: WriteRaw, over gRPC or by the HTTP gateway.
//!
//! The messages are those of `proto/parca/profilestore/v1alpha1/profilestore.proto` of
//! <https://github.com/parca-dev/parca>. Addresses are those of ELF files, which `normalized` says.

use anyhow::Result;
use base64::{Engine, prelude::BASE64_STANDARD};
use prost::Message;
use serde_json::json;

use super::{
    Address, Parcel, Receiver, Refusal, Settings,
    batch::{Batch, Series, metric},
    http::{self, below},
    pieces::{Limits, pieces},
    rpc::Rpc,
    series::plain,
};

const METHOD: &str = "/parca.profilestore.v1alpha1.ProfileStoreService/WriteRaw";
const PATH: &str = "/api/profiles/writeraw";
/// A message of gRPC has 4 MiB by default.
const LIMITS: Limits = Limits { samples: 50_000, bytes: 8 << 20 };
/// Bytes of a request at which another begins.
const REQUEST_BYTES: usize = 2 << 20;

/// `parca.profilestore.v1alpha1.WriteRawRequest`
#[derive(Clone, PartialEq, Message)]
struct WriteRawRequest {
    #[prost(message, repeated, tag = "2")]
    series: Vec<RawProfileSeries>,
    /// True if addresses are those of files.
    #[prost(bool, tag = "3")]
    normalized: bool,
}

/// `parca.profilestore.v1alpha1.RawProfileSeries`
#[derive(Clone, PartialEq, Message)]
struct RawProfileSeries {
    #[prost(message, optional, tag = "1")]
    labels: Option<LabelSet>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<RawSample>,
}

/// `parca.profilestore.v1alpha1.LabelSet`
#[derive(Clone, PartialEq, Message)]
struct LabelSet {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
}

/// `parca.profilestore.v1alpha1.Label`
#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// `parca.profilestore.v1alpha1.RawSample`
#[derive(Clone, PartialEq, Message)]
struct RawSample {
    /// pprof, gzipped.
    #[prost(bytes = "vec", tag = "1")]
    raw_profile: Vec<u8>,
}

/// A Parca, by gRPC.
pub struct Grpc(Rpc);

impl Grpc {
    /// The one at an address: `parca+grpc://HOST:7070`.
    ///
    /// # Errors
    /// See [`Rpc::new`].
    pub fn new(address: &Address, settings: &Settings) -> Result<Self> {
        Ok(Self(Rpc::new(address, settings, METHOD)?))
    }
}

impl Receiver for Grpc {
    fn pack(&self, batch: &Batch) -> Result<Vec<Parcel>> {
        requests(batch, |request| request.encode_to_vec())
    }

    fn send(&mut self, parcel: &Parcel) -> Result<Option<(u64, String)>, Refusal> {
        // What it holds is gzipped already.
        self.0.call(&parcel.body, false).map(|_| None)
    }
}

/// A Parca, by its gateway.
pub struct Http {
    http: http::Http,
    url: String,
}

impl Http {
    /// The one at an address: `parca+http://HOST:7070`.
    ///
    /// # Errors
    /// See [`http::Http::new`].
    pub fn new(address: &Address, settings: &Settings) -> Result<Self> {
        Ok(Self { http: http::Http::new(address, settings)?, url: below(&address.url, PATH) })
    }
}

impl Receiver for Http {
    fn pack(&self, batch: &Batch) -> Result<Vec<Parcel>> {
        requests(batch, |request| json_of(request).to_string().into_bytes())
    }

    fn send(&mut self, parcel: &Parcel) -> Result<Option<(u64, String)>, Refusal> {
        let headers = [("content-type", "application/json")];
        self.http.post(&self.url, &headers, &parcel.body).map(|_| None)
    }
}

fn requests(batch: &Batch, encode: impl Fn(&WriteRawRequest) -> Vec<u8>) -> Result<Vec<Parcel>> {
    let mut parcels = Vec::new();
    let (mut series, mut bytes) = (Vec::new(), 0);
    let mut close = |series: &mut Vec<RawProfileSeries>| {
        let profiles = series.len() as u64;
        let request = WriteRawRequest { series: std::mem::take(series), normalized: true };
        parcels.push(Parcel { place: String::new(), body: encode(&request), profiles });
    };
    for one in batch.parts.iter().flat_map(|part| &part.series) {
        for raw_profile in pieces(&one.profile, LIMITS)? {
            bytes += raw_profile.len();
            let labels = Some(LabelSet { labels: labels(one) });
            series.push(RawProfileSeries { labels, samples: vec![RawSample { raw_profile }] });
            if bytes >= REQUEST_BYTES {
                close(&mut series);
                bytes = 0;
            }
        }
    }
    if !series.is_empty() {
        close(&mut series);
    }
    Ok(parcels)
}

/// Labels by name; Parca wants them so, and `__name__` among them.
fn labels(series: &Series) -> Vec<Label> {
    let name = ("__name__".to_owned(), metric(&series.profile.source).to_owned());
    let own = series.labels.iter().map(|(name, value)| (plain(name), value.clone()));
    let labels = own.chain([name]).map(|(name, value)| Label { name, value });
    let mut labels: Vec<Label> = labels.collect();
    labels.sort_by(|a, b| a.name.cmp(&b.name));
    labels
}

/// As proto3 is written in JSON.
fn json_of(request: &WriteRawRequest) -> serde_json::Value {
    let series = request.series.iter().map(|series| {
        let labels = series.labels.iter().flat_map(|set| &set.labels);
        let labels: Vec<_> =
            labels.map(|label| json!({"name": label.name, "value": label.value})).collect();
        let samples = series.samples.iter();
        let samples: Vec<_> = samples
            .map(|sample| json!({"rawProfile": BASE64_STANDARD.encode(&sample.raw_profile)}))
            .collect();
        json!({"labels": {"labels": labels}, "samples": samples})
    });
    json!({"series": series.collect::<Vec<_>>(), "normalized": request.normalized})
}
