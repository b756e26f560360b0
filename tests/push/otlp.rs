//! OTLP profiles over gRPC and HTTP, by the definitions of the opentelemetry-proto crate; and Parca
//! over gRPC.

use std::{collections::HashSet, time::Instant};

use opentelemetry_proto::tonic::{
    collector::profiles::v1development::{
        ExportProfilesPartialSuccess, ExportProfilesServiceRequest, ExportProfilesServiceResponse,
    },
    common::v1::any_value::Value,
    profiles::v1development::{Profile, ProfilesDictionary},
};
use prost::Message;

use crate::{
    message::{Pprof, WriteRawRequest, check_labels, gunzip, label},
    pushing::{push, pushing, recording, said},
    pyroscope::check_profiles,
    rpc::RpcServer,
    server::{Reply, Server},
};

/// Holds a request against the rules of the format and of its receivers; gives by service and kind
/// of profile what `function` comes to.
fn check(request: &ExportProfilesServiceRequest, function: &str) -> Vec<(String, String, i64)> {
    let dictionary = request.dictionary.as_ref().unwrap();
    check_dictionary(dictionary);
    let mut found = Vec::new();
    for resource in &request.resource_profiles {
        let attributes = &resource.resource.as_ref().unwrap().attributes;
        let text = |key: &str| {
            let attribute = attributes.iter().find(|one| one.key == key)?;
            match attribute.value.as_ref()?.value.as_ref()? {
                Value::StringValue(text) => Some(text.clone()),
                _ => None,
            }
        };
        // Each is a label of a series.
        assert!(attributes.len() <= 30 && text("process.pid").is_none());
        assert!(attributes.iter().all(|one| !one.key.is_empty()));
        let service = text("service.name").unwrap();
        assert!(text("host.name").is_some());
        for scope in &resource.scope_profiles {
            let name = &scope.scope.as_ref().unwrap().name;
            for profile in &scope.profiles {
                let kind = check_profile(profile, dictionary, name);
                found.push((service.clone(), kind, value_of(profile, dictionary, function)));
            }
        }
    }
    found
}

fn check_dictionary(dictionary: &ProfilesDictionary) {
    // Index 0 of every table is the zero value.
    assert_eq!(dictionary.mapping_table[0], Default::default());
    assert_eq!(dictionary.location_table[0], Default::default());
    assert_eq!(dictionary.function_table[0], Default::default());
    assert_eq!(dictionary.link_table[0], Default::default());
    assert_eq!(dictionary.string_table[0], "");
    assert_eq!(dictionary.attribute_table[0], Default::default());
    assert_eq!(dictionary.stack_table[0], Default::default());
    let strings: HashSet<&String> = dictionary.string_table.iter().collect();
    assert_eq!(strings.len(), dictionary.string_table.len());
    let key = |index: i32| {
        let attribute = &dictionary.attribute_table[index as usize];
        &*dictionary.string_table[attribute.key_strindex as usize]
    };
    let mut identified = 0;
    for mapping in &dictionary.mapping_table[1..] {
        let keys: Vec<&str> = mapping.attribute_indices.iter().map(|one| key(*one)).collect();
        assert!(keys.iter().all(|key| key.starts_with("process.executable.build_id.")));
        identified += keys.len();
    }
    assert!(identified > 0);
    let mut kinds = HashSet::new();
    for location in &dictionary.location_table[1..] {
        assert!((location.mapping_index as usize) < dictionary.mapping_table.len());
        for line in &location.lines {
            assert!(line.function_index > 0);
            assert!((line.function_index as usize) < dictionary.function_table.len());
        }
        for attribute in &location.attribute_indices {
            assert_eq!(key(*attribute), "profile.frame.type");
            let value = &dictionary.attribute_table[*attribute as usize].value;
            if let Some(Value::StringValue(kind)) = &value.as_ref().unwrap().value {
                kinds.insert(kind.clone());
            }
        }
    }
    assert!(kinds.contains("native"), "{kinds:?}");
    for stack in &dictionary.stack_table[1..] {
        assert!(!stack.location_indices.is_empty());
        let known = |index: &i32| (*index as usize) < dictionary.location_table.len();
        assert!(stack.location_indices.iter().all(known));
    }
}

