//! CLIENT: what is told of connections is true, and what is done to them is done on all workers. A bare server is the
//! judge wherever it can be.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::support::frame::bulk_request;
use crate::support::{Cluster, NoReply, RawClient, RedisServer, wait_for};

fn cluster_of(workers: usize) -> Cluster {
    Cluster::start_with(2, |settings| settings.threads = workers)
}

/// The lines of a bulk or verbatim string, as fields by name.
pub(crate) fn lines(reply: &str) -> Vec<HashMap<String, String>> {
    let (_, body) = reply.split_once("\r\n").expect("a string");
    let body = body.strip_prefix("txt:").unwrap_or(body);
    let fields = |line: &str| {
        let pair = |field: &str| {
            let (name, value) = field.split_once('=').expect("name=value");
            (name.to_owned(), value.to_owned())
        };
        line.split(' ').map(pair).collect()
    };
    body.trim_end().lines().filter(|line| !line.is_empty()).map(fields).collect()
}

fn id_of(client: &mut RawClient) -> String {
    client.text(&["CLIENT", "ID"]).trim_start_matches(':').trim_end().to_owned()
}

pub(crate) fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

#[test]
fn list_tells_every_client_of_every_worker_once_and_truly() {
    let cluster = cluster_of(3);
    let mut clients: Vec<RawClient> = (0..9).map(|_| cluster.client()).collect();
    let ids: Vec<String> = clients.iter_mut().map(id_of).collect();
    clients[1].text(&["CLIENT", "SETNAME", "named"]);
    clients[2].text(&["SELECT", "3"]);
    clients[3].text(&["CLIENT", "SETINFO", "lib-name", "driver"]);
    clients[3].text(&["HELLO", "3"]);
    clients[5].text(&["GET", "k"]);
    clients[6].send(b"*2\r\n$3\r\nGET\r\n$100\r\nabc");
    wait_for("the beginning of a command to be read", || {
        let told = lines(&clients[0].text(&["CLIENT", "LIST", "ID", &ids[6]]));
        told[0]["qbuf"] == "22"
    });
    let told = lines(&clients[0].text(&["CLIENT", "LIST"]));
    let by_id: HashMap<&str, &HashMap<String, String>> =
        told.iter().map(|line| (line["id"].as_str(), line)).collect();
    assert_eq!(by_id.len(), told.len(), "each once");
    let numbers: Vec<u64> = told.iter().map(|line| line["id"].parse().expect("a number")).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    let line = |at: usize| by_id[ids[at].as_str()];
    let laddr = cluster.address().to_string();
    assert!(ids.iter().all(|id| by_id[id.as_str()]["laddr"] == laddr));
    assert_eq!(line(0)["cmd"], "client|list");
    assert_eq!(line(1)["name"], "named");
    assert_eq!(line(2)["db"], "3");
    assert_eq!((line(3)["resp"].as_str(), line(3)["lib-name"].as_str()), ("3", "driver"));
    let told_of_5 = ["flags", "cmd", "user"].map(|field| line(5)[field].as_str());
    assert_eq!(told_of_5, ["N", "get", "default"]);
    let descriptors: HashSet<&str> = told.iter().map(|line| line["fd"].as_str()).collect();
    assert_eq!(descriptors.len(), told.len(), "a descriptor is one connection's");
    // a client that is gone is told no more
    drop(clients.remove(8));
    wait_for("the line to go", || {
        !lines(&clients[0].text(&["CLIENT", "LIST"])).iter().any(|line| line["id"] == ids[8])
    });
    let some = lines(&clients[0].text(&["CLIENT", "LIST", "ID", &ids[5], &ids[1], "999999", &ids[5]]));
    let found: Vec<&String> = some.iter().map(|line| &line["id"]).collect();
    assert_eq!(found, [&ids[5], &ids[1], &ids[5]]);
    assert_eq!(lines(&clients[0].text(&["CLIENT", "LIST", "TYPE", "replica"])).len(), 0);
    assert!(lines(&clients[0].text(&["CLIENT", "LIST", "TYPE", "normal"])).len() >= 8);
    assert!(clients[3].text(&["CLIENT", "LIST"]).starts_with('='), "verbatim in RESP3");
}

