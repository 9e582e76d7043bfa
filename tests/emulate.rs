//! `multi_key: emulate`: commands over three nodes answer what one server with all the keys answers.

use ringway_proxy::settings::MultiKey;

use crate::support::frame::{bulk_request, reply_len};
use crate::support::harness::node_name;
use crate::support::random::Random;
use crate::support::{Cluster, RawClient, RedisServer};

const CROSSSLOT: &str = "-CROSSSLOT Keys in request don't hash to the same node\r\n";

/// Three nodes behind the proxy, and one server that holds everything.
struct Both {
    cluster: Cluster,
    one: RedisServer,
}

impl Both {
    fn start() -> Self {
        Self { cluster: emulating(|_| {}), one: RedisServer::start() }
    }

    fn clients(&self, protocol: u8) -> Pair {
        let mut pair = Pair { many: self.cluster.client(), one: self.one.client() };
        if protocol == 3 {
            for client in [&mut pair.many, &mut pair.one] {
                assert!(client.call(&["HELLO", "3"]).starts_with(b"%"));
            }
        }
        pair
    }
}

fn emulating(change: impl FnOnce(&mut ringway_proxy::settings::Settings)) -> Cluster {
    Cluster::start_with(3, |settings| {
        settings.multi_key = MultiKey::Emulate;
        change(settings);
    })
}

/// A client of the proxy and one of the single server.
struct Pair {
    many: RawClient,
    one: RawClient,
}

impl Pair {
    /// Writes to both, which answer alike.
    fn load(&mut self, words: &[impl AsRef<[u8]>]) {
        assert_eq!(self.many.call(words), self.one.call(words));
    }

    fn same(&mut self, words: &[impl AsRef<[u8]>]) -> Vec<u8> {
        let (many, one) = (self.many.call(words), self.one.call(words));
        let shown: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word.as_ref())).collect();
        assert_eq!(String::from_utf8_lossy(&many), String::from_utf8_lossy(&one), "{}", shown.join(" "));
        many
    }

    /// As [`Pair::same`] but for the order of members, which a set does not have.
    fn same_set(&mut self, words: &[impl AsRef<[u8]>]) {
        let (many, one) = (self.many.call(words), self.one.call(words));
        let shown: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word.as_ref())).collect();
        assert_eq!(sorted(&many), sorted(&one), "{}", shown.join(" "));
    }
}

/// The head of a reply and its elements sorted.
fn sorted(reply: &[u8]) -> Vec<Vec<u8>> {
    let head = 2 + reply.windows(2).position(|pair| pair == b"\r\n").expect("a line");
    let (mut at, mut parts) = (head, Vec::new());
    while let Some(len) = reply_len(&reply[at..]).filter(|_| at < reply.len()) {
        parts.push(reply[at..at + len].to_vec());
        at += len;
    }
    parts.sort();
    parts.insert(0, reply[..head].to_vec());
    parts
}

/// Whether scores are written with seventeen digits, as up to Redis 7.0; later ones write the shortest.
fn writes_long_scores(client: &mut RawClient) -> bool {
    client.call(&["ZADD", "probe", "0.1", "m"]);
    let long = client.text(&["ZSCORE", "probe", "m"]) == "$19\r\n0.10000000000000001\r\n";
    client.call(&["DEL", "probe"]);
    long
}

fn score(random: &mut Random, any: bool) -> String {
    match random.below(12) {
        0 => "inf".into(),
        1 => "-inf".into(),
        2 => "-0".into(),
        3..=5 if any => format!("{:e}", (random.next() as i64 as f64) / 2f64.powi(random.below(120) as i32)),
        _ => (random.below(400) as f64 / 4.0 - 50.0).to_string(),
    }
}

