//! Placement that is twemproxy's, shown by twemproxy itself: a real nutcracker and Ringway in front of the same servers
//! must find each other's keys. Without `nutcracker` on PATH (Debian package of that name) a visible note is printed and
//! only the ring crate's golden vectors speak.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use ringway_proxy::settings::NodeSpec;
use ringway_ring::{KeyHash, Placement};

use crate::support::harness::patient;
use crate::support::ports::free_port;
use crate::support::program::{Files, stdout};
use crate::support::random::Random;
use crate::support::{Harness, RawClient, RedisServer, wait_for};

struct Nutcracker {
    child: Child,
    port: u16,
    files: Files,
}

impl Drop for Nutcracker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Nutcracker {
    /// `None`, with a note, where it is not installed.
    fn start(servers: &[(RedisServer, &str, u32)], distribution: &str, hash: &str) -> Option<Self> {
        let lines: Vec<String> = servers
            .iter()
            .map(|(server, name, weight)| format!("{}:{weight} {name}", server.address()))
            .collect();
        Self::start_with(&lines, distribution, hash)
    }

    /// As [`Nutcracker::start`], with the lines of the servers as they stand.
    fn start_with(servers: &[String], distribution: &str, hash: &str) -> Option<Self> {
        let (port, stats) = (free_port(), free_port());
        let lines: String = servers.iter().map(|line| format!("   - {line}\n")).collect();
        let text = format!(
            "pool:\n  listen: 127.0.0.1:{port}\n  hash: {hash}\n  hash_tag: \"{{}}\"\n  distribution: {distribution}\n  redis: true\n  servers:\n{lines}"
        );
        let files = Files::new(&[("nutcracker.yml", &text)]);
        let mut command = Command::new("nutcracker");
        command.args(["-c", &files.arg("nutcracker.yml"), "-o", &files.arg("log"), "-p", &files.arg("pid")]);
        command
            .args(["-s", &stats.to_string(), "-a", "127.0.0.1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let Ok(child) = command.spawn() else {
            eprintln!(
                "NOTE: nutcracker is not on PATH, so its placement was compared by golden vectors only"
            );
            return None;
        };
        let started = Self { child, port, files };
        wait_for("nutcracker", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(started)
    }

    fn client(&self) -> RawClient {
        RawClient::connect(([127, 0, 0, 1], self.port).into())
    }
}

fn keys(random: &mut Random) -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> =
        (0..700).map(|n| format!("user:{n}:{:x}", random.next()).into_bytes()).collect();
    keys.extend((0..100).map(|n| format!("cart:{{user:{n}}}:{n}").into_bytes()));
    keys.extend((0..100).map(|n| format!("{{}}:{n}").into_bytes()));
    for _ in 0..100 {
        let len = 1 + random.below(40);
        keys.push(random.bytes(len));
    }
    keys
}

fn find_each_others_keys(placement: Placement, distribution: &str, hash: KeyHash, weights: &[u32]) {
    let names = ["alpha", "beta", "gamma", "a-longer-name", "b"];
    let servers: Vec<(RedisServer, &str, u32)> =
        weights.iter().zip(names).map(|(weight, name)| (RedisServer::start(), name, *weight)).collect();
    let Some(nutcracker) = Nutcracker::start(&servers, distribution, &hash.to_string()) else { return };
    let node = |(server, name, weight): &(RedisServer, &str, u32)| NodeSpec {
        weight: *weight,
        ..NodeSpec::new(*name, server.address())
    };
    let mut settings = patient(servers.iter().map(node).collect());
    settings.topology.ring.placement = placement;
    let harness = Harness::start(settings);
    names[..weights.len()].iter().for_each(|name| harness.wait_usable(name));

    let (mut old, mut new) = (nutcracker.client(), harness.client());
    let mut random = Random::new(weights.len() as u64);
    for (at, key) in keys(&mut random).iter().enumerate() {
        let (writer, reader) = if at % 2 == 0 { (&mut old, &mut new) } else { (&mut new, &mut old) };
        let value = format!("value {at}").into_bytes();
        assert_eq!(writer.call(&[b"SET".as_slice(), key, &value]), b"+OK\r\n");
        let read = reader.call(&[b"GET".as_slice(), key]);
        assert_eq!(
            String::from_utf8_lossy(&read),
            format!("${}\r\nvalue {at}\r\n", value.len()),
            "{:?}",
            String::from_utf8_lossy(key)
        );
    }
    // every key stands once: a second copy would mean that somebody looked elsewhere
    let held: usize = servers.iter().map(|(server, _, _)| server.dbsize()).sum();
    assert_eq!(held, 1000);
    assert!(servers.iter().all(|(server, _, _)| server.dbsize() > 0), "every server took part");

    // the imported file places as the running pool does
    let yaml = stdout(&["import", &nutcracker.files.arg("nutcracker.yml")]);
    nutcracker.files.write("ringway.yaml", &yaml);
    for key in ["user:1", "cart:{user:7}:x", "{}:1"] {
        let line = stdout(&["route", "--config", &nutcracker.files.arg("ringway.yaml"), key]);
        assert_eq!(line.split('\t').nth(3), Some(harness.owner(key).as_str()), "{line}");
    }
}

#[test]
fn ketama_finds_the_keys_of_nutcracker_and_the_other_way_round() {
    find_each_others_keys(Placement::Ketama(KeyHash::Fnv1a64), "ketama", KeyHash::Fnv1a64, &[1, 1, 1]);
}

#[test]
fn ketama_with_weights_and_another_hash() {
    find_each_others_keys(Placement::Ketama(KeyHash::Murmur), "ketama", KeyHash::Murmur, &[1, 3, 2, 1, 5]);
}

#[test]
fn servers_without_names_on_unix_sockets_keep_their_keys() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = |n: usize| folder.path().join(format!("{n}.sock")).display().to_string();
    let servers: Vec<RedisServer> =
        (0..3).map(|n| RedisServer::start_with(&["--unixsocket", &path(n)])).collect();
    let lines: Vec<String> = (0..3).map(|n| format!("{}:{}", path(n), n + 1)).collect();
    let Some(nutcracker) = Nutcracker::start_with(&lines, "ketama", "md5") else { return };
    let (mut client, mut random) = (nutcracker.client(), Random::new(7));
    let keys: Vec<String> = (0..300).map(|n| format!("user:{n}:{:x}", random.next())).collect();
    keys.iter().for_each(|key| assert_eq!(client.text(&["SET", key, "v"]), "+OK\r\n"));
    nutcracker.files.write("ringway.yaml", &stdout(&["import", &nutcracker.files.arg("nutcracker.yml")]));
    let file = nutcracker.files.arg("ringway.yaml");
    let words: Vec<&str> =
        ["route", "--config", &file].into_iter().chain(keys.iter().map(String::as_str)).collect();
    for line in stdout(&words).lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let owner = (0..3).find(|n| path(*n) == fields[4]).unwrap_or_else(|| panic!("{line}"));
        assert!(servers[owner].call::<bool>(&["EXISTS", fields[0]]), "{line}");
    }
    assert!(servers.iter().all(|server| server.dbsize() > 0), "every server took part");
}

#[test]
fn modula_finds_the_keys_of_nutcracker_and_the_other_way_round() {
    find_each_others_keys(Placement::Modula(KeyHash::Crc32a), "modula", KeyHash::Crc32a, &[1, 2, 1, 1]);
}