#[test]
fn the_fields_are_those_of_redis_in_its_order() {
    let (cluster, bare) = (cluster_of(1), RedisServer::start());
    for request in [&["CLIENT", "INFO"][..], &["CLIENT", "LIST"]] {
        let names = |mut client: RawClient| -> Vec<String> {
            let line = client.text(request);
            let line = line.lines().nth(1).expect("a line").to_owned();
            line.split(' ').filter_map(|field| Some(field.split_once('=')?.0.to_owned())).collect()
        };
        let (ours, theirs) = (names(cluster.client()), names(bare.client()));
        // later versions have further fields in between
        let known: Vec<&String> = theirs.iter().filter(|name| ours.contains(name)).collect();
        assert!(theirs.len() >= 28, "{theirs:?}");
        assert_eq!(ours.iter().filter(|name| theirs.contains(name)).collect::<Vec<_>>(), known);
        assert!(ours.len() <= theirs.len() + 2 && known.len() >= 28, "{ours:?} {theirs:?}");
    }
}

#[test]
fn age_and_idle_are_counted_in_seconds() {
    let cluster = cluster_of(2);
    let (mut quiet, mut asks) = (cluster.client(), cluster.client());
    let id = id_of(&mut quiet);
    wait_for("the quiet one to be idle", || {
        let line = &lines(&asks.text(&["CLIENT", "LIST", "ID", &id]))[0];
        let number = |name: &str| line[name].parse::<u64>().expect("a number");
        assert!(number("idle") <= number("age"));
        number("idle") >= 1
    });
    let line = &lines(&quiet.text(&["CLIENT", "INFO"]))[0];
    assert_eq!(line["idle"], "0", "it has just spoken");
    assert_ne!(line["age"], "0");
}

#[test]
fn replies_and_errors_are_those_of_redis() {
    let (cluster, bare) = (cluster_of(2), RedisServer::start());
    let (mut ours, mut theirs) = (cluster.client(), bare.client());
    let (mut ours3, mut theirs3) = (cluster.client3(), bare.client());
    theirs3.call(&["HELLO", "3"]);
    let requests = [
        "CLIENT LIST x",
        "CLIENT LIST TYPE x",
        "CLIENT LIST TYPE replica",
        "CLIENT LIST TYPE master y",
        "CLIENT LIST ID a",
        "CLIENT LIST ID",
        "CLIENT LIST ID 0",
        "CLIENT LIST ID -5",
        "CLIENT KILL",
        "CLIENT KILL x",
        "CLIENT KILL id",
        "CLIENT KILL ID 0",
        "CLIENT KILL ID a",
        "CLIENT KILL ID -1",
        "CLIENT KILL ID 123456789",
        "CLIENT KILL TYPE x",
        "CLIENT KILL TYPE replica",
        "CLIENT KILL ID 99999 SKIPME maybe",
        "CLIENT KILL USER bob",
        "CLIENT KILL ADDR 1.2.3.4:5",
        "CLIENT KILL LADDR nonsense SKIPME no",
        "CLIENT KILL foo bar",
        "CLIENT KILL ID 3 ADDR",
        "CLIENT KILL 127.0.0.1:1",
        "CLIENT PAUSE",
        "CLIENT PAUSE x",
        "CLIENT PAUSE -1",
        "CLIENT PAUSE 1 foo",
        "CLIENT PAUSE 1 write x",
        "CLIENT PAUSE 0",
        "CLIENT PAUSE 1 WRITE",
        "CLIENT UNPAUSE",
        "CLIENT UNPAUSE x",
        "CLIENT REPLY foo",
        "CLIENT REPLY ON",
        "CLIENT REPLY",
        "CLIENT GETREDIR",
        "CLIENT TRACKINGINFO",
        "CLIENT TRACKING OFF",
        "CLIENT TRACKING foo",
        "CLIENT TRACKING OFF x",
        "CLIENT TRACKING OFF BCAST",
        "CLIENT TRACKING OFF REDIRECT",
        "CLIENT CACHING YES",
        "CLIENT CACHING x",
        "CLIENT NO-EVICT OFF",
        "CLIENT NO-EVICT x",
        "CLIENT SETNAME a",
        "CLIENT GETNAME",
        "CLIENT SETNAME ",
        "CLIENT GETNAME",
        "RESET",
        "HELLO 4",
        "HELLO x",
        "HELLO 2 foo",
        "HELLO 2 AUTH default",
        "QUIT",
    ];
    for line in requests {
        let request = words(line);
        assert_eq!(ours.text(&request), theirs.text(&request), "{line}");
        assert_eq!(ours3.text(&request), theirs3.text(&request), "{line} in RESP3");
    }
    assert_eq!((ours.rest(), ours3.rest()), (Vec::new(), Vec::new()), "QUIT closes");
}

