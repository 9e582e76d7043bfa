//! Commands about the connection itself, which the proxy answers, and commands that it refuses by rule.

use std::collections::HashSet;

use ringway_proxy::settings::Secret;

use crate::support::frame::bulk;
use crate::support::{Cluster, wait_for};

#[test]
fn ping_echo_time_and_quit() {
    let cluster = Cluster::start(1);
    let mut client = cluster.client();
    assert_eq!(client.text(&["PING"]), "+PONG\r\n");
    assert_eq!(client.text(&["ping", "hello"]), "$5\r\nhello\r\n");
    assert_eq!(client.text(&["ECHO", "a\r\nb"]), "$4\r\na\r\nb\r\n");
    let time = client.text(&["TIME"]);
    let parts: Vec<&str> = time.split("\r\n").collect();
    let seconds: u64 = parts[2].parse().expect("seconds");
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    assert!(parts[0] == "*2" && now.abs_diff(seconds) < 600, "{time:?}");
    assert!(parts[4].parse::<u32>().expect("microseconds") < 1_000_000);
    client.send_command(&["QUIT"]);
    assert_eq!(client.rest(), b"+OK\r\n");
}

/// Pairs of a flat array or map of bulk strings and integers, as text.
fn fields(reply: &str) -> Vec<String> {
    let lines = reply.split("\r\n").skip(1).filter(|line| !line.is_empty() && !line.starts_with('$'));
    lines.map(|line| line.trim_start_matches(':').to_owned()).collect()
}

#[test]
fn hello_changes_the_protocol_back_and_forth() {
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    client.call(&["HSET", "h", "f", "1.5"]);
    client.call(&["SADD", "s", "1"]);
    client.call(&["ZADD", "z", "1.5", "m"]);
    for round in 0..3 {
        let hello = client.text(&["HELLO", "3"]);
        let told = fields(&hello);
        assert!(hello.starts_with('%'), "{hello:?}");
        for (name, value) in [("server", "redis"), ("proto", "3"), ("mode", "standalone"), ("role", "master")]
        {
            let at =
                told.iter().position(|field| field == name).unwrap_or_else(|| panic!("{name} in {hello:?}"));
            assert_eq!(told[at + 1], value, "{name}");
        }
        assert_eq!(client.text(&["HGETALL", "h"]), "%1\r\n$1\r\nf\r\n$3\r\n1.5\r\n", "round {round}");
        assert_eq!(client.text(&["SMEMBERS", "s"]), "~1\r\n$1\r\n1\r\n");
        assert_eq!(client.text(&["ZSCORE", "z", "m"]), ",1.5\r\n");
        assert_eq!(client.text(&["ZRANGE", "z", "0", "-1", "WITHSCORES"]), "*1\r\n*2\r\n$1\r\nm\r\n,1.5\r\n");
        assert_eq!(client.text(&["GET", "none"]), "_\r\n");
        assert_eq!(client.text(&["MGET", "none", "other", "third"]), "*3\r\n_\r\n_\r\n_\r\n");

        assert!(client.text(&["HELLO", "2"]).starts_with('*'));
        assert_eq!(client.text(&["HGETALL", "h"]), "*2\r\n$1\r\nf\r\n$3\r\n1.5\r\n");
        assert_eq!(client.text(&["ZSCORE", "z", "m"]), "$3\r\n1.5\r\n");
        assert_eq!(client.text(&["GET", "none"]), "$-1\r\n");
    }
    assert!(client.text(&["HELLO", "4"]).starts_with("-NOPROTO"));
    assert_eq!(client.text(&["GET", "none"]), "$-1\r\n", "a refused HELLO changes nothing");
}

#[test]
fn a_pipeline_across_hello_has_each_reply_in_its_own_protocol() {
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    client.send(b"GET none\r\nHELLO 3\r\nGET none\r\nHELLO 2\r\nGET none\r\n");
    assert_eq!(client.reply(), b"$-1\r\n");
    assert_eq!(client.reply()[0], b'%');
    assert_eq!(client.reply(), b"_\r\n");
    assert_eq!(client.reply()[0], b'*');
    assert_eq!(client.reply(), b"$-1\r\n");
}

