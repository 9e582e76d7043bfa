//! Replies keep the order of commands (law I2), whatever is mixed and however the bytes are cut.

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use crate::support::frame::{bulk, bulk_array, bulk_request};
use crate::support::random::Random;
use crate::support::{Cluster, RawClient, wait_for};

const WRONGTYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

/// Says what each reply must be: a model of the keys that one client alone uses.
struct Model {
    random: Random,
    prefix: String,
    nil: &'static [u8],
    strings: HashMap<String, Vec<u8>>,
    counters: HashMap<String, i64>,
    nonce: u64,
}

impl Model {
    fn new(seed: u64, prefix: &str, nil: &'static [u8]) -> Self {
        let (strings, counters) = (HashMap::new(), HashMap::new());
        Self { random: Random::new(seed), prefix: prefix.into(), nil, strings, counters, nonce: 0 }
    }

    fn key(&mut self) -> String {
        format!("{}:s{}", self.prefix, self.random.below(200))
    }

    fn keys(&mut self) -> Vec<String> {
        (0..1 + self.random.below(8)).map(|_| self.key()).collect()
    }

    fn value(&mut self, key: &str) -> Vec<u8> {
        self.nonce += 1;
        let filler = "x".repeat(self.random.below(60));
        format!("{key}={}{filler}", self.nonce).into_bytes()
    }

    fn bulk_or_nil(&self, value: Option<&Vec<u8>>) -> Vec<u8> {
        value.map_or_else(|| self.nil.to_vec(), |value| bulk(value))
    }

    /// The next command and the reply that must come.
    fn next(&mut self) -> (Vec<u8>, Vec<u8>) {
        let word = |word: &str| word.as_bytes().to_vec();
        match self.random.below(12) {
            0 | 1 => {
                self.nonce += 1;
                let nonce = format!("nonce {} of {}", self.nonce, self.prefix);
                (bulk_request(&["ECHO", &nonce]), bulk(nonce.as_bytes()))
            }
            2 | 3 => {
                let key = self.key();
                let value = self.value(&key);
                self.strings.insert(key.clone(), value.clone());
                (bulk_request(&[word("SET"), word(&key), value]), word("+OK\r\n"))
            }
            4 | 5 => {
                let key = self.key();
                (bulk_request(&["GET", &key]), self.bulk_or_nil(self.strings.get(&key)))
            }
            6 => {
                let key = format!("{}:n{}", self.prefix, self.random.below(20));
                let counter = self.counters.entry(key.clone()).or_default();
                *counter += 1;
                (bulk_request(&["INCR", &key]), format!(":{counter}\r\n").into_bytes())
            }
            7 => {
                let key = self.key();
                let held = self.strings.contains_key(&key);
                let reply = if held { word(WRONGTYPE) } else { word(":0\r\n") };
                (bulk_request(&["LLEN", &key]), reply)
            }
            8 => {
                let keys = self.keys();
                let mut reply = format!("*{}\r\n", keys.len()).into_bytes();
                keys.iter().for_each(|key| reply.extend(self.bulk_or_nil(self.strings.get(key))));
                (request("MGET", &keys), reply)
            }
            9 => {
                let mut args = vec![word("MSET")];
                for key in self.keys() {
                    let value = self.value(&key);
                    self.strings.insert(key.clone(), value.clone());
                    args.extend([word(&key), value]);
                }
                (bulk_request(&args), word("+OK\r\n"))
            }
            10 => {
                let keys = self.keys();
                let gone = keys.iter().filter(|key| self.strings.remove(*key).is_some()).count();
                let name = if self.random.below(2) == 0 { "DEL" } else { "UNLINK" };
                (request(name, &keys), format!(":{gone}\r\n").into_bytes())
            }
            _ => {
                let keys = self.keys();
                let there = keys.iter().filter(|key| self.strings.contains_key(*key)).count();
                let name = if self.random.below(2) == 0 { "EXISTS" } else { "TOUCH" };
                (request(name, &keys), format!(":{there}\r\n").into_bytes())
            }
        }
    }
}

fn request(name: &str, keys: &[String]) -> Vec<u8> {
    let words: Vec<&str> = std::iter::once(name).chain(keys.iter().map(String::as_str)).collect();
    bulk_request(&words)
}

fn pipeline_in_order(cluster: &Cluster, mut client: RawClient, mut model: Model, commands: usize) {
    let (requests, replies): (Vec<_>, Vec<_>) = (0..commands).map(|_| model.next()).unzip();
    let mut sender = client.sender();
    std::thread::scope(|scope| {
        scope.spawn(move || sender.write_all(&requests.concat()).expect("send"));
        for (at, expected) in replies.iter().enumerate() {
            let got = client.reply();
            assert!(
                got == *expected,
                "command {at}: {:?} instead of {:?}",
                String::from_utf8_lossy(&got),
                String::from_utf8_lossy(expected)
            );
        }
    });
    assert_eq!(client.text(&["ECHO", "nothing left over"]), "$17\r\nnothing left over\r\n");
    assert!(cluster.nodes.iter().all(|node| node.dbsize() > 0), "every node took part");
}

#[test]
fn ten_thousand_mixed_commands_in_order() {
    let cluster = Cluster::start(3);
    pipeline_in_order(&cluster, cluster.client(), Model::new(11, "two", b"$-1\r\n"), 10_000);
    pipeline_in_order(&cluster, cluster.client3(), Model::new(12, "three", b"_\r\n"), 10_000);
}