#[test]
fn what_cannot_be_true_is_refused_with_a_reason() {
    let cluster = cluster_of(1);
    let mut client = cluster.client();
    for (request, why) in [("CLIENT NO-TOUCH ON", "nodes"), ("CLIENT NO-EVICT ON", "when memory is short")] {
        let refusal = client.text(&words(request));
        assert!(
            refusal.starts_with("-ERR CLIENT ") && refusal.contains(&format!("refused: {why}")),
            "{refusal}"
        );
    }
    assert_eq!(client.text(&["CLIENT", "NO-TOUCH", "OFF"]), "+OK\r\n");
    assert_eq!(client.text(&["CLIENT", "NO-TOUCH", "x"]), "-ERR syntax error\r\n");
}

#[test]
fn kill_closes_those_that_are_meant_and_no_other() {
    let cluster = cluster_of(3);
    let mut asks = cluster.client();
    let mut clients: Vec<RawClient> = (0..6).map(|_| cluster.client()).collect();
    let ids: Vec<String> = clients.iter_mut().map(id_of).collect();
    let address = |at: usize, asks: &mut RawClient| {
        lines(&asks.text(&["CLIENT", "LIST", "ID", &ids[at]]))[0]["addr"].clone()
    };
    let addresses: Vec<String> = (0..6).map(|at| address(at, &mut asks)).collect();
    assert_eq!(asks.text(&["CLIENT", "KILL", "ID", &ids[0]]), ":1\r\n");
    assert_eq!(
        asks.text(&["CLIENT", "KILL", "ADDR", &addresses[1], "ID", &ids[2]]),
        ":0\r\n",
        "both must hold"
    );
    assert_eq!(asks.text(&["CLIENT", "KILL", "ADDR", &addresses[1], "TYPE", "normal"]), ":1\r\n");
    assert_eq!(asks.text(&["CLIENT", "KILL", &addresses[2]]), "+OK\r\n", "the old form");
    assert_eq!(asks.text(&["CLIENT", "KILL", "ID", &ids[3], "MAXAGE", "100000"]), ":0\r\n", "too young");
    for (at, client) in clients[..3].iter_mut().enumerate() {
        assert_eq!(client.rest(), b"", "client {at} is closed");
    }
    for client in &mut clients[3..] {
        assert_eq!(client.text(&["PING"]), "+PONG\r\n");
    }
    let own = id_of(&mut asks);
    assert_eq!(asks.text(&["CLIENT", "KILL", "ID", &own]), ":0\r\n", "SKIPME is the default");
    // all of one listening address but oneself: the three and those that the cluster's start has left, if any
    let laddr = cluster.address().to_string();
    let killed = asks.text(&["CLIENT", "KILL", "LADDR", &laddr, "USER", "default"]);
    assert!(killed.trim_start_matches(':').trim_end().parse::<u32>().is_ok_and(|n| n >= 3), "{killed}");
    for client in &mut clients[3..] {
        assert_eq!(client.rest(), b"");
    }
    assert_eq!(lines(&asks.text(&["CLIENT", "LIST"])).len(), 1);
    // the reply to one's own end comes before it; what is behind it in the pipeline is not run
    let kill = bulk_request(&["CLIENT", "KILL", "SKIPME", "no", "ID", &own]);
    asks.send(&[bulk_request(&["SET", "before", "1"]), kill, bulk_request(&["SET", "after", "1"])].concat());
    assert_eq!(asks.rest(), b"+OK\r\n:1\r\n");
    assert_eq!(cluster.client().text(&["EXISTS", "before", "after"]), ":1\r\n");
}

