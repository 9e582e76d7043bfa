//! CLIENT LIST, REPLY, PAUSE and KILL on clients that do more than ask and answer: transactions, commands that wait,
//! subscriptions, commands over all nodes.

use std::time::Duration;

use ringway_proxy::settings::NodeSpec;

use crate::client_commands::{lines, same_pipelines, words};
use crate::support::frame::bulk_request;
use crate::support::harness::specs;
use crate::support::{Cluster, NoReply, RawClient, RedisServer, wait_for};

fn cluster() -> Cluster {
    Cluster::start_with(2, |settings| settings.threads = 2)
}

fn id_of(client: &mut RawClient) -> String {
    client.text(&["CLIENT", "ID"]).trim_start_matches(':').trim_end().to_owned()
}

/// The line of one client, as another sees it.
fn fields<const N: usize>(asks: &mut RawClient, id: &str, names: [&str; N]) -> [String; N] {
    let line = &lines(&asks.text(&["CLIENT", "LIST", "ID", id]))[0];
    names.map(|name| line[name].clone())
}

#[test]
fn i2_replies_are_dropped_in_every_mode() {
    same_pipelines(&[
        "CLIENT REPLY SKIP; MULTI; SET a 1; EXEC; GET a; QUIT",
        "MULTI; SET a 1; EXEC; CLIENT REPLY OFF; MULTI; INCR a; INCR a; EXEC; CLIENT REPLY ON; GET a; QUIT",
        "CLIENT REPLY OFF; WATCH a; MULTI; INCR a; EXEC; CLIENT REPLY ON; GET a; QUIT",
        "WATCH a; CLIENT REPLY SKIP; UNWATCH; CLIENT REPLY SKIP; EXEC; CLIENT REPLY SKIP; DISCARD; PING 1; QUIT",
        "CLIENT REPLY OFF; MULTI; nosuch; EXEC; CLIENT REPLY ON; GET a; QUIT",
        "CLIENT REPLY OFF; MULTI; RESET; PING 1; QUIT",
        "CLIENT REPLY OFF; WATCH a; WATCH a; RESET; PING 1; QUIT",
        "RPUSH l x y; CLIENT REPLY SKIP; BLPOP l 0; BLPOP l 0; LLEN l; QUIT",
        "CLIENT REPLY OFF; BLPOP l 0.01; BRPOP a 0.01 x; CLIENT REPLY ON; LLEN l; QUIT",
        "CLIENT REPLY SKIP; CLIENT UNBLOCK 987654; CLIENT UNBLOCK 987654; QUIT",
        "CLIENT REPLY SKIP; INFO; PING 1; QUIT",
        "CLIENT REPLY SKIP; SCAN 0; CLIENT REPLY SKIP; DBSIZE; CLIENT REPLY SKIP; LASTSAVE; PING 1; QUIT",
        "CLIENT REPLY SKIP; PUBLISH ready 1; PUBLISH ready 2; PUBSUB NUMPAT; QUIT",
        "CLIENT REPLY OFF; SUBSCRIBE x y; PING; UNSUBSCRIBE x; UNSUBSCRIBE; CLIENT REPLY ON; PING 1; QUIT",
        "CLIENT REPLY SKIP; SUBSCRIBE x; UNSUBSCRIBE x; PING 1; QUIT",
        "CLIENT REPLY OFF; SUBSCRIBE; GET a; SUBSCRIBE x; GET a; RESET; PING 1; QUIT",
        "CLIENT REPLY OFF; PSUBSCRIBE x*; PUNSUBSCRIBE; SSUBSCRIBE x; SUNSUBSCRIBE; CLIENT REPLY ON; PING 1; QUIT",
    ]);
}

#[test]
fn messages_reach_a_client_that_wants_no_replies() {
    let cluster = cluster();
    let mut publisher = cluster.client();
    // a channel each: a node may count one that has left until it has heard of that
    for (mut listener, channel) in [(cluster.client(), "c"), (cluster.client3(), "d")] {
        let subscribe = bulk_request(&["SUBSCRIBE", channel]);
        listener.send(&[bulk_request(&["CLIENT", "REPLY", "OFF"]), subscribe].concat());
        assert!(listener.text_reply().ends_with(&format!("$9\r\nsubscribe\r\n$1\r\n{channel}\r\n:1\r\n")));
        listener.send_command(&["PING"]);
        assert_eq!(publisher.text(&["PUBLISH", channel, "news"]), ":1\r\n");
        let message = format!("$7\r\nmessage\r\n$1\r\n{channel}\r\n$4\r\nnews\r\n");
        assert!(listener.text_reply().ends_with(&message));
        listener.send_command(&["RESET"]);
        assert_eq!(listener.text_reply(), "+RESET\r\n");
    }
}

