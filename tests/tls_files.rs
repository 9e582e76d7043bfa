//! The files of TLS: certificates that are renewed, those that expire, and what is wrong with others; the control plane over
//! TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use rustix::process::Signal;
use serde_json::json;
use tokio_rustls::rustls::ClientConfig;

use crate::support::ports::free_port;
use crate::support::program::{self, Files, Program};
use crate::support::raw_client::PATIENCE;
use crate::support::tls::{Authority, client};
use crate::support::{RawClient, RedisServer, wait_for};

/// A configuration over these files, in a folder of its own.
fn configuration(authority: &Authority, files: &[(&str, &str)], text: &str) -> Files {
    let pair = authority.issue(&["localhost"]);
    let ca = authority.pem();
    let mut all = vec![("server.pem", pair.certificate.as_str()), ("server.key", &pair.key), ("ca.pem", &ca)];
    all.extend_from_slice(files);
    all.push(("ringway.yaml", text));
    Files::new(&all)
}

#[test]
fn certificates_are_renewed_by_a_reload_and_bad_ones_are_refused() {
    let (first, second) = (Authority::new(), Authority::new());
    let node = RedisServer::start();
    let text = format!(
        "listen: 127.0.0.1:0\nthreads: 1\nadmin: {{listen: '127.0.0.1:0'}}\n\
         tls: {{listen: '127.0.0.1:0', certificate: server.pem, key: server.key}}\n\
         nodes: [{{name: cache-1, address: '{}'}}]\n",
        node.address()
    );
    let files = configuration(&first, &[], &text);
    let program = Program::serve(&files.path("ringway.yaml"));
    let text = program.text();
    let line = text.lines().find(|line| line.ends_with("(TLS)")).expect("it is told");
    let address: SocketAddr = line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("one");
    let [old, new] = [&first, &second].map(|authority| authority.client(None, false));
    let answers = |config: &Arc<ClientConfig>| {
        let mut client = client(address, config);
        client.try_call(&["ECHO", "here"], PATIENCE).is_ok()
    };
    let mut stays = client(address, &old);
    assert_eq!(stays.text(&["ECHO", "here"]), "$4\r\nhere\r\n");
    assert!(answers(&old) && !answers(&new));
    // a key of another certificate: everything stays
    let pair = second.issue(&["localhost"]);
    files.write("server.pem", &pair.certificate);
    program.signal(Signal::HUP);
    program.wait_logged("server.key does not belong to the certificate");
    assert!(answers(&old) && !answers(&new));
    files.write("server.key", &pair.key);
    program.signal(Signal::HUP);
    wait_for("the new certificate", || answers(&new));
    assert!(!answers(&old));
    assert_eq!(stays.text(&["ECHO", "here"]), "$4\r\nhere\r\n");
}

#[test]
fn the_control_plane_speaks_tls_when_it_is_told_to() {
    let (authority, second) = (Authority::new(), Authority::new());
    let node = RedisServer::start();
    let text = format!(
        "listen: 127.0.0.1:0\nthreads: 1\n\
         admin: {{listen: '127.0.0.1:0', metrics_listen: '127.0.0.1:0', token: secret, \
                  tls: {{certificate: server.pem, key: server.key}}}}\n\
         nodes: [{{name: cache-1, address: '{}'}}]\n",
        node.address()
    );
    let files = configuration(&authority, &[], &text);
    let program = Program::serve(&files.path("ringway.yaml"));
    let told = program.text();
    let address = told.lines().find_map(|line| line.strip_prefix("admin    https://")).expect("it is told");
    let address: SocketAddr = address.parse().expect("an address");
    let ask = |config: &Arc<ClientConfig>, token: &str| {
        let mut client = client(address, config);
        let head = format!("Host: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
        client.try_send(format!("GET /v1/topology HTTP/1.1\r\n{head}").as_bytes());
        String::from_utf8_lossy(&client.rest()).into_owned()
    };
    let [old, new] = [&authority, &second].map(|authority| authority.client(None, false));
    let answer = ask(&old, "secret");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("cache-1"), "{answer}");
    assert!(ask(&old, "wrong").starts_with("HTTP/1.1 401 "));
    assert!(ask(&new, "secret").is_empty());
    let mut plain = RawClient::connect(address);
    plain.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(!plain.rest().starts_with(b"HTTP"));
    assert_eq!(program.metrics().get("/healthz").status, 200);
    let pair = second.issue(&["localhost"]);
    files.write("server.pem", &pair.certificate);
    files.write("server.key", &pair.key);
    program.signal(Signal::HUP);
    wait_for("the new certificate", || ask(&new, "secret").starts_with("HTTP/1.1 200 OK"));
}

