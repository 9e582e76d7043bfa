//! SCRIPT and FUNCTION on every node.

use ringway_proxy::settings::NodeSpec;

use crate::cluster::{Cluster, ok};
use crate::command_server::{Connection, Server, Value};

const SCRIPT: &str = "return redis.call('incr', KEYS[1])";

#[test]
fn a_script_that_was_loaded_runs_on_every_node() {
    let cluster = Cluster::start(3);
    for (round, mut client) in cluster.both().into_iter().enumerate() {
        let sha = client.call(&["SCRIPT", "LOAD", SCRIPT]).text();
        assert_eq!(Value::Bulk(sha.clone().into()), cluster.node(0).call(&["SCRIPT", "LOAD", SCRIPT]));
        for at in 0..50 {
            let reply = client.call(&["EVALSHA", &sha, "1", &format!("counter:{at}")]);
            assert_eq!(reply, Value::Integer(round as i64 + 1));
        }
        let both = |client: &mut Connection| client.call(&["SCRIPT", "EXISTS", &sha, &"0".repeat(40)]);
        let values = |first: i64| Value::Array(vec![Value::Integer(first), Value::Integer(0)]);
        assert_eq!(both(&mut client), values(1));
        // one node that does not have it is enough
        assert_eq!(cluster.node(1).call(&["SCRIPT", "FLUSH"]), ok());
        assert_eq!(both(&mut client), values(0));
        client.call(&["SCRIPT", "LOAD", SCRIPT]);
        assert_eq!(both(&mut client), values(1));
        assert_eq!(client.call(&["SCRIPT", "FLUSH", "SYNC"]), ok());
        for node in 0..3 {
            assert_eq!(both(&mut cluster.node(node)), values(0));
        }
    }
}

#[test]
fn what_every_node_refuses_is_refused_in_their_words() {
    let cluster = Cluster::start(3);
    for mut client in cluster.both() {
        for request in [
            &["SCRIPT", "LOAD", "this is no Lua"][..],
            &["SCRIPT", "FLUSH", "NOW"],
            &["FUNCTION", "LOAD", "no library"],
            &["FUNCTION", "DELETE", "nothing"],
            &["FUNCTION", "RESTORE", "garbage"],
            &["FUNCTION", "FLUSH", "x"],
            &["FUNCTION", "LIST", "x"],
            &["FUNCTION", "LIST"],
        ] {
            assert_eq!(client.call(request), cluster.node(0).call(request), "{request:?}");
        }
    }
}

#[test]
fn help_names_what_works() {
    let cluster = Cluster::start(1);
    let mut client = cluster.connect();
    let script: Vec<String> = client.call(&["SCRIPT", "HELP"]).elements().iter().map(Value::text).collect();
    assert!(script.contains(&"LOAD".to_owned()) && !script.contains(&"DEBUG".to_owned()), "{script:?}");
    let refused = client.call(&["SCRIPT", "DEBUG", "NO"]).text();
    assert_eq!(refused, "ERR SCRIPT DEBUG is refused: concerns what runs on one server; connect to the node");
}