#[test]
fn i2_a_large_command_whose_memory_is_handed_over_is_silent_too() {
    let cluster = cluster();
    let mut client = cluster.client();
    let large = "x".repeat(3 << 20);
    for round in 0..3 {
        let (skip, set) =
            (bulk_request(&["CLIENT", "REPLY", "SKIP"]), bulk_request(&["SET", "large", &large]));
        client.send(&[skip, set.clone(), bulk_request(&["STRLEN", "large"]), set].concat());
        assert_eq!(client.text_reply(), format!(":{}\r\n", large.len()), "round {round}");
        assert_eq!(client.text_reply(), "+OK\r\n");
    }
}

#[test]
fn a_library_loaded_in_silence_reaches_nodes_that_join() {
    let cluster = cluster();
    let code = "#!lua name=quiet\nredis.register_function('quiet', function() return 7 end)";
    let mut client = cluster.client();
    client.send(
        &[bulk_request(&["CLIENT", "REPLY", "SKIP"]), bulk_request(&["FUNCTION", "LOAD", code])].concat(),
    );
    assert_eq!(client.text(&["PING"]), "+PONG\r\n");
    let joining = RedisServer::start();
    let mut nodes = specs(&cluster.nodes);
    nodes.push(NodeSpec::new("late", joining.address()));
    cluster.apply(nodes);
    assert_eq!(client.text(&["FCALL", "quiet", "1", &cluster.key_of("late")]), ":7\r\n");
}

#[test]
fn a_pause_of_writes_holds_back_what_redis_holds_back() {
    let cluster = cluster();
    let mut operator = cluster.client();
    let script = "return redis.call('get', KEYS[1])";
    // each line and whether its last command is held
    for (line, is_held) in [
        ("MULTI; GET {t}a; EXEC", false),
        ("MULTI; SET {t}a 1", true),
        ("MULTI; SET {t}a 1; EXEC", true),
        ("MULTI; GET {t}a; PUBLISH {t}a m; EXEC", true),
        ("WATCH {t}a; MULTI; GET {t}a; EXEC", false),
        ("WATCH {t}a; MULTI; INCR {t}a; EXEC", true),
        ("MULTI; SET {t}a 1; nosuch; EXEC", true),
        ("MULTI; SET {t}a 1; DISCARD", false),
        ("BLPOP {t}l 0.01", true),
        ("XREAD BLOCK 1 STREAMS {t}x $", false),
        ("MSET {t}a 1 b 2 c 3", true),
        ("FUNCTION FLUSH", true),
        ("SCRIPT EXISTS a", false),
        ("PUBLISH c m", true),
        ("SUBSCRIBE c", false),
        ("FCALL nosuch 0", true),
        ("PFCOUNT {t}h", true),
        ("INFO server", false),
        ("CLIENT UNBLOCK 987654", false),
    ] {
        let mut client = cluster.client();
        let id = id_of(&mut client);
        let commands: Vec<&str> = line.split("; ").collect();
        let (last, before) = commands.split_last().expect("a command");
        before.iter().for_each(|command| drop(client.call(&words(command))));
        operator.text(&["CLIENT", "PAUSE", "600000", "WRITE"]);
        client.send_command(&words(last));
        if is_held {
            wait_for(&format!("{line} to be held"), || {
                fields(&mut operator, &id, ["flags"])[0].contains('b')
            });
            assert_eq!(
                client.try_reply(Duration::from_millis(5)),
                Err(NoReply::Silent(Vec::new())),
                "{line}"
            );
            operator.text(&["CLIENT", "UNPAUSE"]);
            client.reply();
        } else {
            client.reply();
            operator.text(&["CLIENT", "UNPAUSE"]);
        }
    }
    let mut client = cluster.client();
    operator.text(&["CLIENT", "PAUSE", "600000", "WRITE"]);
    assert_eq!(client.text(&["EVAL_RO", script, "1", "{t}x"]), "$-1\r\n");
    client.send_command(&["EVAL", script, "1", "{t}x"]);
    assert_eq!(client.try_reply(Duration::from_millis(20)), Err(NoReply::Silent(Vec::new())));
    operator.text(&["CLIENT", "UNPAUSE"]);
    assert_eq!(client.text_reply(), "$-1\r\n");
}