#[test]
fn clients_of_both_protocols_share_nodes_without_mixing() {
    let cluster = Cluster::start(1);
    let (mut two, mut three) = (cluster.client(), cluster.client3());
    for _ in 0..200 {
        two.send_command(&["GET", "none"]);
        three.send_command(&["GET", "none"]);
    }
    for _ in 0..200 {
        assert_eq!(three.reply(), b"_\r\n");
        assert_eq!(two.reply(), b"$-1\r\n");
    }
}

#[test]
fn client_subcommands() {
    let cluster = Cluster::start(1);
    let mut clients: Vec<_> = (0..20).map(|_| cluster.client()).collect();
    let ids: HashSet<String> = clients.iter_mut().map(|client| client.text(&["CLIENT", "ID"])).collect();
    assert_eq!(ids.len(), 20, "every client has its own number");
    assert!(ids.iter().all(|id| id.starts_with(':')), "{ids:?}");
    let client = &mut clients[0];
    assert_eq!(client.text(&["CLIENT", "GETNAME"]), "$-1\r\n");
    assert_eq!(client.text(&["CLIENT", "SETNAME", "worker-7"]), "+OK\r\n");
    assert_eq!(client.text(&["CLIENT", "GETNAME"]), "$8\r\nworker-7\r\n");
    assert!(client.text(&["CLIENT", "SETNAME", "two words"]).starts_with("-ERR"));
    assert_eq!(client.text(&["CLIENT", "SETINFO", "LIB-NAME", "lib"]), "+OK\r\n");
    assert_eq!(client.text(&["CLIENT", "SETINFO", "LIB-VER", "1.2.3"]), "+OK\r\n");
    let info = client.text(&["CLIENT", "INFO"]);
    for part in ["id=", "addr=127.0.0.1:", "name=worker-7", "resp=2", "db=0"] {
        assert!(info.contains(part), "{part} in {info}");
    }
    assert_eq!(clients[1].text(&["CLIENT", "GETNAME"]), "$-1\r\n", "a name is one's own");
}

#[test]
fn reset_brings_the_connection_back_to_how_it_began() {
    let cluster = Cluster::start(1);
    let mut client = cluster.client3();
    client.call(&["CLIENT", "SETNAME", "named"]);
    assert_eq!(client.text(&["RESET"]), "+RESET\r\n");
    assert_eq!(client.text(&["CLIENT", "GETNAME"]), "$-1\r\n");
    assert_eq!(client.text(&["GET", "none"]), "$-1\r\n", "RESP2 again");
}

#[test]
fn command_describes_the_table() {
    let cluster = Cluster::start(1);
    let mut client = cluster.client();
    let count: usize = client.text(&["COMMAND", "COUNT"])[1..].trim().parse().expect("a count");
    assert!(count > 150, "{count}");
    assert!(client.text(&["COMMAND"]).starts_with(&format!("*{count}\r\n")));
    let info = client.text(&["COMMAND", "INFO", "get", "nosuch"]);
    assert!(info.starts_with("*2\r\n*10\r\n$3\r\nget\r\n:2\r\n"), "{info}");
    // Redis answers a null array for a name it does not know
    assert!(info.ends_with("*-1\r\n") || info.ends_with("$-1\r\n"), "{info}");
    assert!(client.text(&["COMMAND", "DOCS", "get"]).contains("summary"));
    assert_eq!(
        client.text(&["COMMAND", "GETKEYS", "MSET", "a", "1", "b", "2"]),
        "*2\r\n$1\r\na\r\n$1\r\nb\r\n"
    );
    assert!(client.text(&["COMMAND", "LIST"]).starts_with('*'));
}

#[test]
fn info_names_the_proxy_and_its_sections() {
    let cluster = Cluster::start(1);
    let mut client = cluster.client();
    let info = client.text(&["INFO"]);
    for part in ["# Server", "redis_version:", "tcp_port:", "connected_clients:"] {
        assert!(info.contains(part), "{part} in {info}");
    }
    assert!(client.text(&["INFO", "server"]).contains("redis_version:"));
    let mut three = cluster.client3();
    assert!(three.text(&["INFO"]).starts_with("="), "a text for people in RESP3");
}

