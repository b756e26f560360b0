//! Servers with certificates, right and wrong.

use std::{fs, path::PathBuf, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    crypto::ring::default_provider,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::{
    pushing::{pushing, recording, said},
    rpc::RpcServer,
    server::Server,
    workload::Workshop,
};

/// An authority's certificate in a file, and what a server of 127.0.0.1 needs that it signed.
fn authority(shop: &Workshop, name: &str) -> (PathBuf, Arc<ServerConfig>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let file = shop.path(name);
    fs::write(&file, certificate.pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let own = KeyPair::generate().unwrap();
    let signed = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let signed = signed.signed_by(&own, &issuer).unwrap();
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.der().clone()], private)
        .unwrap();
    (file, Arc::new(config))
}

#[test]
fn a_server_is_trusted_if_its_certificate_is() {
    if recording().is_none() {
        return;
    }
    let shop = Workshop::new();
    let (ours, config) = authority(&shop, "ours.pem");
    let (other, _) = authority(&shop, "other.pem");
    let server = Server::tls(config.clone());
    let mut alpn = (*config).clone();
    alpn.alpn_protocols = vec![b"h2".to_vec()];
    let rpc = RpcServer::start(Some(Arc::new(alpn)), |_| Ok(Vec::new()));
    let grpc = format!("otlp+grpcs://127.0.0.1:{}", rpc.port);
    for to in [server.url("pyroscope+https"), server.url("otlp+https"), grpc] {
        // Mozilla's, and another authority's, do not vouch for it.
        for ca in [None, Some(&other)] {
            let mut command = pushing(&to).unwrap();
            let output = command.args(ca.iter().flat_map(|ca| ["--push-ca", ca.to_str().unwrap()]));
            let output = output.output().unwrap();
            assert!(!output.status.success(), "{to}");
            // That is said at once: waiting makes no certificate right.
            assert!(said(&output).contains("certificate"), "{}", said(&output));
            assert!(!said(&output).contains("attempts"), "{}", said(&output));
        }
        assert!(server.requests().is_empty() || !to.starts_with("pyroscope"));
        let mut command = pushing(&to).unwrap();
        let output = command.arg("--push-ca").arg(&ours).output().unwrap();
        assert!(output.status.success(), "{to}: {}", said(&output));
    }
    assert!(!server.requests().is_empty() && !rpc.messages().is_empty());
}
