//! pprof as the body of a POST: the whole machine, a profile for each source, with all labels that
//! `export -f pprof` gives to samples.

use anyhow::Result;
use jiff::Timestamp;

use super::{
    Address, Parcel, Receiver, Refusal, Settings,
    batch::{Batch, Part, metric, time_of},
    http::Http,
};
use crate::{model::View, output};

/// A server that takes pprof.
pub struct Plain {
    http: Http,
    url: String,
}

impl Plain {
    /// The one at an address, which is the URL to post to.
    ///
    /// # Errors
    /// See [`Http::new`].
    pub fn new(address: &Address, settings: &Settings) -> Result<Self> {
        Ok(Self { http: Http::new(address, settings)?, url: address.url.to_string() })
    }
}

impl Receiver for Plain {
    fn pack(&self, batch: &Batch) -> Result<Vec<Parcel>> {
        batch.parts.iter().map(whole).collect()
    }

    fn send(&mut self, parcel: &Parcel) -> Result<Option<(u64, String)>, Refusal> {
        let headers = [("content-type", "application/octet-stream")];
        self.http.post(&self.url, &headers, &parcel.body).map(|_| None)
    }
}

/// All of one source in one file, which is named by host, source and start:
/// `HOST/process_cpu/2026-11-21T03-12-00.000Z.pb.gz`.
///
/// # Errors
/// It cannot be written.
pub fn whole(part: &Part) -> Result<Parcel> {
    let profile = &part.whole;
    let pprof = output::find("pprof").ok_or_else(|| anyhow::anyhow!("there is no pprof"))?;
    let mut body = Vec::new();
    pprof.write(profile, &View::default(), &mut body)?;
    let start = Timestamp::from_nanosecond(time_of(profile).start.into())?;
    let start = start.strftime("%Y-%m-%dT%H-%M-%S.%3fZ");
    let host = safe(&profile.info.host);
    let place = format!("{host}/{}/{start}.pb.gz", safe(metric(&profile.source)));
    Ok(Parcel { place, body, profiles: 1 })
}

/// A text as the name of a file.
fn safe(text: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = text.chars().take(100).map(safe).collect();
    if name.is_empty() || name.starts_with('.') { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::safe;

    #[test]
    fn no_name_leads_elsewhere() {
        assert_eq!(safe("web-1.example"), "web-1.example");
        assert_eq!(safe("../../etc"), "_.._.._etc");
        assert_eq!(safe(""), "_");
        assert_eq!(safe("a/b\nc"), "a_b_c");
    }
}
