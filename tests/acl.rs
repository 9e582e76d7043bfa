//! Users and what each may do: by configuration, by ACL SETUSER, and as Redis judges it.

use ringway_proxy::command::{self, Command, Keys};
use ringway_proxy::settings::Settings;

use crate::support::frame::bulk;
use crate::support::random::Random;
use crate::support::{Cluster, RawClient, RedisServer, wait_for};

/// What ACL SETUSER and its kin need to be allowed.
fn allow(settings: &mut Settings) {
    settings.allowed_commands =
        ["acl|setuser", "acl|deluser", "acl|save", "keys", "monitor"].map(String::from).to_vec();
}

/// Workers that share nothing, so that a change has to reach them all.
fn cluster() -> Cluster {
    Cluster::start_with(2, |settings| {
        settings.threads = 3;
        allow(settings);
    })
}

fn log_in(cluster: &Cluster, user: &str) -> RawClient {
    let mut client = cluster.client();
    assert_eq!(client.text(&["AUTH", user, "pw"]), "+OK\r\n", "{user}");
    client
}

fn set_user(client: &mut RawClient, rules: &str) {
    let words: Vec<&str> = ["ACL", "SETUSER"].into_iter().chain(rules.split(' ')).collect();
    assert_eq!(client.text(&words), "+OK\r\n", "{rules}");
}

fn is_closed(client: &mut RawClient) {
    assert!(client.rest().is_empty());
}

fn no_perm(client: &mut RawClient, request: &str, what: &str) {
    let words: Vec<&str> = request.split(' ').collect();
    let reply = client.text(&words);
    assert!(reply.starts_with("-NOPERM") && reply.contains(what), "{request}: {reply}");
}

#[test]
fn a_user_does_what_its_rules_allow_and_nothing_else() {
    let cluster = cluster();
    let mut admin = cluster.client();
    set_user(&mut admin, "shop on >pw +@all -@dangerous ~shop:* %R~common:* &shop:*");
    let mut shop = log_in(&cluster, "shop");
    assert_eq!(shop.text(&["ACL", "WHOAMI"]), "$4\r\nshop\r\n");
    assert!(admin.text(&["CLIENT", "LIST"]).contains(" user=shop "));
    // what it may goes its way, to each node
    for at in 0..50 {
        let key = format!("shop:{at}");
        assert_eq!(shop.text(&["SET", &key, "v"]), "+OK\r\n");
        assert_eq!(shop.call(&["GET", &key]), bulk(b"v"));
    }
    assert_eq!(shop.text(&["MSET", "shop:a", "1", "shop:b", "2"]), "+OK\r\n");
    assert_eq!(shop.text(&["MGET", "common:1", "shop:a"]), "*2\r\n$-1\r\n$1\r\n1\r\n");
    let key = "one of the keys";
    for (request, what) in [
        ("GET other", key),
        ("MGET shop:a other", key),
        ("SET common:1 v", key),
        ("MSET shop:a 1 common:1 2", key),
        ("DEL other", key),
        ("BLPOP other 0", key),
        ("WATCH other", key),
        ("XREAD BLOCK 0 STREAMS other $", key),
        ("SORT shop:l BY w_*", "'sort' command"),
        ("SORT_RO shop:l BY w_*", "'sort_ro' command"),
        ("KEYS *", "'keys' command"),
        ("MONITOR", "'monitor' command"),
        ("ACL SETUSER shop ~*", "'acl|setuser' command"),
        ("ACL LIST", "'acl|list' command"),
        ("CONFIG GET maxmemory", "'config|get' command"),
        ("CLIENT KILL ID 1", "'client|kill' command"),
        ("SUBSCRIBE other", "one of the channels"),
        ("PSUBSCRIBE shop:a*", "one of the channels"),
        ("PUBLISH other x", "one of the channels"),
        ("EVAL s 1 shop:a", "+eval allows it"),
    ] {
        no_perm(&mut shop, request, what);
    }
    assert!(
        admin.text(&["ACL", "CAT", "a", "b"]).contains("wrong number of arguments for 'CAT'. Try ACL HELP.")
    );
    set_user(&mut admin, "shop +sort +sort_ro");
    for (request, option) in [("SORT shop:l BY w_*", "BY"), ("SORT_RO shop:l BY nosort GET w_*", "GET")] {
        let reply = shop.text(&request.split(' ').collect::<Vec<_>>());
        assert_eq!(
            reply,
            format!("-ERR {option} option of SORT denied due to insufficient ACL permissions.\r\n")
        );
    }
    // an inline command and a pipeline are judged alike
    shop.send(b"GET other\r\nGET shop:a\r\n");
    assert!(shop.text_reply().starts_with("-NOPERM"));
    assert_eq!(shop.reply(), bulk(b"1"));
    // a refused command spoils a transaction
    shop.call(&["MULTI"]);
    assert_eq!(shop.text(&["SET", "shop:a", "3"]), "+QUEUED\r\n");
    no_perm(&mut shop, "SET other 3", key);
    assert!(shop.text(&["EXEC"]).starts_with("-EXECABORT"));
    assert_eq!(shop.call(&["GET", "shop:a"]), bulk(b"1"));
    // nothing arrived that was refused
    assert_eq!(admin.text(&["EXISTS", "other", "common:1"]), ":0\r\n");
    // others are as they were
    assert_eq!(admin.text(&["SET", "other", "v"]), "+OK\r\n");
    // RESET makes it the default user again
    assert_eq!(shop.text(&["RESET"]), "+RESET\r\n");
    assert_eq!(shop.call(&["GET", "other"]), bulk(b"v"));
    let denied = cluster.control().snapshot().denied;
    assert!(denied[0] >= 9 && denied[1] >= 10 && denied[2] == 3, "{denied:?}");
    assert!(shop.text(&["AUTH", "shop", "wrong"]).starts_with("-WRONGPASS"));
    let info = admin.text(&["INFO", "stats"]);
    for (name, count) in [("cmd", denied[0]), ("key", denied[1]), ("channel", 3), ("auth", 1)] {
        assert!(
            info.contains(&format!("\r\nacl_access_denied_{name}:{count}\r\n")),
            "{name} {count}: {info}"
        );
    }
}

