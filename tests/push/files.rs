//! pprof of the whole machine: by POST, into a folder, into a bucket.

use std::{fs, path::Path};

use crate::{
    message::Pprof,
    pushing::{push, pushing, recording, said},
    server::{Reply, Server},
    workload::{Workshop, run},
};

/// All files below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Asserts that samples are told apart by what `export` tells them apart by.
fn check_whole(profile: &Pprof) {
    let label = |sample: &pprof::protos::Sample, key: &str| {
        sample.label.iter().any(|label| profile.text(label.key) == key)
    };
    assert!(profile.0.sample.iter().all(|sample| label(sample, "pid") && label(sample, "comm")));
}

#[test]
fn a_post_has_the_whole_machine() {
    if recording().is_none() {
        return;
    }
    let server = Server::start(|_, _| Reply::ok());
    push(&format!("{}/in/here?team=a", server.url("pprof+http"))).unwrap();
    let requests = server.requests();
    assert!(!requests.is_empty());
    for request in requests {
        assert_eq!((&*request.method, &*request.path), ("POST", "/in/here?team=a"));
        check_whole(&Pprof::read(&request.body));
    }
}

#[test]
fn a_folder_has_a_file_for_each_source_and_window() {
    if recording().is_none() {
        return;
    }
    let shop = Workshop::new();
    let folder = shop.path("out");
    fs::create_dir(&folder).unwrap();
    push(&format!("file://{}", folder.display())).unwrap();
    let found = files(&folder);
    for source in ["process_cpu", "memory"] {
        let here = |path: &&std::path::PathBuf| {
            path.parent().unwrap().ends_with(source) && path.to_str().unwrap().ends_with("Z.pb.gz")
        };
        assert!(found.iter().any(|path| here(&path)), "{found:?}");
    }
    for path in &found {
        check_whole(&Pprof::read(&fs::read(path).unwrap()));
    }
    // Sent again, they are the same files.
    push(&format!("file://{}", folder.display())).unwrap();
    assert_eq!(files(&folder).len(), found.len());
    // One that is not there is not made: it may be a disk that is yet to come.
    let output = pushing("file:///nonexistent/rprof").unwrap().output().unwrap();
    assert!(!output.status.success() && said(&output).contains("/nonexistent/rprof"));
}

#[test]
fn a_bucket_gets_signed_objects() {
    if recording().is_none() {
        return;
    }
    let server = Server::start(|_, _| Reply::ok());
    let mut command = pushing("s3://profiles/fleet/a").unwrap();
    command
        .env("AWS_ENDPOINT_URL", server.url("http"))
        .env("AWS_REGION", "eu-north-1")
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "hunter2-and-more");
    run(&mut command);
    let requests = server.requests();
    assert!(!requests.is_empty());
    for request in requests {
        let (path, query) = request.path.split_once('?').unwrap();
        assert_eq!(request.method, "PUT");
        assert!(path.starts_with("/profiles/fleet/a/") && path.ends_with(".pb.gz"), "{path}");
        // https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
        assert!(query.contains("X-Amz-Algorithm=AWS4-HMAC-SHA256"), "{query}");
        assert!(query.contains("X-Amz-Credential=AKIDEXAMPLE%2F"), "{query}");
        assert!(query.contains("eu-north-1%2Fs3%2Faws4_request"), "{query}");
        assert!(query.contains("X-Amz-Signature=") && !query.contains("hunter2"), "{query}");
        check_whole(&Pprof::read(&request.body));
    }
    // Half of a credential is a mistake, and told before anything is sent.
    let mut command = pushing("s3://profiles").unwrap();
    let output = command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").output().unwrap();
    assert!(said(&output).contains("AWS_SECRET_ACCESS_KEY"), "{}", said(&output));
}