fn check_profile(profile: &Profile, dictionary: &ProfilesDictionary, scope: &str) -> String {
    let words = |kind: &opentelemetry_proto::tonic::profiles::v1development::ValueType| {
        let text = |index: i32| &dictionary.string_table[index as usize];
        format!("{}/{}", text(kind.type_strindex), text(kind.unit_strindex))
    };
    let kind = words(profile.sample_type.as_ref().unwrap());
    let period = profile.period_type.as_ref().map(words).unwrap_or_default();
    match scope {
        "process_cpu" => {
            // All that Pyroscope takes for CPU time.
            assert_eq!((&*kind, &*period), ("samples/count", "cpu/nanoseconds"));
            assert!(profile.period > 0);
        }
        // All that Pyroscope takes for off-CPU time.
        "off_cpu" => {
            assert_eq!((&*kind, &*period, profile.period), ("off_cpu/nanoseconds", "", 0));
        }
        "memory" => assert_eq!(period, "memory/bytes"),
        other => panic!("{other}"),
    }
    assert_eq!(profile.profile_id.len(), 16);
    assert!(profile.time_unix_nano > 0 && profile.duration_nano > 0);
    assert!(!profile.samples.is_empty());
    for sample in &profile.samples {
        assert!(sample.values.len() == 1 && sample.timestamps_unix_nano.is_empty());
        assert!(sample.stack_index > 0);
        assert!((sample.stack_index as usize) < dictionary.stack_table.len());
    }
    kind
}

/// What the samples with that function somewhere come to, times the period of CPU time.
fn value_of(profile: &Profile, dictionary: &ProfilesDictionary, function: &str) -> i64 {
    let has = |stack: i32| {
        let locations = &dictionary.stack_table[stack as usize].location_indices;
        let lines =
            locations.iter().flat_map(|one| &dictionary.location_table[*one as usize].lines);
        let mut names = lines.map(|line| {
            let function = &dictionary.function_table[line.function_index as usize];
            &*dictionary.string_table[function.name_strindex as usize]
        });
        names.any(|name| name == function)
    };
    let samples = profile.samples.iter().filter(|sample| has(sample.stack_index));
    samples.map(|sample| sample.values[0]).sum()
}

/// Asserts that all requests together have what was recorded.
fn check_all(messages: &[Vec<u8>]) {
    let requests: Vec<_> = messages
        .iter()
        .map(|message| ExportProfilesServiceRequest::decode(&**message).unwrap())
        .collect();
    assert!(messages.iter().all(|message| message.len() <= 4 << 20));
    let sum = |function: &str, service: &str, kind: &str| {
        let all = requests.iter().flat_map(|request| check(request, function));
        let mine = all.filter(|(s, k, _)| (&**s, &**k) == (service, kind));
        mine.map(|(.., value)| value).sum::<i64>()
    };
    // 70 % of a second at 499 Hz.
    let heavy = sum("heavy", "cpu", "samples/count");
    assert!(heavy > 170 && heavy < 600, "{heavy}");
    assert_eq!(sum("heavy", "shop", "samples/count"), 0);
    let all = requests.iter().flat_map(|request| check(request, ""));
    assert!(all.into_iter().any(|(_, kind, _)| kind == "off_cpu/nanoseconds"));
    for kind in ["alloc_space/bytes", "inuse_space/bytes"] {
        let leaked = sum("leak_large", "shop", kind);
        assert!(leaked > 40_000_000 && leaked < 80_000_000, "{kind}: {leaked}");
    }
}

#[test]
fn otlp_over_http() {
    if recording().is_none() {
        return;
    }
    let server = Server::start(|_, _| Reply::ok());
    push(&server.url("otlp+http")).unwrap();
    let mut messages = Vec::new();
    for request in server.requests() {
        assert_eq!((&*request.method, &*request.path), ("POST", "/v1development/profiles"));
        assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
        assert_eq!(request.header("content-encoding"), Some("gzip"));
        messages.push(gunzip(&request.body));
    }
    check_all(&messages);
}

#[test]
fn otlp_over_grpc() {
    if recording().is_none() {
        return;
    }
    let server = RpcServer::start(None, |_| Ok(Vec::new()));
    push(&format!("otlp+grpc://127.0.0.1:{}", server.port)).unwrap();
    for call in server.calls() {
        let path = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";
        assert_eq!(call.path, path);
        assert!(call.gzipped);
    }
    check_all(&server.messages());
}