#[test]
fn functions_live_on_every_node_or_the_failure_has_a_name() {
    let library = "#!lua name=lib\nredis.register_function('one', function(keys) return redis.call('set', keys[1], 1) end)";
    let cluster = Cluster::start(3);
    if !cluster.node(0).is_redis_7_0() {
        return;
    }
    for mut client in cluster.both() {
        assert_eq!(client.call(&["FUNCTION", "LOAD", library]).text(), "lib");
        for at in 0..20 {
            assert_eq!(client.call(&["FCALL", "one", "1", &format!("key:{at}")]), ok());
        }
        let twice = client.call(&["FUNCTION", "LOAD", library]);
        assert_eq!(twice, cluster.node(2).call(&["FUNCTION", "LOAD", library]));
        assert_eq!(client.call(&["FUNCTION", "LOAD", "REPLACE", library]).text(), "lib");
        let names: Vec<String> = (0..20).map(|at| format!("lib{at}")).collect();
        for name in &names {
            let code = format!(
                "#!lua name={name}\nredis.register_function{{function_name='f_{name}', callback=function() return 1 end, flags={{'no-writes', 'allow-stale'}}}}\nredis.register_function('g_{name}', function() return 1 end)"
            );
            assert_eq!(client.call(&["FUNCTION", "LOAD", &code]).text(), *name);
        }
        let list = client.call(&["FUNCTION", "LIST"]);
        let name_of = |library: &Value| library.field("library_name").expect("a name").text();
        let mut listed: Vec<String> = list.elements().iter().map(name_of).collect();
        listed.sort_unstable();
        let mut expected = [&names[..], &["lib".to_owned()]].concat();
        expected.sort_unstable();
        assert_eq!(listed, expected);
        let some = client.call(&["FUNCTION", "LIST", "LIBRARYNAME", "lib1*", "WITHCODE"]);
        assert_eq!(some.elements().len(), 11);
        assert_eq!(cluster.node(1).call(&["FUNCTION", "DELETE", "lib"]), ok());
        assert_eq!(
            client.call(&["FUNCTION", "LIST"]).text(),
            "ERR node 'node-1' answers otherwise than node 'node-0'"
        );
        let partly = client.call(&["FUNCTION", "DELETE", "lib"]).text();
        assert_eq!(
            partly,
            "ERR Library not found (node 'node-1'; the parts of this command on other nodes ran)"
        );
        assert_eq!(client.call(&["FUNCTION", "LOAD", library]).text(), "lib");
        let dump = match cluster.node(0).call(&["FUNCTION", "DUMP"]) {
            Value::Bulk(bytes) => bytes,
            other => panic!("{other:?}"),
        };
        assert_eq!(client.call(&["FUNCTION", "FLUSH"]), ok());
        let missing = client.call(&["FCALL", "one", "1", "k"]).text();
        assert_eq!(missing, "ERR Function not found");
        assert_eq!(client.call(&[&b"FUNCTION"[..], b"RESTORE", &dump]), ok());
        assert_eq!(client.call(&["FCALL", "one", "1", "k"]), ok());
        assert_eq!(client.call(&["FUNCTION", "FLUSH"]), ok());
    }
}

#[test]
fn a_node_that_joins_or_restarts_knows_the_scripts_that_were_loaded() {
    let cluster = Cluster::start(2);
    let [mut two, mut three] = cluster.both();
    let sha = two.call(&["SCRIPT", "LOAD", SCRIPT]).text();
    two.call(&["SCRIPT", "LOAD", "this is no Lua"]);
    let joining = Server::start();
    let mut nodes = cluster.specs();
    nodes.push(NodeSpec::new("late", joining.address()));
    cluster.apply(nodes);
    let everywhere = |client: &mut Connection| {
        (0..60).map(|at| client.call(&["EVALSHA", &sha, "1", &format!("n:{at}")])).collect::<Vec<_>>()
    };
    assert_eq!(everywhere(&mut two), vec![Value::Integer(1); 60]);
    assert_eq!(everywhere(&mut three), vec![Value::Integer(2); 60]);
    // as after a restart: no script, no connection
    cluster.node(0).call(&["SCRIPT", "FLUSH"]);
    cluster.node(0).call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert_eq!(everywhere(&mut two), vec![Value::Integer(3); 60]);
    assert_eq!(everywhere(&mut three), vec![Value::Integer(4); 60]);
    // what was flushed stays so; what was not, as well
    assert_eq!(two.call(&["SCRIPT", "FLUSH", "NOW"]).text().split(' ').next(), Some("ERR"));
    assert_eq!(two.call(&["SCRIPT", "EXISTS", &sha]), Value::Array(vec![Value::Integer(1)]));
    assert_eq!(two.call(&["SCRIPT", "FLUSH"]), ok());
    cluster.node(0).call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    std::thread::sleep(std::time::Duration::from_millis(700));
    let all_gone = everywhere(&mut two).iter().all(|reply| reply.text().starts_with("NOSCRIPT "));
    assert!(all_gone);
}