/// The same bytes to both; the same bytes must come back until QUIT closes.
pub(crate) fn same_pipelines(pipelines: &[&str]) {
    let cluster = Cluster::start_with(3, |settings| settings.threads = 2);
    for pipeline in pipelines {
        let bare = RedisServer::start();
        let bytes: Vec<u8> = pipeline.split("; ").flat_map(|line| bulk_request(&words(line))).collect();
        let answer = |mut client: RawClient| {
            client.send(&bytes);
            String::from_utf8_lossy(&client.rest()).into_owned()
        };
        let mut clean = cluster.client();
        ["a", "b", "c", "d", "l", "ready"].iter().for_each(|key| drop(clean.call(&["DEL", key])));
        assert_eq!(answer(cluster.client()), answer(bare.client()), "{pipeline}");
    }
}

#[test]
fn i2_client_reply_drops_replies_and_shifts_none() {
    same_pipelines(&[
        "CLIENT REPLY OFF; SET a 1; INCR a; CLIENT REPLY ON; GET a; QUIT",
        "SET a 1; CLIENT REPLY SKIP; INCR a; GET a; QUIT",
        "CLIENT REPLY SKIP; GET; GET a; CLIENT REPLY SKIP; nosuch; PING x; QUIT",
        "CLIENT REPLY SKIP; CLIENT REPLY SKIP; PING 1; PING 2; QUIT",
        "CLIENT REPLY SKIP; CLIENT REPLY ON; PING 1; QUIT",
        "CLIENT REPLY SKIP; CLIENT REPLY OFF; PING 1; CLIENT REPLY ON; PING 2; QUIT",
        "CLIENT REPLY OFF; CLIENT REPLY SKIP; PING 1; PING 2; CLIENT REPLY ON; PING 3; QUIT",
        "CLIENT REPLY OFF; CLIENT REPLY foo; PING; CLIENT REPLY ON; PING 3; QUIT",
        "CLIENT REPLY OFF; RESET; PING 1; QUIT",
        "CLIENT REPLY SKIP; RESET; PING 1; QUIT",
        "CLIENT REPLY OFF; MSET a 1 b 2 c 3 d 4; MGET a b c d; LPUSH a x; CLIENT REPLY ON; MGET a b c d; QUIT",
        "MSET a 1 b 2 c 3 d 4; CLIENT REPLY SKIP; MGET a b c d; DEL a b c; CLIENT REPLY SKIP; DBSIZE; MGET a d; QUIT",
        "PING 1; GET a; CLIENT REPLY SKIP; ECHO no; ECHO yes; CLIENT REPLY SKIP; GET a; CLIENT ID x; GET b; QUIT",
        "CLIENT REPLY SKIP; HELLO 3; PING; GET a; QUIT",
        "CLIENT REPLY SKIP; SELECT 1; SET a 5; SELECT 0; GET a; QUIT",
        "CLIENT REPLY SKIP; CLIENT LIST; CLIENT REPLY SKIP; CLIENT KILL ID 987654; PING 1; QUIT",
        "CLIENT REPLY SKIP; SUBSCRIBE; PING 1; QUIT",
    ]);
    // Redis would leave it open
    let cluster = cluster_of(1);
    let mut client = cluster.client();
    client.send(&[bulk_request(&["CLIENT", "REPLY", "OFF"]), bulk_request(&["QUIT"])].concat());
    assert_eq!(client.rest(), b"");
}

