//! A real sentinel, and a scripted one that says what it is told to say.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::frame::{bulk, bulk_array};
use super::harness::wait_for;
use super::ports::free_port;
use super::raw_client::RawClient;
use super::redis_server::program;
use super::{Act, FakeRedis, RedisServer, folder};

/// A sentinel's process, killed when dropped. One alone may fail a master over.
pub(crate) struct Sentinel {
    child: Child,
    port: u16,
    _dir: TempDir,
}

impl Sentinel {
    /// Watches over these masters, and waits until it knows a replica of each.
    pub(crate) fn start(masters: &[(&str, &RedisServer)]) -> Self {
        let dir = folder();
        let port = free_port();
        let mut lines = vec![format!("port {port}"), "bind 127.0.0.1".into(), "protected-mode no".into()];
        for (name, server) in masters {
            let address = server.address().replace(':', " ");
            lines.push(format!("sentinel monitor {name} {address} 1"));
            lines.push(format!("sentinel down-after-milliseconds {name} 400"));
            lines.push(format!("sentinel failover-timeout {name} 3000"));
        }
        let file = dir.path().join("sentinel.conf");
        std::fs::write(&file, lines.join("\n") + "\n").expect("a file");
        let log = File::create(dir.path().join("log")).expect("a log file");
        let mut command = Command::new(program());
        command.arg(&file).arg("--sentinel").current_dir(dir.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        let child = command.spawn().expect("a sentinel starts");
        let sentinel = Self { child, port, _dir: dir };
        wait_for("the sentinel to know the replicas", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok_and(|stream| {
                let mut client = RawClient::from(stream);
                masters.iter().all(|(name, _)| {
                    client.text(&["SENTINEL", "MASTER", name]).contains("num-slaves\r\n$1\r\n1")
                })
            })
        });
        sentinel
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// One command to it.
    pub(crate) fn text(&self, args: &[&str]) -> String {
        RawClient::connect(([127, 0, 0, 1], self.port).into()).text(args)
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }
}

/// A master, and a replica of it that has all it has.
pub(crate) fn pair() -> (RedisServer, RedisServer) {
    let master = RedisServer::start();
    let (host, port) =
        master.address().split_once(':').map(|(h, p)| (h.to_owned(), p.to_owned())).expect("an address");
    let replica = RedisServer::start_with(&[
        "--replicaof",
        &format!("{host} {port}"),
        "--repl-diskless-sync-delay",
        "0",
    ]);
    wait_for("the replica to be in line", || {
        replica.call::<String>(&["INFO", "replication"]).contains("master_link_status:up")
    });
    (master, replica)
}

/// Says of each master what it was told: how new that is, and where.
pub(crate) struct FakeSentinel {
    node: FakeRedis,
    says: Arc<Mutex<BTreeMap<String, (u64, String)>>>,
    words: Arc<Mutex<Vec<String>>>,
}

impl FakeSentinel {
    pub(crate) fn start() -> Self {
        let says: Arc<Mutex<BTreeMap<String, (u64, String)>>> = Arc::default();
        let known = Arc::clone(&says);
        let words: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&words);
        let node = FakeRedis::unhelpful(move |seen| {
            let all = seen.args.iter().map(|word| String::from_utf8_lossy(word).into_owned());
            heard.lock().expect("no panic").extend(all);
            let known = known.lock().expect("no panic");
            let word =
                |at: usize| String::from_utf8_lossy(seen.args.get(at).map_or(b"", |word| word)).into_owned();
            let reply = match (seen.name().as_str(), word(1).as_str()) {
                ("SENTINEL", "MASTERS") => {
                    let mut reply = format!("*{}\r\n", known.len()).into_bytes();
                    for (name, (epoch, _)) in &*known {
                        let epoch = epoch.to_string();
                        let words = ["name", name, "config-epoch", &epoch, "flags", "master"];
                        reply.extend(bulk_array(&words.map(|word| Some(word.as_bytes().to_vec()))));
                    }
                    reply
                }
                ("SENTINEL", _) => match known.get(&word(2)) {
                    Some((_, place)) => {
                        let (host, port) = place.split_once(':').expect("a place");
                        [b"*2\r\n".to_vec(), bulk(host.as_bytes()), bulk(port.as_bytes())].concat()
                    }
                    None => b"*-1\r\n".to_vec(),
                },
                ("AUTH", _) => b"+OK\r\n".to_vec(),
                ("PING", _) => b"+PONG\r\n".to_vec(),
                _ => b"-ERR unknown command\r\n".to_vec(),
            };
            vec![Act::Send(reply)]
        });
        Self { node, says, words }
    }

    /// Whether somebody has said this word to it.
    pub(crate) fn was_told(&self, word: &str) -> bool {
        self.words.lock().expect("no panic").iter().any(|heard| heard == word)
    }

    pub(crate) fn address(&self) -> String {
        self.node.address()
    }

    pub(crate) fn says(&self, name: &str, epoch: u64, place: &str) {
        self.says.lock().expect("no panic").insert(name.into(), (epoch, place.into()));
    }
}