#[test]
fn a_change_holds_for_all_workers_when_it_is_answered() {
    let cluster = cluster();
    let mut admin = cluster.client();
    set_user(&mut admin, "app on >pw +@all ~* &*");
    let mut clients: Vec<RawClient> = (0..9).map(|_| log_in(&cluster, "app")).collect();
    for round in 0..20 {
        let (rules, is_let) = if round % 2 == 0 { ("app -set", false) } else { ("app +set", true) };
        set_user(&mut admin, rules);
        for client in &mut clients {
            assert_eq!(client.text(&["SET", "k", "v"]) == "+OK\r\n", is_let, "round {round}");
        }
    }
    let [queueing, subscribed, switched_off, monitor, ..] = &mut clients[..] else { unreachable!() };
    // a transaction goes on when passwords change, and runs nothing when rights do
    for (rules, is_let) in
        [("app >other <pw", true), ("app >pw", true), ("app -info", true), ("app -set", false)]
    {
        queueing.call(&["MULTI"]);
        assert_eq!(queueing.text(&["SET", "k", "v"]), "+QUEUED\r\n");
        set_user(&mut admin, rules);
        assert_eq!(queueing.text(&["EXEC"]) == "*1\r\n+OK\r\n", is_let, "{rules}");
    }
    set_user(&mut admin, "app +set");
    assert_eq!(monitor.text(&["MONITOR"]), "+OK\r\n");
    set_user(&mut admin, "app -monitor");
    monitor.rest();
    queueing.call(&["MULTI"]);
    assert_eq!(queueing.text(&["SET", "k", "queued"]), "+QUEUED\r\n");
    subscribed.call(&["SUBSCRIBE", "news:1"]);
    set_user(&mut admin, "app resetchannels &news:* resetkeys ~other");
    assert!(queueing.text(&["EXEC"]).starts_with("-EXECABORT Transaction discarded because of: NOPERM"));
    assert!(admin.text(&["ACL", "LOG", "1"]).contains("$5\r\nmulti\r\n"));
    set_user(&mut admin, "app allkeys");
    assert_eq!(queueing.call(&["GET", "k"]), bulk(b"v"));
    // one listens to what it may hear, until it may not
    assert_eq!(admin.text(&["PUBLISH", "news:1", "x"]), ":1\r\n");
    assert!(subscribed.text_reply().contains("news:1"));
    set_user(&mut admin, "app resetchannels &other");
    is_closed(subscribed);
    // who is logged in stays so
    set_user(&mut admin, "app off");
    assert_eq!(switched_off.call(&["GET", "k"]), bulk(b"v"));
    assert!(cluster.client().text(&["AUTH", "app", "pw"]).starts_with("-WRONGPASS"));
    // and is closed with its user
    assert_eq!(admin.text(&["ACL", "DELUSER", "app", "nobody"]), ":1\r\n");
    is_closed(switched_off);
    wait_for("all of them to be gone", || !admin.text(&["CLIENT", "LIST"]).contains(" user=app "));
    assert!(admin.text(&["ACL", "DELUSER", "default"]).starts_with("-ERR The 'default' user"));
}

