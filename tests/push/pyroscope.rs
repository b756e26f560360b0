//! Pyroscope, Parca by its gateway, and Coroot: pprof by series.

use base64::{Engine, prelude::BASE64_STANDARD};
use prost::Message;
use serde_json::Value;

use crate::{
    message::{Pair, Pprof, PushRequest, check_labels, label},
    pushing::{push, recording},
    server::{Reply, Server},
};

/// What the two services have, whatever the protocol: CPU time of one, memory of the other.
pub fn check_profiles(profiles: &[(Vec<Pair>, Pprof)]) {
    let of = |name: &str, service: &str| {
        let mine = profiles.iter().filter(|(labels, _)| {
            label(labels, "__name__") == Some(name)
                && label(labels, "service_name") == Some(service)
        });
        mine.map(|(_, profile)| profile).collect::<Vec<_>>()
    };
    let sum = |found: &[&Pprof], function: &str| {
        let mut sums = found.iter().map(|one| one.with(function));
        let first = sums.next().unwrap();
        sums.fold(first, |sum, one| sum.iter().zip(one).map(|(a, b)| a + b).collect())
    };
    let cpu = of("process_cpu", "cpu");
    assert!(!cpu.is_empty());
    for profile in &cpu {
        let (values, period) = profile.types();
        assert_eq!(
            (&*values.join(" "), &*period),
            ("samples/count cpu/nanoseconds", "cpu/nanoseconds")
        );
        assert!(profile.0.period > 0 && profile.0.duration_nanos > 0);
        // The leaf comes first: what outer() calls is never above it.
        assert!(!profile.leaves_with("heavy").contains("main"));
        profile.check_mappings();
    }
    let heavy = sum(&cpu, "heavy");
    // 70 % of a second.
    assert!(heavy[0] > 0 && heavy[1] > 350_000_000 && heavy[1] < 1_200_000_000, "{heavy:?}");
    assert!(of("process_cpu", "shop").iter().all(|one| one.with("heavy")[0] == 0));
    // The shell waits for the first of the two.
    let waits = profiles.iter().filter(|(labels, _)| label(labels, "__name__") == Some("off_cpu"));
    let waits: Vec<_> = waits.map(|(_, profile)| profile.types()).collect();
    assert!(!waits.is_empty());
    for (values, period) in waits {
        assert_eq!((&*values.join(" "), &*period), ("waits/count off_cpu/nanoseconds", "/"));
    }
    let memory = of("memory", "shop");
    for profile in &memory {
        let (values, period) = profile.types();
        let expected =
            "alloc_objects/count alloc_space/bytes inuse_objects/count inuse_space/bytes";
        assert_eq!((&*values.join(" "), &*period), (expected, "space/bytes"));
    }
    let leaked = sum(&memory, "leak_large");
    // 60 MB in blocks of 1 MB.
    assert!(leaked[1] > 40_000_000 && leaked[1] < 80_000_000, "{leaked:?}");
    assert!(leaked[3] > 40_000_000, "{leaked:?}");
}

#[test]
fn pyroscope_gets_series_that_it_knows() {
    if recording().is_none() {
        return;
    }
    let server = Server::start(|_, _| Reply::ok());
    push(&format!("{}/?tenant=team-a", server.url("pyroscope+http"))).unwrap();
    let mut profiles = Vec::new();
    let mut ids = Vec::new();
    for request in server.requests() {
        assert_eq!((&*request.method, &*request.path), ("POST", "/push.v1.PusherService/Push"));
        assert_eq!(request.header("content-type"), Some("application/proto"));
        assert_eq!(request.header("x-scope-orgid"), Some("team-a"));
        for series in PushRequest::decode(&*request.body).unwrap().series {
            check_labels(&series.labels);
            assert_eq!(label(&series.labels, "__delta__"), Some("false"));
            assert_eq!(label(&series.labels, "pyroscope_spy"), Some("rprof"));
            for sample in series.samples {
                let profile = Pprof::read(&sample.raw_profile);
                profile.assert_bare();
                ids.push(sample.id);
                profiles.push((series.labels.clone(), profile));
            }
        }
    }
    check_profiles(&profiles);
    for id in &ids {
        let parts: Vec<usize> = id.split('-').map(str::len).collect();
        assert!(parts == [8, 4, 4, 4, 12] && id.as_bytes()[14] == b'8', "{id}");
    }
    // The same again, so that what comes twice is known for it.
    let again = Server::start(|_, _| Reply::ok());
    push(&again.url("pyroscope+http")).unwrap();
    let mut second = Vec::new();
    for request in again.requests() {
        assert_eq!(request.header("x-scope-orgid"), None);
        let series = PushRequest::decode(&*request.body).unwrap().series;
        second.extend(series.into_iter().flat_map(|one| one.samples).map(|one| one.id));
    }
    ids.sort();
    second.sort();
    assert_eq!(ids, second);
    ids.dedup();
    assert_eq!(ids.len(), second.len());
}

#[test]
fn parcas_gateway_gets_json() {
    if recording().is_none() {
        return;
    }
    let server = Server::start(|_, _| Reply::ok());
    push(&server.url("parca+http")).unwrap();
    let mut profiles = Vec::new();
    for request in server.requests() {
        assert_eq!(request.path, "/api/profiles/writeraw");
        assert_eq!(request.header("content-type"), Some("application/json"));
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body["normalized"], true);
        for series in body["series"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let labels = series["labels"]["labels"].as_array().unwrap().iter();
            let labels: Vec<Pair> = labels
                .map(|one| Pair { name: text(&one["name"]), value: text(&one["value"]) })
                .collect();
            check_labels(&labels);
            for sample in series["samples"].as_array().unwrap() {
                let raw = BASE64_STANDARD.decode(text(&sample["rawProfile"])).unwrap();
                let profile = Pprof::read(&raw);
                profile.assert_bare();
                profiles.push((labels.clone(), profile));
            }
        }
    }
    check_profiles(&profiles);
}

#[test]
fn coroot_is_told_the_end_and_its_labels_by_the_query() {
    if recording().is_none() {
        return;
    }
    let server = Server::start(|_, _| Reply::ok());
    push(&server.url("coroot+http")).unwrap();
    let info = std::process::Command::new(env!("CARGO_BIN_EXE_rprof"))
        .args(["export", "-f", "json"])
        .arg(recording().unwrap())
        .output()
        .unwrap();
    let info: Value = serde_json::from_slice(&info.stdout).unwrap();
    let start = info["info"]["start"].as_i64().unwrap();
    let end = start + info["info"]["duration"].as_i64().unwrap();
    let mut services = Vec::new();
    for request in server.requests() {
        let url = url::Url::parse(&format!("http://h{}", request.path)).unwrap();
        assert_eq!(url.path(), "/v1/profiles");
        let (_, service) = url.query_pairs().find(|(name, _)| name == "service.name").unwrap();
        services.push(service.into_owned());
        assert!(url.query_pairs().all(|(name, _)| name != "pid"));
        let profile = Pprof::read(&request.body).0;
        // It takes the start for the time less the duration.
        let begin = profile.time_nanos - profile.duration_nanos;
        assert!(begin >= start && profile.time_nanos <= end, "{begin} to {end}");
    }
    assert!(services.contains(&"shop".to_owned()) && services.contains(&"cpu".to_owned()));
}