#[test]
fn i2_a_hundred_thousand_silent_commands_leave_the_next_reply_its_own() {
    let cluster = cluster_of(2);
    let mut client = cluster.client();
    client.call(&["SET", "big", &"x".repeat(200_000)]);
    let mut bytes = bulk_request(&["CLIENT", "REPLY", "OFF"]);
    for round in 0..20_000 {
        bytes.extend(bulk_request(&["INCR", &format!("n{}", round % 7)]));
        bytes.extend(bulk_request(&["MGET", "n1", "n2", "n3"]));
        bytes.extend(bulk_request(&["nosuch", "command"]));
        bytes.extend(bulk_request(&["ECHO", "lost"]));
        bytes.extend(bulk_request(&["LPUSH", "n0", "wrong type"]));
    }
    for _ in 0..50 {
        bytes.extend(bulk_request(&["GET", "big"]));
    }
    bytes.extend(bulk_request(&["CLIENT", "REPLY", "ON"]));
    bytes.extend(bulk_request(&["GET", "n0"]));
    client.send(&bytes);
    assert_eq!(client.text_reply(), "+OK\r\n");
    assert_eq!(client.text_reply(), "$4\r\n2858\r\n");
    let mut sum = 0;
    for at in 0..7 {
        let reply = client.text(&["GET", &format!("n{at}")]);
        sum += reply.lines().nth(1).expect("a value").parse::<u32>().expect("a number");
    }
    assert_eq!(sum, 20_000, "all of them ran, once");
}

#[test]
fn a_silent_client_of_a_dead_node_gets_its_next_reply_right() {
    let mut cluster = Cluster::start(2);
    let dead = cluster.key_of("cache-1");
    let alive = cluster.key_of("cache-2");
    let mut client = cluster.client();
    cluster.server_mut("cache-1").kill();
    let both = ["MGET", &dead, &alive];
    let pipeline = [
        bulk_request(&["CLIENT", "REPLY", "OFF"]),
        bulk_request(&["SET", &dead, "v"]),
        bulk_request(&["SET", &alive, "v"]),
        bulk_request(&both),
        bulk_request(&["DBSIZE"]),
        bulk_request(&["CLIENT", "REPLY", "ON"]),
        bulk_request(&["GET", &alive]),
    ];
    client.send(&pipeline.concat());
    assert_eq!(client.text_reply(), "+OK\r\n");
    assert_eq!(client.text_reply(), "$1\r\nv\r\n");
}

#[test]
fn pause_holds_commands_back_until_unpause_and_runs_each_once() {
    let cluster = cluster_of(3);
    let mut operator = cluster.client();
    let mut clients: Vec<RawClient> = (0..6).map(|_| cluster.client()).collect();
    assert_eq!(operator.text(&["CLIENT", "PAUSE", "600000", "WRITE"]), "+OK\r\n");
    clients.push(cluster.client()); // one that comes during the pause
    for client in &mut clients {
        client.send(
            &[bulk_request(&["GET", "n"]), bulk_request(&["INCR", "n"]), bulk_request(&["PING"])].concat(),
        );
        assert_eq!(client.text_reply(), "$-1\r\n", "reads go on, and nothing is written");
    }
    // so does what only looks at a key
    let mut looks = cluster.client();
    assert_eq!(looks.text(&["WATCH", "n"]), "+OK\r\n");
    drop(looks);
    let held = |operator: &mut RawClient| {
        let told = lines(&operator.text(&["CLIENT", "LIST"]));
        told.iter().filter(|line| line["flags"].contains('b')).count()
    };
    wait_for("all to be held", || held(&mut operator) == 7);
    // one that leaves meanwhile does not run what it had asked for
    let mut leaves = cluster.client();
    leaves.send_command(&["SET", "left", "1"]);
    wait_for("it to be held", || held(&mut operator) == 8);
    drop(leaves);
    wait_for("it to be gone", || held(&mut operator) == 7);
    assert_eq!(operator.text(&["CLIENT", "UNPAUSE"]), "+OK\r\n");
    let mut counted: Vec<String> = clients.iter_mut().map(RawClient::text_reply).collect();
    counted.sort();
    assert_eq!(counted, (1..=7).map(|n| format!(":{n}\r\n")).collect::<Vec<_>>());
    for client in &mut clients {
        assert_eq!(client.text_reply(), "+PONG\r\n");
    }
    assert_eq!(operator.text(&["EXISTS", "left"]), ":0\r\n");
}