#[test]
fn who_deletes_itself_gets_its_reply_first() {
    let cluster = cluster();
    set_user(&mut cluster.client(), "app on >pw +@all ~* &*");
    let mut app = log_in(&cluster, "app");
    app.send(b"ACL DELUSER app\r\nGET k\r\n");
    assert_eq!(app.text_reply(), ":1\r\n");
    is_closed(&mut app);
}

#[test]
fn rights_of_the_default_user_hold_for_those_who_are_connected() {
    let cluster = cluster();
    let mut admin = cluster.client();
    set_user(&mut admin, "root on >pw +@all ~* &*");
    let mut root = log_in(&cluster, "root");
    set_user(&mut root, "default -@all +get resetkeys ~a");
    assert_eq!(admin.text(&["GET", "a"]), "$-1\r\n");
    no_perm(&mut admin, "SET a v", "'set' command");
    no_perm(&mut cluster.client(), "GET b", "one of the keys");
    // strangers are asked for a password, whoever is in stays
    set_user(&mut root, "default >pw");
    let mut stranger = cluster.client();
    assert!(stranger.text(&["GET", "a"]).starts_with("-NOAUTH"));
    assert_eq!(admin.text(&["GET", "a"]), "$-1\r\n");
    // and are let in when none is asked for any more
    set_user(&mut root, "default nopass");
    assert_eq!(stranger.text(&["GET", "a"]), "$-1\r\n");
    assert!(stranger.text(&["AUTH", "x"]).starts_with("-ERR AUTH <password> called without any password"));
}

#[test]
fn users_are_told_of_and_changed_only_where_the_operator_allows_it() {
    let cluster = Cluster::start(1);
    let mut client = cluster.client();
    for request in [&["ACL", "SETUSER", "a"][..], &["ACL", "DELUSER", "a"], &["ACL", "SAVE"]] {
        let reply = client.text(request);
        assert!(
            reply.contains("the operator allows it in ringway.yaml with  commands: { allow: [acl|"),
            "{reply}"
        );
    }
    assert!(client.text(&["ACL", "LOAD"]).contains("auth: { users_file: PATH }"));
    assert_eq!(client.text(&["ACL", "USERS"]), "*1\r\n$7\r\ndefault\r\n");
    assert_eq!(client.text(&["ACL", "LIST"]), "*1\r\n$34\r\nuser default on nopass ~* &* +@all\r\n");
    assert_eq!(client.text(&["ACL", "GETUSER", "nobody"]), "$-1\r\n");
    assert_eq!(client.text(&["ACL", "GENPASS"]).len(), 64 + 7);
    assert_eq!(client.text(&["ACL", "GENPASS", "5"]).len(), 2 + 6);
    assert_ne!(client.text(&["ACL", "GENPASS"]), client.text(&["ACL", "GENPASS"]));
    assert!(client.text(&["ACL", "GENPASS", "0"]).starts_with("-ERR ACL GENPASS argument must be"));
    assert!(client.text(&["ACL", "GENPASS", "5000"]).starts_with("-ERR ACL GENPASS argument must be"));
    assert!(client.text(&["ACL", "CAT", "nothing"]).starts_with("-ERR Unknown category 'nothing'"));
    assert!(client.text(&["ACL", "HELP"]).contains("WHOAMI"));
    // categories are Redis's, and so are the commands in them that Redis 7.0 has
    let server = RedisServer::start();
    let categories: Vec<String> = server.call(&["ACL", "CAT"]);
    let mut connection = cluster.connection(2);
    let ours: Vec<String> = redis::cmd("ACL").arg("CAT").query(&mut connection).expect("categories");
    assert_eq!(ours, categories);
    for category in &categories {
        let theirs: Vec<String> = server.call(&["ACL", "CAT", category]);
        let ours: Vec<String> =
            redis::cmd("ACL").arg("CAT").arg(category).query(&mut connection).expect("names");
        let lacks: Vec<_> = theirs.iter().filter(|name| !ours.contains(name)).collect();
        assert!(lacks.is_empty(), "{category}: {lacks:?}");
    }
}

