//! What was sent, decoded by the published definitions, and held against the rules of pprof.

use std::{collections::HashSet, io::Read};

use pprof::protos::{Message as _, Profile};
use prost::Message;

/// `push.v1.PushRequest` of grafana/pyroscope, `api/push/v1/push.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    pub series: Vec<PushSeries>,
}

/// `push.v1.RawProfileSeries`
#[derive(Clone, PartialEq, Message)]
pub struct PushSeries {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Pair>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<PushSample>,
}

/// `types.v1.LabelPair` there, and `parca.profilestore.v1alpha1.Label`.
#[derive(Clone, PartialEq, Message)]
pub struct Pair {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `push.v1.RawSample`
#[derive(Clone, PartialEq, Message)]
pub struct PushSample {
    #[prost(bytes = "vec", tag = "1")]
    pub raw_profile: Vec<u8>,
    #[prost(string, tag = "2")]
    pub id: String,
}

/// `parca.profilestore.v1alpha1.WriteRawRequest` of parca-dev/parca,
/// `proto/parca/profilestore/v1alpha1/profilestore.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct WriteRawRequest {
    #[prost(string, tag = "1")]
    pub tenant: String,
    #[prost(message, repeated, tag = "2")]
    pub series: Vec<WriteSeries>,
    #[prost(bool, tag = "3")]
    pub normalized: bool,
}

/// `parca.profilestore.v1alpha1.RawProfileSeries`
#[derive(Clone, PartialEq, Message)]
pub struct WriteSeries {
    #[prost(message, optional, tag = "1")]
    pub labels: Option<LabelSet>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<WriteSample>,
}

/// `parca.profilestore.v1alpha1.LabelSet`
#[derive(Clone, PartialEq, Message)]
pub struct LabelSet {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Pair>,
}

/// `parca.profilestore.v1alpha1.RawSample`
#[derive(Clone, PartialEq, Message)]
pub struct WriteSample {
    #[prost(bytes = "vec", tag = "1")]
    pub raw_profile: Vec<u8>,
}

/// The value of a label.
pub fn label<'a>(labels: &'a [Pair], name: &str) -> Option<&'a str> {
    let found = labels.iter().find(|label| label.name == name)?;
    Some(&found.value)
}

/// Holds the labels of a series against what engines take.
pub fn check_labels(labels: &[Pair]) {
    let names: Vec<&str> = labels.iter().map(|label| &*label.name).collect();
    assert!(names.is_sorted(), "{names:?}");
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{names:?}");
    assert!(names.len() <= 30, "{names:?}");
    for Pair { name, value } in labels {
        let first = name.chars().next().unwrap();
        assert!(first.is_ascii_alphabetic() || first == '_', "{name}");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{name}");
        assert!(!value.is_empty() && value.len() <= 2048, "{name}: {value}");
    }
    // What is another in each run must not be a series.
    for name in ["pid", "tid", "process", "thread", "cmdline"] {
        assert!(!names.contains(&name), "{names:?}");
    }
    // The server makes these itself.
    let made = ["__profile_type__", "__type__", "__unit__", "__period_type__", "__period_unit__"];
    assert!(!names.iter().any(|name| made.contains(name)), "{names:?}");
    assert!(label(labels, "service_name").is_some() && label(labels, "__name__").is_some());
}

pub fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut text).unwrap();
    text
}

/// A profile that keeps the rules of pprof's `CheckValid`.
pub struct Pprof(pub Profile);

impl Pprof {
    /// Reads and checks one.
    pub fn read(bytes: &[u8]) -> Self {
        let message = gunzip(bytes);
        assert!(message.len() < 4 << 20, "{} bytes", message.len());
        let profile = Profile::decode(&*message).unwrap();
        assert_eq!(profile.string_table[0], "");
        let unique = |ids: Vec<u64>| {
            let all: HashSet<u64> = ids.iter().copied().collect();
            assert!(all.len() == ids.len() && !all.contains(&0));
            all
        };
        let mappings = unique(profile.mapping.iter().map(|one| one.id).collect());
        let locations = unique(profile.location.iter().map(|one| one.id).collect());
        let functions = unique(profile.function.iter().map(|one| one.id).collect());
        assert!(!profile.sample.is_empty() && profile.sample.len() <= 16_000);
        for sample in &profile.sample {
            assert_eq!(sample.value.len(), profile.sample_type.len());
            assert!(!sample.location_id.is_empty() && sample.location_id.len() <= 1000);
            assert!(sample.location_id.iter().all(|id| locations.contains(id)));
        }
        for location in &profile.location {
            assert!(location.mapping_id == 0 || mappings.contains(&location.mapping_id));
            assert!(location.line.iter().all(|line| functions.contains(&line.function_id)));
        }
        Self(profile)
    }

    pub fn text(&self, index: i64) -> &str {
        &self.0.string_table[index as usize]
    }

    /// `type/unit` of each value, and of the period.
    pub fn types(&self) -> (Vec<String>, String) {
        let words = |kind: &pprof::protos::ValueType| {
            format!("{}/{}", self.text(kind.ty), self.text(kind.unit))
        };
        let period = self.0.period_type.as_ref().map(words).unwrap_or_default();
        (self.0.sample_type.iter().map(words).collect(), period)
    }

    /// The name of the innermost function of a location.
    fn function(&self, id: u64) -> &str {
        let location = self.0.location.iter().find(|one| one.id == id).unwrap();
        let Some(line) = location.line.first() else { return "" };
        let function = self.0.function.iter().find(|one| one.id == line.function_id).unwrap();
        self.text(function.name)
    }

    /// Sums of the values of the samples with that function somewhere.
    pub fn with(&self, function: &str) -> Vec<i64> {
        let mut sums = vec![0; self.0.sample_type.len()];
        for sample in &self.0.sample {
            if sample.location_id.iter().any(|id| self.function(*id) == function) {
                sums.iter_mut().zip(&sample.value).for_each(|(sum, value)| *sum += value);
            }
        }
        sums
    }

    /// The function at the leaf of the samples with that function somewhere.
    pub fn leaves_with(&self, function: &str) -> HashSet<&str> {
        let with = |sample: &&pprof::protos::Sample| {
            sample.location_id.iter().any(|id| self.function(*id) == function)
        };
        self.0.sample.iter().filter(with).map(|one| self.function(one.location_id[0])).collect()
    }

    /// Asserts that nothing tells its samples apart, since that would be made into series.
    pub fn assert_bare(&self) {
        assert!(self.0.sample.iter().all(|sample| sample.label.is_empty()));
    }

    /// Asserts that pprof does not look for names where there are some, and can where there are none.
    pub fn check_mappings(&self) {
        for mapping in &self.0.mapping {
            let mut inside = self.0.location.iter().filter(|one| one.mapping_id == mapping.id);
            let named = inside.any(|location| !location.line.is_empty());
            assert_eq!(mapping.has_functions, named, "{}", self.text(mapping.filename));
        }
    }
}