/// Ten sets, ten sorted sets, and names that nobody has: `s0`…`s9`, `z0`…`z9`, `none0`…
fn load(pair: &mut Pair, random: &mut Random, any_score: bool) {
    for at in 0..10 {
        for _ in 0..random.below(40) {
            let member = match random.below(4) {
                0 => random.bytes(3),
                _ => format!("m{}", random.below(30)).into_bytes(),
            };
            pair.load(&[b"SADD", format!("s{at}").as_bytes(), &member]);
            let score = score(random, any_score);
            pair.load(&[b"ZADD", format!("z{at}").as_bytes(), score.as_bytes(), &member]);
        }
        // whole numbers alone are kept in another way
        let number = random.below(20).to_string();
        pair.load(&["SADD", if at % 2 == 0 { "s0" } else { "s-numbers" }, &number]);
    }
}

fn keys(random: &mut Random, kinds: &[&str]) -> Vec<String> {
    let one = |random: &mut Random| match random.below(12) {
        0 => format!("none{}", random.below(3)),
        1 if kinds.contains(&"s") => "s-numbers".to_owned(),
        _ => format!("{}{}", kinds[random.below(kinds.len())], random.below(10)),
    };
    (0..1 + random.below(6)).map(|_| one(random)).collect()
}

#[test]
fn sets_are_those_of_one_server() {
    let both = Both::start();
    let mut random = Random::new(71);
    load(&mut both.clients(2), &mut random, false);
    for protocol in [2, 3] {
        let mut pair = both.clients(protocol);
        for round in 0..300 {
            let keys = keys(&mut random, &["s"]);
            let name = ["SUNION", "SINTER", "SDIFF", "sunion"][round % 4];
            let words: Vec<String> = [vec![name.to_owned()], keys.clone()].concat();
            pair.same_set(&words);
            let mut words = vec!["SINTERCARD".to_owned(), keys.len().to_string()];
            words.extend(keys);
            if round % 2 == 0 {
                words.extend(["limit".to_owned(), random.below(6).to_string()]);
            }
            pair.same(&words);
        }
    }
}

#[test]
fn sorted_sets_are_those_of_one_server_byte_for_byte() {
    let both = Both::start();
    let any_score = writes_long_scores(&mut both.one.client());
    let mut random = Random::new(72);
    load(&mut both.clients(2), &mut random, any_score);
    for protocol in [2, 3] {
        let mut pair = both.clients(protocol);
        for round in 0..600 {
            let keys = keys(&mut random, &["z", "z", "s"]);
            let name = ["ZUNION", "ZINTER", "ZDIFF", "ZINTERCARD"][round % 4];
            let mut words = vec![name.to_owned(), keys.len().to_string()];
            words.extend(keys.clone());
            if name == "ZINTERCARD" {
                if random.below(2) == 0 {
                    words.extend(["LIMIT".to_owned(), random.below(5).to_string()]);
                }
                pair.same(&words);
                continue;
            }
            if name != "ZDIFF" && random.below(2) == 0 {
                words.push("WEIGHTS".into());
                words.extend(keys.iter().map(|_| match random.below(5) {
                    0 => "0".to_owned(),
                    1 => "0x1.8p1".to_owned(),
                    _ => score(&mut random, any_score),
                }));
            }
            if name != "ZDIFF" && random.below(2) == 0 {
                words.extend(["AGGREGATE".to_owned(), ["SUM", "MIN", "max"][random.below(3)].to_owned()]);
            }
            if random.below(3) > 0 {
                words.push("WITHSCORES".into());
            }
            pair.same(&words);
        }
    }
}