#[test]
fn a_user_is_described_as_redis_describes_it() {
    let (cluster, server) = (cluster(), RedisServer::start());
    for rules in [
        "a on >pw ~a:* %R~b &c +get",
        "b off nopass ~* &* +@all",
        "c on #2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 -@all (+get ~x) (+set ~y &z)",
    ] {
        let words: Vec<&str> = ["ACL", "SETUSER"].into_iter().chain(rules.split(' ')).collect();
        let get = ["ACL", "GETUSER", &rules[..1]];
        for (mut ours, mut theirs) in [
            (cluster.client(), server.client()),
            (cluster.client3(), {
                let mut client = server.client();
                client.call(&["HELLO", "3"]);
                client
            }),
        ] {
            assert_eq!(ours.text(&words), theirs.text(&words), "{rules}");
            assert_eq!(ours.text(&get), theirs.text(&get), "{rules}");
        }
    }
    let list = ["ACL", "LIST"];
    assert_eq!(cluster.client().text(&list), server.client().text(&list));
}

#[test]
fn refusals_are_remembered() {
    let cluster = cluster();
    let mut admin = cluster.client();
    set_user(&mut admin, "app on >pw +@all -info ~a &b");
    let mut app = log_in(&cluster, "app");
    for request in ["GET secret-key", "GET secret-key", "INFO", "PUBLISH there x"] {
        no_perm(&mut app, request, "");
    }
    app.call(&["MULTI"]);
    no_perm(&mut app, "SET c 1", "");
    cluster.client().call(&["AUTH", "app", "wrong-word"]);
    let log = admin.text(&["ACL", "LOG"]);
    assert!(log.starts_with("*5\r\n*14\r\n"), "{log}");
    let fields = |parts: [&str; 5]| {
        let [count, reason, context, object, user] = parts;
        let text = |word: &str| format!("${}\r\n{word}\r\n", word.len());
        let pairs = [("reason", reason), ("context", context), ("object", object), ("username", user)];
        let rest: String = pairs.iter().map(|(name, value)| text(name) + &text(value)).collect();
        format!("$5\r\ncount\r\n:{count}\r\n{rest}$11\r\nage-seconds\r\n$")
    };
    let expected = [
        ["1", "auth", "toplevel", "AUTH", "app"],
        ["1", "key", "multi", "c", "app"],
        ["1", "channel", "toplevel", "there", "app"],
        ["1", "command", "toplevel", "info", "app"],
        ["2", "key", "toplevel", "secret-key", "app"],
    ];
    let places: Vec<usize> = expected.map(|parts| log.find(&fields(parts)).expect(parts[3])).to_vec();
    assert!(places.is_sorted(), "the newest first: {log}");
    assert!(log.contains(" cmd=set user=app ") && !log.contains("wrong-word"), "{log}");
    // names are not told at any length (law I6), and the one that HELLO gave is the right one
    app.call(&["DISCARD"]);
    app.call(&["CLIENT", "SETNAME", &"n".repeat(100_000)]);
    no_perm(&mut app, "GET d", "");
    assert!(admin.text(&["ACL", "LOG", "1"]).len() < 2000);
    cluster.client().call(&["HELLO", "3", "SETNAME", "auth", "AUTH", "somebody", "wrong-word"]);
    assert!(admin.text(&["ACL", "LOG", "1"]).contains("username\r\n$8\r\nsomebody\r\n"));
    assert!(admin.text(&["ACL", "LOG", "1"]).starts_with("*1\r\n"));
    assert!(cluster.client3().text(&["ACL", "LOG", "1"]).starts_with("*1\r\n%7\r\n"));
    assert_eq!(admin.text(&["ACL", "LOG", "RESET"]), "+OK\r\n");
    assert_eq!(admin.text(&["ACL", "LOG"]), "*0\r\n");
}