#[test]
fn a_password_is_asked_for_and_not_shown() {
    let cluster = Cluster::start_with(1, |settings| settings.password = Some(Secret::new("pa55word")));
    let mut client = cluster.client();
    assert_eq!(client.text(&["GET", "k"]), "-NOAUTH Authentication required.\r\n");
    let wrong = client.text(&["AUTH", "wrong"]);
    assert!(wrong.starts_with("-WRONGPASS") && !wrong.contains("pa55word"), "{wrong}");
    assert_eq!(client.text(&["GET", "k"]), "-NOAUTH Authentication required.\r\n");
    assert_eq!(client.text(&["AUTH", "pa55word"]), "+OK\r\n");
    wait_for("the node to be connected", || client.call(&["SET", "k", "v"]) == b"+OK\r\n");

    let mut hello = cluster.client();
    assert!(
        hello
            .text(&["HELLO"])
            .starts_with("-NOAUTH HELLO must be called with the client already authenticated")
    );
    assert!(
        hello
            .text(&["HELLO", "3"])
            .starts_with("-NOAUTH HELLO must be called with the client already authenticated")
    );
    assert!(hello.text(&["HELLO", "3", "AUTH", "default", "pa55word", "SETNAME", "app"]).starts_with('%'));
    assert_eq!(hello.text(&["CLIENT", "GETNAME"]), "$3\r\napp\r\n");

    let url = format!("redis://:pa55word@{}/", cluster.address());
    let mut connection = redis::Client::open(url).expect("a URL").get_connection().expect("authenticated");
    assert_eq!(redis::cmd("GET").arg("k").query::<String>(&mut connection).expect("a value"), "v");

    // every command of a pipeline is judged by what holds when its turn comes
    let mut pipelined = cluster.client();
    pipelined.send(b"GET k\r\nAUTH pa55word\r\nGET k\r\nRESET\r\nGET k\r\n");
    let noauth = b"-NOAUTH Authentication required.\r\n".to_vec();
    for expected in [noauth.clone(), b"+OK\r\n".to_vec(), bulk(b"v"), b"+RESET\r\n".to_vec(), noauth] {
        assert_eq!(pipelined.reply(), expected);
    }
}

#[test]
fn refused_commands_say_by_which_rule_and_reach_no_node() {
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    let commands = [
        "MONITOR",
        "SYNC",
        "PSYNC ? -1",
        "KEYS *",
        "FLUSHALL",
        "FLUSHDB",
        "SHUTDOWN",
        "CONFIG SET maxmemory 0",
        "DEBUG SLEEP 0",
        "CLIENT NO-TOUCH ON",
        "SWAPDB 0 1",
        "ACL SETUSER a",
        "SAVE",
        "BGSAVE",
        "CLUSTER NODES",
        "REPLICAOF NO ONE",
        "LATENCY GRAPH command",
        "MODULE LOAD x",
        "SCRIPT DEBUG NO",
        "READONLY",
        "ASKING",
        "MIGRATE h 1 k 0 10",
    ];
    let before: Vec<u64> = cluster.nodes.iter().map(commands_processed).collect();
    for line in commands {
        let args: Vec<&str> = line.split(' ').collect();
        let reply = client.text(&args);
        let name = args[0].to_lowercase();
        assert!(reply.starts_with("-ERR ") && reply.to_lowercase().contains(&name), "{line}: {reply}");
        assert!(!reply.contains("unknown command"), "{line} is known and refused: {reply}");
        assert!(reply.len() > name.len() + 20, "{line}: the rule is named: {reply}");
        assert_eq!(
            client.text(&["ECHO", line]),
            format!("${}\r\n{line}\r\n", line.len()),
            "{line} leaves the connection as it was"
        );
    }
    for (server, before) in cluster.nodes.iter().zip(before) {
        // the reading of INFO itself counts, and health checks may
        let after = commands_processed(server);
        assert!(after - before < commands.len() as u64, "{before} to {after}");
    }
}

fn commands_processed(server: &crate::support::RedisServer) -> u64 {
    let info: String = server.call(&["INFO", "stats"]);
    let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
    line.expect("a count").trim().parse().expect("a number")
}

#[test]
fn container_help_is_answered() {
    let cluster = Cluster::start(1);
    let mut client = cluster.client();
    for container in
        ["ACL", "CLIENT", "COMMAND", "CONFIG", "LATENCY", "MODULE", "OBJECT", "SLOWLOG", "XGROUP"]
    {
        let help = client.text(&[container, "HELP"]);
        assert!(help.starts_with('*') && help.contains(container), "{help}");
    }
}