#[test]
fn what_was_taken_in_part_is_said() {
    if recording().is_none() {
        return;
    }
    let error_message = "too old".to_owned();
    let partial = ExportProfilesPartialSuccess { rejected_profiles: 1, error_message };
    let answer = ExportProfilesServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let http = answer.clone();
    let server = Server::start(move |_, _| Reply::Status(200, vec![], http.clone()));
    let rpc = RpcServer::start(None, move |_| Ok(answer.clone()));
    for to in [server.url("otlp+http"), format!("otlp+grpc://127.0.0.1:{}", rpc.port)] {
        let said = push(&to).unwrap();
        assert!(said.contains("too old") && said.contains("were refused"), "{said}");
    }
}

#[test]
fn parca_over_grpc() {
    if recording().is_none() {
        return;
    }
    let server = RpcServer::start(None, |_| Ok(Vec::new()));
    push(&format!("parca+grpc://127.0.0.1:{}", server.port)).unwrap();
    let mut profiles = Vec::new();
    for call in server.calls() {
        assert_eq!(call.path, "/parca.profilestore.v1alpha1.ProfileStoreService/WriteRaw");
        let request = WriteRawRequest::decode(&*call.message).unwrap();
        assert!(request.normalized && request.tenant.is_empty());
        for series in request.series {
            let labels = series.labels.unwrap().labels;
            check_labels(&labels);
            assert!(label(&labels, "__name__").is_some());
            for sample in series.samples {
                let profile = Pprof::read(&sample.raw_profile);
                profile.assert_bare();
                profiles.push((labels.clone(), profile));
            }
        }
    }
    check_profiles(&profiles);
}

#[test]
fn a_grpc_server_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    if recording().is_none() {
        return;
    }
    // google.rpc.Status { details: [RetryInfo { retry_delay: 2 s }] }, by hand.
    let info = [0x0a, 2, 0x08, 2];
    let name = b"type.googleapis.com/google.rpc.RetryInfo";
    let mut any = vec![0x0a, name.len() as u8];
    any.extend_from_slice(name);
    any.extend_from_slice(&[0x12, info.len() as u8]);
    any.extend_from_slice(&info);
    let mut details = vec![0x1a, any.len() as u8];
    details.extend_from_slice(&any);
    for (status, details, wait) in [(14, vec![], 0), (8, details, 2)] {
        let busy = details.clone();
        let server = RpcServer::start(None, move |number| match number {
            0 => Err((status, "busy", busy.clone())),
            _ => Ok(Vec::new()),
        });
        let start = Instant::now();
        push(&format!("otlp+grpc://127.0.0.1:{}", server.port)).unwrap();
        let messages = server.messages();
        assert!(messages.len() >= 2 && messages[0] == messages[1]);
        assert!(start.elapsed().as_secs() >= wait, "{status}");
    }
    // Unauthenticated, unimplemented, invalid.
    for status in [16, 12, 3] {
        let server = RpcServer::start(None, move |_| Err((status, "no such thing", vec![])));
        let to = format!("parca+grpc://127.0.0.1:{}", server.port);
        let output = pushing(&to).unwrap().output().unwrap();
        assert!(!output.status.success() && said(&output).contains("no such thing"));
        assert_eq!(server.calls().len(), 1, "{status}");
    }
}

#[test]
fn credentials_go_with_a_call() {
    if recording().is_none() {
        return;
    }
    let server = RpcServer::start(None, |_| Ok(Vec::new()));
    let mut command = pushing(&format!("otlp+grpc://127.0.0.1:{}", server.port)).unwrap();
    command
        .env("RPROF_PUSH_AUTH", "127.0.0.1 bearer hunter2-and-more\n127.0.0.1 header X-Scope: a");
    let output = command.arg("-vv").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(!said(&output).contains("hunter2"), "{}", said(&output));
    let call = &server.calls()[0];
    let header = |name: &str| call.headers.iter().find(|(known, _)| known == name).unwrap();
    assert_eq!(header("authorization").1, "Bearer hunter2-and-more");
    assert_eq!(header("x-scope").1, "a");
}