#[test]
fn what_is_wrong_with_files_is_told_with_its_line() {
    let (authority, other) = (Authority::new(), Authority::new());
    let pair = other.issue(&["localhost"]);
    let head = "nodes: [{name: a, address: 'rediss://127.0.0.1:1'}]\n";
    let more = [("other.key", pair.key.as_str()), ("empty.pem", "nothing\n")];
    for (text, told) in [
        ("tls: {certificate: server.pem}", "tls.key is missing"),
        ("tls: {certificate: none.pem, key: server.key}", "tls.certificate: none.pem cannot be read"),
        ("tls: {certificate: empty.pem, key: server.key}", "holds no certificate in PEM form"),
        ("tls: {certificate: server.pem, key: ca.pem}", "tls.key: ca.pem holds no private key"),
        ("tls: {certificate: server.pem, key: other.key}", "other.key does not belong to the certificate"),
        ("tls: {certificate: server.pem, key: server.key, client_ca: empty.pem}", "tls.client_ca: empty.pem"),
        ("tls: {certificate: server.pem, key: server.key, listen: '127.0.0.1:6380'}", "use another port"),
        ("tls: {certifcate: server.pem}", "nearest known field is 'certificate'"),
        ("admin: {tls: {certificate: server.pem}}", "admin.tls.key is missing"),
        (
            "admin: {tls: {certificate: server.pem, key: other.key}}",
            "admin.tls.key: other.key does not belong",
        ),
        ("node_tls: {ca: empty.pem}", "node_tls.ca: empty.pem holds no certificate"),
        ("node_tls: {ca: ca.pem, key: server.key}", "stands without node_tls.certificate"),
        ("node_tls: {ca: ca.pem, verify: none}", "'none' is not known; the nearest value is 'name'"),
        ("node_tls: {ca: ca.pem, server_name: 'a b'}", "is no name that a certificate could bear"),
        ("node_tls: {ca: .}", "is no file"),
    ] {
        let files = configuration(&authority, &more, &format!("{head}{text}\n"));
        let path = files.path("ringway.yaml").display().to_string();
        let output = program::run(&["check", "--config", &path]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}: {said}");
        assert!(said.contains(&format!("{path}:2: ")) && said.contains(told), "{text}: {said}");
        let contents = pair.key.lines().nth(1).expect("a line of the key");
        assert!(!said.contains(contents), "{said}");
    }
    let good = "tls: {certificate: server.pem, key: server.key, client_ca: ca.pem}\n\
        node_tls: {ca: ca.pem, certificate: server.pem, key: server.key, verify: chain, server_name: a.example}\n";
    let files = configuration(&authority, &more, &format!("{head}{good}"));
    program::stdout(&["check", "--config", &files.path("ringway.yaml").display().to_string()]);
}

#[test]
fn certificates_that_expire_are_told() {
    let authority = Authority::new();
    let expired = authority.issue_until(&["localhost"], 2020);
    let text = "nodes: [{name: a, address: '127.0.0.1:1'}]\n\
        tls: {listen: '127.0.0.1:0', certificate: old.pem, key: old.key}\n\
        admin: {listen: '127.0.0.1:0'}\nlisten: 127.0.0.1:0\nthreads: 1\n";
    let more = [("old.pem", expired.certificate.as_str()), ("old.key", &expired.key)];
    let files = configuration(&authority, &more, text);
    let path = files.path("ringway.yaml").display().to_string();
    let output = program::run(&["check", "--config", &path]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("warning: tls.certificate expired "), "{said}");
    // it serves: those who do not look at the certificate, or come without TLS, have nothing of a proxy that does not
    let program = Program::serve(&files.path("ringway.yaml"));
    program.wait_logged("tls.certificate expired ");
    let expiry = "ringway_tls_certificate_expiry_timestamp_seconds 1577836800\n";
    let metrics = program.http().get("/metrics").text;
    assert!(metrics.contains(expiry), "{metrics}");
    files.write("old.pem", &authority.issue(&["localhost"]).certificate);
    program.signal(Signal::HUP);
    program.wait_logged("old.key does not belong to the certificate");
    assert!(program.http().get("/metrics").text.contains(expiry));
}

#[test]
fn a_reload_that_takes_a_node_off_tls_says_so_and_kept_nodes_over_tls_are_reached() {
    let authority = Authority::new();
    let port = free_port();
    let options = authority.server_options(port, &["127.0.0.1"]);
    let node = RedisServer::start_with(&options.iter().map(String::as_str).collect::<Vec<_>>());
    let plain = format!(
        "nodes: [{{name: cache-1, address: '{}'}}]\nlisten: 127.0.0.1:0\nthreads: 1\n\
         admin: {{listen: '127.0.0.1:0'}}\ntopology_file: topology.json\n",
        node.address()
    );
    let files = configuration(&authority, &[], &format!("{plain}node_tls: {{ca: ca.pem}}\n"));
    let mut program = Program::serve(&files.path("ringway.yaml"));
    let change = json!({"address": format!("rediss://127.0.0.1:{port}")});
    let report = program.http().json("PATCH", "/v1/nodes/cache-1", &change).ok();
    assert_eq!(report["moved_percent"], 0.0);
    assert_eq!(program.client().text(&["SET", "k", "v"]), "+OK\r\n");
    // the kept topology comes first, so it is reached over TLS after a restart
    program.signal(Signal::TERM);
    program.wait();
    program = Program::serve(&files.path("ringway.yaml"));
    assert_eq!(program.client().text(&["GET", "k"]), "$1\r\nv\r\n");
    // and by whom the system trusts when nothing is written about it, who is nobody here
    program.signal(Signal::TERM);
    program.wait();
    files.write("ringway.yaml", &plain);
    let mut command = program::ringway(&["serve", "--config", &files.arg("ringway.yaml")]);
    command.env("SSL_CERT_FILE", files.path("server.pem"));
    program = Program::watch(command, true);
    let told = program.client().text(&["GET", "k"]);
    assert!(told.starts_with("-NOTSENT") && told.contains("authorities of the system"), "{told}");
    program.signal(Signal::HUP);
    program.wait_logged("the node is reached without TLS from now on");
    wait_for("the plain node", || program.client().text(&["GET", "k"]) == "$1\r\nv\r\n");
}