#[test]
fn the_lines_tell_what_clients_do() {
    let cluster = cluster();
    let mut asks = cluster.client();
    let mut clients: Vec<RawClient> = (0..5).map(|_| cluster.client()).collect();
    let ids: Vec<String> = clients.iter_mut().map(id_of).collect();
    clients[0].call(&["SUBSCRIBE", "a"]);
    clients[0].call(&["PSUBSCRIBE", "b*"]);
    clients[0].call(&["SSUBSCRIBE", "c"]);
    clients[1].call(&["SELECT", "2"]);
    clients[1].call(&["MULTI"]);
    clients[1].call(&["SET", "k", "v"]);
    clients[2].send_command(&["BLPOP", "l", "0"]);
    clients[3].call(&["HELLO", "3"]);
    clients[3].call(&["SUBSCRIBE", "a"]);
    wait_for("one to wait", || fields(&mut asks, &ids[2], ["flags"]) == ["b"]);
    assert_eq!(fields(&mut asks, &ids[0], ["flags", "sub", "psub", "ssub"]), ["P", "1", "1", "1"]);
    assert_eq!(fields(&mut asks, &ids[1], ["flags", "db", "multi", "sub"]), ["x", "2", "1", "0"]);
    let queued: usize = fields(&mut asks, &ids[1], ["multi-mem"])[0].parse().expect("a number");
    assert!(queued >= bulk_request(&["SET", "k", "v"]).len(), "{queued}");
    assert_eq!(fields(&mut asks, &ids[3], ["flags", "sub", "resp"]), ["P", "1", "3"]);
    assert_eq!(fields(&mut asks, &ids[4], ["flags", "multi"]), ["N", "-1"]);
    let told = lines(&asks.text(&["CLIENT", "LIST", "TYPE", "pubsub"]));
    assert_eq!(told.iter().map(|line| &line["id"]).collect::<Vec<_>>(), [&ids[0], &ids[3]]);
    assert_eq!(asks.text(&["CLIENT", "KILL", "TYPE", "pubsub"]), ":2\r\n");
    assert_eq!(asks.text(&["CLIENT", "KILL", "ID", &ids[2]]), ":1\r\n");
    for at in [0, 2, 3] {
        assert_eq!(clients[at].rest(), b"", "client {at} is closed");
    }
    wait_for("nobody to wait", || {
        cluster
            .nodes
            .iter()
            .all(|node| node.call::<String>(&["INFO", "clients"]).contains("blocked_clients:0"))
    });
    assert_eq!(asks.text(&["LPUSH", "l", "x"]), ":1\r\n");
    assert_eq!(asks.text(&["LLEN", "l"]), ":1\r\n", "nobody takes it any more");
    assert_eq!(clients[1].text(&["EXEC"]), "*1\r\n+OK\r\n");
}

#[test]
fn who_ends_its_side_during_a_pause_is_gone_and_its_command_not_run() {
    let cluster = cluster();
    let mut operator = cluster.client();
    operator.text(&["CLIENT", "PAUSE", "600000", "WRITE"]);
    // the end may be read in the turn in which the reply comes, before that is written
    for round in 0..300 {
        let mut client = cluster.client();
        client.send(&[bulk_request(&["GET", "k"]), bulk_request(&["SET", "k", "v"])].concat());
        if round % 2 == 1 {
            std::thread::sleep(Duration::from_micros(2 * round));
        }
        client.finish_sending();
        assert_eq!(client.rest(), b"$-1\r\n", "{round}");
    }
    operator.text(&["CLIENT", "UNPAUSE"]);
    assert_eq!(operator.text(&["GET", "k"]), "$-1\r\n");
}

#[test]
fn an_exec_with_too_many_words_leaves_a_listener_in_its_mode() {
    same_pipelines(&[
        "SUBSCRIBE x; EXEC y; GET a; PING; UNSUBSCRIBE x; GET a; QUIT",
        "MULTI; GET a; EXEC y; GET a; EXEC; QUIT",
    ]);
}