#[test]
fn eight_clients_at_once_each_in_its_own_order() {
    let cluster = Cluster::start(3);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (cluster, prefix) = (&cluster, format!("client{n}"));
            scope.spawn(move || {
                pipeline_in_order(cluster, cluster.client(), Model::new(n, &prefix, b"$-1\r\n"), 2_000);
            });
        }
    });
}

#[test]
fn c6_a_hundred_thousand_commands_without_reading() {
    const COMMANDS: usize = 100_000;
    let cluster = Cluster::start(2);
    let value = Random::new(6).bytes(1000);
    let mut client = cluster.client();
    client.call(&[b"SET".as_slice(), b"kilobyte", &value]);
    let read_before = cluster.control().snapshot().commands_read;
    let mut sender = client.sender();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut bytes = Vec::new();
            for n in 0..COMMANDS {
                bytes.extend(if n % 10 == 0 {
                    bulk_request(&["INCR", "count"])
                } else {
                    bulk_request(&["GET", "kilobyte"])
                });
            }
            sender.write_all(&bytes).expect("send");
        });
        // wait until the proxy has stopped reading this client
        let mut last = 0;
        wait_for("the proxy to stop reading", || {
            std::thread::sleep(Duration::from_millis(300));
            let read = cluster.control().snapshot().commands_read - read_before;
            read > 0 && std::mem::replace(&mut last, read) == read
        });
        // 90 MB of replies were asked for; the proxy may hold 1 MiB and the kernel a few more
        assert!(last < 50_000, "{last} commands were read while no reply was taken");
        // others are served meanwhile
        assert_eq!(cluster.client().text(&["ECHO", "neighbour"]), "$9\r\nneighbour\r\n");
        let expected = bulk(&value);
        for n in 0..COMMANDS {
            let reply = client.reply();
            if n % 10 == 0 {
                assert_eq!(reply, format!(":{}\r\n", n / 10 + 1).into_bytes());
            } else {
                assert!(reply == expected, "reply {n}");
            }
        }
    });
}

#[test]
fn d7_every_split_of_a_three_command_pipeline() {
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    let commands = [
        bulk_request(&["SET", "split", "a\r\nb"]),
        b"ECHO \"in\\x20line\"\r\n".to_vec(),
        bulk_request(&["MGET", "split", "none", "split"]),
    ]
    .concat();
    let value = || Some(b"a\r\nb".to_vec());
    let expected = [b"+OK\r\n".to_vec(), bulk(b"in line"), bulk_array(&[value(), None, value()])].concat();
    for cut in 0..=commands.len() {
        client.send(&commands[..cut]);
        // long enough to be two reads most of the time; nothing depends on it
        std::thread::sleep(Duration::from_millis(1));
        client.send(&commands[cut..]);
        let got = client.bytes(expected.len());
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&expected), "cut at {cut}");
    }
}

#[test]
fn d7_one_byte_at_a_time() {
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    for byte in bulk_request(&["SET", "drip", "value"]).into_iter().chain(bulk_request(&["GET", "drip"])) {
        client.send(&[byte]);
    }
    assert_eq!(client.bytes(16), b"+OK\r\n$5\r\nvalue\r\n");
}

#[test]
fn c2_half_close_after_a_pipeline() {
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    let mut expected = Vec::new();
    for n in 0..500 {
        client.send_command(&["SET", &format!("half:{n}"), "v"]);
        client.send_command(&["MGET", &format!("half:{n}"), "none"]);
        expected.extend_from_slice(b"+OK\r\n*2\r\n$1\r\nv\r\n$-1\r\n");
    }
    client.finish_sending();
    assert!(client.rest() == expected, "all replies, then the end");
}

#[test]
fn c2_half_close_in_the_middle_of_a_command() {
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    client.send_command(&["SET", "whole", "v"]);
    client.send(b"*3\r\n$3\r\nSET\r\n$6\r\nbroken\r\n$1\r\n");
    client.finish_sending();
    assert_eq!(client.rest(), b"+OK\r\n");
    assert_eq!(cluster.client().text(&["EXISTS", "whole", "broken"]), ":1\r\n");
}

#[test]
fn quit_answers_what_came_before_and_nothing_after() {
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    client.send(b"SET before 1\r\nQUIT\r\nSET after 1\r\n");
    assert_eq!(client.rest(), b"+OK\r\n+OK\r\n");
    assert_eq!(cluster.client().text(&["EXISTS", "before", "after"]), ":1\r\n");
}

#[test]
fn a_client_that_writes_all_before_it_reads_gets_all_its_replies() {
    const REQUESTS: usize = 24_000;
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    // more than the kernel holds in either direction
    let text = "x".repeat(1500);
    assert_eq!(client.text(&["SET", "k", &text]), "+OK\r\n");
    let mut all = Vec::new();
    for number in 0..REQUESTS {
        match number % 3 {
            0 => all.extend(bulk_request(&["GET", "k"])),
            _ => all.extend(bulk_request(&["ECHO", &format!("{number}{text}")])),
        }
    }
    client.send(&all);
    for number in 0..REQUESTS {
        let expected = if number % 3 == 0 { text.clone() } else { format!("{number}{text}") };
        assert!(client.reply() == bulk(expected.as_bytes()), "reply {number}");
    }
    // and it holds nothing for it any more
    wait_for("its memory to be given back", || {
        let list = cluster.client().text(&["CLIENT", "LIST"]);
        list.lines().all(|line| !line.contains("tot-mem=") || memory_of(line) < 1 << 20)
    });
}

fn memory_of(line: &str) -> u64 {
    let word = line.split(' ').find_map(|word| word.strip_prefix("tot-mem="));
    word.and_then(|number| number.parse().ok()).expect("a number")
}
