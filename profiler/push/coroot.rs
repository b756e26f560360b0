//! Coroot: pprof as the body of a POST, with the labels of its series in the query.
//!
//! `POST /v1/profiles?service.name=..&label=..`. Coroot takes the time of a profile for its end
//! (the start is that less the duration), and shows functions only, so all has to have names.

use anyhow::Result;
use url::form_urlencoded::Serializer;

use super::{
    Address, Parcel, Receiver, Refusal, Settings,
    batch::{Batch, Series},
    http::{Http, below},
    pieces::{Limits, pieces},
    series::SERVICE,
};
use crate::model::Profile;

const PATH: &str = "/v1/profiles";
const LIMITS: Limits = Limits { samples: 50_000, bytes: 8 << 20 };

/// A Coroot.
pub struct Coroot {
    http: Http,
    url: String,
}

impl Coroot {
    /// The one at an address: `coroot+https://HOST`. Its key goes into the header `X-API-Key`.
    ///
    /// # Errors
    /// See [`Http::new`].
    pub fn new(address: &Address, settings: &Settings) -> Result<Self> {
        Ok(Self { http: Http::new(address, settings)?, url: below(&address.url, PATH) })
    }
}

impl Receiver for Coroot {
    fn pack(&self, batch: &Batch) -> Result<Vec<Parcel>> {
        let mut parcels = Vec::new();
        for series in batch.parts.iter().flat_map(|part| &part.series) {
            let place = query(series);
            for body in pieces(&at_end(&series.profile), LIMITS)? {
                parcels.push(Parcel { place: place.clone(), body, profiles: 1 });
            }
        }
        Ok(parcels)
    }

    fn send(&mut self, parcel: &Parcel) -> Result<Option<(u64, String)>, Refusal> {
        let url = format!("{}?{}", self.url, parcel.place);
        let headers = [("content-type", "application/octet-stream")];
        self.http.post(&url, &headers, &parcel.body).map(|_| None)
    }
}

/// The same profile with a start that is its end, and still as long.
fn at_end(profile: &Profile) -> Profile {
    let length = profile.to.saturating_sub(profile.from);
    let (from, to) = (profile.to, profile.to.saturating_add(length));
    Profile { from, to, ..profile.clone() }
}

fn query(series: &Series) -> String {
    let mut query = Serializer::new(String::new());
    for (name, value) in &series.labels {
        let name = if name == SERVICE { "service.name" } else { name };
        query.append_pair(name, value);
    }
    query.finish()
}