#[test]
fn a_hyperloglog_over_nodes_counts_as_on_one_server() {
    let both = Both::start();
    let mut random = Random::new(73);
    let mut pair = both.clients(2);
    // from a few elements (sparse) to many (dense)
    for at in 0..12 {
        let key = format!("h{at}");
        for _ in 0..[1, 3, 20, 150][at % 4] {
            let mut words = vec!["PFADD".to_owned(), key.clone()];
            words.extend((0..20).map(|_| random.below(20_000).to_string()));
            pair.load(&words);
        }
    }
    pair.load(&["PFADD", "h-empty"]);
    for protocol in [2, 3] {
        let mut pair = both.clients(protocol);
        for _ in 0..200 {
            let mut words = vec!["PFCOUNT".to_owned(), "h-empty".to_owned()];
            words.extend((0..1 + random.below(8)).map(|_| format!("h{}", random.below(14))));
            pair.same(&words);
        }
    }
    pair.load(&["SET", "text", "not one"]);
    pair.load(&["SET", "number", "1234567890123456789"]);
    pair.load(&["RPUSH", "list", "x"]);
    for other in ["text", "number", "list"] {
        for words in [["PFCOUNT", "h1", "h2", "h3", other], ["PFCOUNT", other, "h1", "h2", "h3"]] {
            assert!(pair.same(&words).starts_with(b"-WRONGTYPE "));
        }
    }
    // the first bad key decides which error it is
    pair.same(&["PFCOUNT", "h0", "text", "list", "h1", "h2"]);
    pair.same(&["PFCOUNT", "h0", "list", "text", "h1", "h2"]);
    let broken = [b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0".as_slice(), b"\x7f\xfe"].concat();
    pair.load(&[b"SET".as_slice(), b"broken", &broken]);
    assert!(pair.same(&["PFCOUNT", "h0", "h1", "h2", "broken"]).starts_with(b"-INVALIDOBJ "));
}

/// A key of each node, `{prefix}…`.
fn one_of_each(cluster: &Cluster, prefix: &str) -> Vec<String> {
    (0..3).map(|at| cluster.keys_of(&node_name(at), prefix).next().expect("a key")).collect()
}

#[test]
fn errors_are_those_of_one_server() {
    let both = Both::start();
    let mut pair = both.clients(2);
    let keys = one_of_each(&both.cluster, "e");
    let [a, b, c] = [&keys[0], &keys[1], &keys[2]].map(String::as_str);
    pair.load(&["SADD", a, "x"]);
    pair.load(&["ZADD", b, "1", "x"]);
    let lines = [
        "SINTERCARD 0 A B",
        "SINTERCARD x A B",
        "SINTERCARD 3 A B",
        "SINTERCARD 2 A C LIMIT",
        "SINTERCARD 2 A C LIMIT -1",
        "SINTERCARD 2 A C LIMIT x",
        "SINTERCARD 2 A C LIMIT 1 LIMIT 0",
        "SINTERCARD 2 A C LIMITS 1",
        "SINTERCARD 2 A C A",
        "ZUNION 0 A B",
        "ZUNION x A B",
        "ZUNION 3 A B",
        "ZUNION 2 A B WITHSCORE",
        "ZUNION 2 A B WEIGHTS 1",
        "ZUNION 2 A B WEIGHTS 1 x",
        "ZUNION 2 A B WEIGHTS 1 nan",
        "ZUNION 2 A B WEIGHTS 1 1e999",
        "ZUNION 2 A B WEIGHTS 1 2 3",
        "ZUNION 2 A B WEIGHTS 1 2 WEIGHTS 3 4 WITHSCORES WITHSCORES",
        "ZUNION 2 A B AGGREGATE",
        "ZUNION 2 A B AGGREGATE avg",
        "ZUNION 2 A B LIMIT 1",
        "ZINTER 2 A B aggregate MIN weights 1 inf withscores",
        "ZDIFF 2 A B WEIGHTS 1 2",
        "ZDIFF 2 A B AGGREGATE SUM",
        "ZDIFF 2 A B withscores",
        "ZINTERCARD 2 A B WITHSCORES",
        "ZINTERCARD 2 A B LIMIT -1",
        "ZINTERCARD 2 A B LIMIT 1",
        "ZINTERCARD -1 A B",
        // wrong types
        "SUNION A B",
        "SUNION C B A",
        "SINTER B C",
        "SINTER C B",
        "SDIFF C B",
        "SINTERCARD 2 C B",
        "PFCOUNT A C",
        "SUNION",
        "PFCOUNT",
    ];
    for line in lines {
        let words: Vec<&str> = line
            .split(' ')
            .map(|word| match word {
                "A" => a,
                "B" => b,
                "C" => c,
                other => other,
            })
            .collect();
        pair.same(&words);
    }
    pair.load(&["SET", c, "text"]);
    for name in ["ZUNION", "ZINTER", "ZDIFF", "ZINTERCARD"] {
        assert!(pair.same(&[name, "3", a, b, c]).starts_with(b"-WRONGTYPE "));
    }
}

#[test]
fn what_writes_or_cannot_be_computed_is_refused_as_before() {
    let cluster = emulating(|_| {});
    let mut client = cluster.client();
    let keys = one_of_each(&cluster, "x");
    let (a, b) = (keys[0].as_str(), keys[1].as_str());
    client.call(&["SADD", b, "m"]);
    for words in [
        &["SUNIONSTORE", a, b][..],
        &["SINTERSTORE", a, b],
        &["SDIFFSTORE", a, b],
        &["ZUNIONSTORE", a, "1", b],
        &["ZINTERSTORE", a, "1", b],
        &["ZDIFFSTORE", a, "1", b],
        &["PFMERGE", a, b],
        &["RENAME", b, a],
        &["SMOVE", b, a, "m"],
        &["LCS", a, b],
        &["BITOP", "AND", a, b],
    ] {
        assert_eq!(client.text(words), CROSSSLOT, "{words:?}");
    }
    assert_eq!(client.text(&["SMEMBERS", b]), "*1\r\n$1\r\nm\r\n");
    assert_eq!(client.text(&["EXISTS", a]), ":0\r\n");
}

#[test]
fn without_it_everything_over_nodes_is_refused() {
    let cluster = Cluster::start(3).with_admin();
    let mut client = cluster.client();
    let keys = one_of_each(&cluster, "x");
    let (a, b) = (keys[0].as_str(), keys[1].as_str());
    client.call(&["SADD", a, "m"]);
    for words in [
        &["SUNION", a, b][..],
        &["SINTER", a, b],
        &["SDIFF", a, b],
        &["SINTERCARD", "2", a, b],
        &["ZUNION", "2", a, b],
        &["ZINTER", "2", a, b],
        &["ZDIFF", "2", a, b],
        &["ZINTERCARD", "2", a, b],
        &["PFCOUNT", a, b],
    ] {
        assert_eq!(client.text(words), CROSSSLOT, "{words:?}");
    }
    assert!(!cluster.http().get("/metrics").text.contains("ringway_emulated_total{"));
}

#[test]
fn replies_keep_their_order_in_a_pipeline() {
    let cluster = emulating(|_| {});
    let mut client = cluster.client();
    let keys = one_of_each(&cluster, "p");
    for (at, key) in keys.iter().enumerate() {
        client.call(&["SADD", key, "all", &format!("only{at}")]);
    }
    for n in 0..200 {
        client.send_command(&["ECHO", &format!("{n}")]);
        client.send_command(&["SINTER", &keys[0], &keys[1], &keys[2]]);
        client.send_command(&["SCARD", &keys[n % 3]]);
        client.send_command(&["SINTERCARD", "2", &keys[n % 3], &keys[(n + 1) % 3]]);
    }
    for n in 0..200 {
        assert_eq!(client.reply(), crate::support::frame::bulk(n.to_string().as_bytes()));
        assert_eq!(client.text_reply(), "*1\r\n$3\r\nall\r\n");
        assert_eq!(client.text_reply(), ":2\r\n");
        assert_eq!(client.text_reply(), ":1\r\n");
    }
}

#[test]
fn i6_parts_beyond_the_bound_are_an_error_and_the_connection_serves_on() {
    let cluster = emulating(|settings| settings.limits.emulate_bytes = 64 << 10);
    let mut client = cluster.client();
    let keys = one_of_each(&cluster, "big");
    let member = "m".repeat(1000);
    for key in &keys {
        for at in 0..30 {
            client.call(&["SADD", key, &format!("{member}{key}{at}")]);
        }
    }
    let long =
        "-ERR what the nodes answered to the parts of this command is longer than limits.emulate_bytes\r\n";
    let [a, b, c] = [&keys[0], &keys[1], &keys[2]].map(String::as_str);
    for _ in 0..20 {
        assert_eq!(client.text(&["SUNION", a, b, c]), long);
        assert_eq!(client.text(&["ZINTER", "3", a, b, c, "WITHSCORES"]), long);
        assert!(client.text(&["SUNION", a, b]).starts_with("*60\r\n"));
        assert_eq!(client.text(&["SINTERCARD", "2", b, c]), ":0\r\n");
    }
    assert_eq!(client.text(&["SCARD", a]), ":30\r\n");
}

#[test]
fn i4_a_dead_node_fails_the_whole_command() {
    let mut cluster = emulating(|_| {});
    let keys = one_of_each(&cluster, "d");
    let mut client = cluster.client();
    for key in &keys {
        client.call(&["SADD", key, "m"]);
    }
    let [a, b, c] = [&keys[0], &keys[1], &keys[2]].map(String::as_str);
    cluster.server_mut("cache-2").kill();
    for words in [
        &["SUNION", a, b, c][..],
        &["SINTER", a, b],
        &["SDIFF", a, c, b],
        &["ZUNION", "2", c, b],
        &["ZINTERCARD", "2", a, b],
        &["PFCOUNT", a, b],
    ] {
        let reply = client.text(words);
        assert!(
            reply.starts_with("-NOTSENT node 'cache-2' (") || reply.starts_with("-UNKNOWN node 'cache-2' ("),
            "{words:?}: {reply}"
        );
    }
    assert_eq!(client.text(&["SUNION", a, c]), "*1\r\n$1\r\nm\r\n", "the other nodes go on");
    cluster.server_mut("cache-2").restart();
    cluster.wait_usable("cache-2");
    assert_eq!(client.text(&["SUNION", a, b, c]), "*1\r\n$1\r\nm\r\n");
}

#[test]
fn what_was_computed_is_counted() {
    let cluster = emulating(|_| {}).with_admin();
    let mut client = cluster.client();
    let keys = one_of_each(&cluster, "m");
    let [a, b, c] = [&keys[0], &keys[1], &keys[2]].map(String::as_str);
    for _ in 0..3 {
        client.call(&["SUNION", a, b, c]);
        client.call(&["SUNION", a, a]);
    }
    client.call(&["ZINTER", "2", a, b]);
    client.call(&["ZINTER", "2", a, b, "BAD"]);
    let metrics = cluster.http().get("/metrics").text;
    assert!(metrics.contains("ringway_emulated_total{command=\"sunion\"} 3\n"), "{metrics}");
    assert!(metrics.contains("ringway_emulated_total{command=\"zinter\"} 1\n"), "{metrics}");
    let stats = cluster.http().get("/v1/stats").ok();
    assert_eq!(stats["emulated"]["sunion"], 3);
    // each node counts what it was asked for
    assert!(
        metrics.contains("ringway_commands_total{node=\"cache-2\",command=\"sunion\",outcome=\"ok\"} 3\n"),
        "{metrics}"
    );
}

#[test]
fn a_database_is_that_of_the_client() {
    let cluster = emulating(|_| {});
    let mut client = cluster.client();
    let keys = one_of_each(&cluster, "db");
    client.send(&bulk_request(&["SELECT", "3"]));
    assert_eq!(client.text_reply(), "+OK\r\n");
    for key in &keys {
        client.call(&["SADD", key, "three"]);
    }
    let [a, b, c] = [&keys[0], &keys[1], &keys[2]].map(String::as_str);
    assert_eq!(client.text(&["SUNION", a, b, c]), "*1\r\n$5\r\nthree\r\n");
    client.call(&["SELECT", "0"]);
    assert_eq!(client.text(&["SUNION", a, b, c]), "*0\r\n");
}