// ---- as Redis judges it ------------------------------------------------------------------------------------------

/// A request for a row, with keys of a few names; `None` where none can be made by what the row says alone.
fn request(row: &'static Command, random: &mut Random) -> Vec<String> {
    let mut key = || ["a:1", "a:2", "b:1", "c"][random.below(4)].to_owned();
    let mut words: Vec<String> = row.full_name.split('|').map(String::from).collect();
    let least = usize::from(row.arity.unsigned_abs());
    match row.keys {
        Keys::NumKeys { at, destination, .. } => {
            while words.len() < at {
                let is_key = destination && words.len() == 1;
                words.push(if is_key { key() } else { "1".into() });
            }
            words.extend(["2".into(), key(), key(), "LEFT".into()]);
        }
        Keys::Streams { options } => {
            while words.len() < options {
                words.push(["GROUP", "g", "c"][words.len() - 1].into());
            }
            words.extend(["STREAMS".into(), key(), key(), "0".into(), "0".into()]);
        }
        Keys::GeoRadius { .. } => {
            words.push(key());
            while words.len() < least {
                words.push("1".into());
            }
            words.extend(["STORE".into(), key()]);
        }
        Keys::Sort { store } => {
            words.push(key());
            if store {
                words.extend(["STORE".into(), key()]);
            }
        }
        keys => {
            // with a destination alone Redis looks at no key of PFMERGE
            let more = usize::from(matches!(keys, Keys::Range { last: -1, step: 1, .. }));
            while words.len() < least + more {
                words.push(key());
            }
        }
    }
    words
}

fn rule(random: &mut Random) -> String {
    let commands: Vec<&str> = command::all().map(|row| row.full_name).collect();
    let categories =
        ["all", "read", "write", "keyspace", "string", "dangerous", "fast", "slow", "pubsub", "connection"];
    let sign = ["+", "-"][random.below(2)];
    let pattern = ["a:*", "b:?", "c", "[ab]:1", "*"][random.below(5)];
    match random.below(8) {
        0 | 1 => format!("{sign}@{}", categories[random.below(categories.len())]),
        2 | 3 => format!("{sign}{}", commands[random.below(commands.len())]),
        4 => format!("~{pattern}"),
        5 => format!("%{}~{pattern}", ["R", "W", "RW"][random.below(3)]),
        6 => format!("&{pattern}"),
        _ => ["resetkeys", "resetchannels", "allcommands", "+select|1", "nocommands"][random.below(5)].into(),
    }
}

/// Scripts are judged more strictly, SORT by its patterns too, and not every row is Redis 7.0's.
#[test]
fn rights_are_those_that_redis_gives() {
    let (cluster, server) = (cluster(), RedisServer::start());
    let (mut ours, mut theirs) = (cluster.client(), server.client());
    let mut random = Random::new(7);
    let scripts = ["eval", "evalsha", "eval_ro", "evalsha_ro", "fcall", "fcall_ro"];
    let mut judged = [0_u32; 2];
    for _ in 0..60 {
        let mut rules = vec!["ACL".into(), "SETUSER".into(), "u".into(), "reset".into()];
        rules.extend((0..1 + random.below(8)).map(|_| rule(&mut random)));
        if random.below(3) == 0 {
            let inside: Vec<String> = (0..1 + random.below(4)).map(|_| rule(&mut random)).collect();
            rules.push(format!("({})", inside.join(" ")));
        }
        let (one, other) = (ours.text(&rules), theirs.text(&rules));
        if other.contains("Unknown command") {
            continue;
        }
        assert_eq!(one, other, "{rules:?}");
        for row in command::all().filter(|row| !scripts.contains(&row.full_name) && !row.is_container()) {
            let words = request(row, &mut random);
            let dry: Vec<String> =
                ["ACL", "DRYRUN", "u"].map(String::from).into_iter().chain(words).collect();
            let (one, other) = (ours.text(&dry), theirs.text(&dry));
            if other.starts_with("-ERR Command") || other.starts_with("-ERR wrong number") {
                continue;
            }
            assert_eq!(one, other, "{rules:?} {dry:?}");
            judged[usize::from(one == "+OK\r\n")] += 1;
        }
    }
    assert!(judged.iter().all(|count| *count > 500), "{judged:?}");
}