#[test]
fn pause_all_holds_reads_too_and_ends_by_itself() {
    let cluster = cluster_of(2);
    let (mut operator, mut reader) = (cluster.client(), cluster.client());
    let begun = Instant::now();
    // what follows in the same pipeline is held as well
    operator.send(&[bulk_request(&["CLIENT", "PAUSE", "400"]), bulk_request(&["PING"])].concat());
    assert_eq!(operator.text_reply(), "+OK\r\n");
    reader.send(&[bulk_request(&["nosuch"]), bulk_request(&["GET", "k"])].concat());
    assert!(
        reader.text_reply().starts_with("-ERR unknown command"),
        "what is refused anyhow is told at once"
    );
    assert_eq!(reader.text_reply(), "$-1\r\n");
    assert_eq!(operator.text_reply(), "+PONG\r\n");
    assert!(begun.elapsed() >= Duration::from_millis(380), "{:?}", begun.elapsed());
    // the longer and the stricter of two holds
    operator.text(&["CLIENT", "PAUSE", "1", "ALL"]);
    operator.text(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    assert_eq!(reader.text(&["GET", "k"]), "$-1\r\n", "the first one has ended");
    reader.send_command(&["SET", "k", "v"]);
    assert_eq!(reader.try_reply(Duration::from_millis(150)), Err(NoReply::Silent(Vec::new())));
    operator.text(&["CLIENT", "UNPAUSE"]);
    assert_eq!(reader.text_reply(), "+OK\r\n");
}

#[test]
fn a_drain_does_not_wait_for_the_end_of_a_pause() {
    let mut cluster = cluster_of(2);
    let (mut operator, mut writer) = (cluster.client(), cluster.client());
    operator.text(&["CLIENT", "PAUSE", "600000", "WRITE"]);
    writer.send_command(&["SET", "k", "v"]);
    wait_for("the write to be held", || {
        lines(&operator.text(&["CLIENT", "LIST"])).iter().any(|line| line["flags"].contains('b'))
    });
    cluster.harness.drain();
    assert_eq!(writer.rest(), b"+OK\r\n", "what was read is answered");
}

#[test]
fn reset_brings_everything_back() {
    let cluster = cluster_of(2);
    let mut client = cluster.client3();
    for request in ["CLIENT SETNAME n", "SELECT 2", "CLIENT NO-EVICT OFF"] {
        assert_eq!(client.text(&words(request)), "+OK\r\n");
    }
    client.send(&[bulk_request(&["CLIENT", "REPLY", "OFF"]), bulk_request(&["RESET"])].concat());
    assert_eq!(client.text_reply(), "+RESET\r\n");
    let line = &lines(&client.text(&["CLIENT", "INFO"]))[0];
    let told: Vec<&str> = ["name", "db", "resp", "flags"].iter().map(|name| line[*name].as_str()).collect();
    assert_eq!(told, ["", "0", "2", "N"]);
}

#[test]
fn i9_a_list_of_a_thousand_clients_is_one_reply_and_others_are_served() {
    let cluster = cluster_of(2);
    let clients: Vec<RawClient> = (0..1000).map(|_| cluster.client()).collect();
    let mut asks = cluster.client();
    wait_for("all to be told", || lines(&asks.text(&["CLIENT", "LIST"])).len() == clients.len() + 1);
    asks.send(&bulk_request(&["CLIENT", "LIST"]).repeat(20));
    assert_eq!(cluster.client().text(&["SET", "k", "v"]), "+OK\r\n");
    for _ in 0..20 {
        assert!(lines(&asks.text_reply()).len() > clients.len());
    }
    drop(clients);
    wait_for("all to be gone", || lines(&asks.text(&["CLIENT", "LIST"])).len() <= 2);
}
