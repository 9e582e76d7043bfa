//! SORT and SORT_RO with patterns: as one server answers them, or refused where a pattern may read keys of other nodes.

use crate::data_types::{assert_one_reply_each, same_answers, same_answers_of};
use crate::support::Cluster;

const NO_TAG: &str = "-ERR the patterns of SORT need a hash tag before their *, such as ";

#[test]
fn sort_finds_keys_by_patterns_that_have_the_hash_tag() {
    same_answers(&[
        "RPUSH {t}l 3 1 2",
        "MSET {t}w_1 30 {t}w_2 10 {t}w_3 20 {t}o_1 a {t}o_2 b",
        "HSET {t}h_1 w 1 name one",
        "HSET {t}h_2 w 3 name two",
        "SORT {t}l BY {t}w_*",
        "SORT {t}l by {t}w_* GET {t}o_* get # DESC",
        "SORT_RO {t}l BY {t}h_*->w GET {t}h_*->name GET #",
        "SORT {t}l BY {t}w_* LIMIT 1 1 STORE {t}sorted",
        "LRANGE {t}sorted 0 -1",
        "SORT {t}l BY nosort GET no-pattern GET {t}o_*",
        "MULTI",
        "SORT {t}l BY {t}w_* GET {t}o_*",
        "EXEC",
        "SORT_RO {t}l BY {t}w_* STORE {t}sorted",
        "SORT {t}l BY {t}w_* NOSUCH",
    ]);
}

#[test]
fn sort_finds_keys_by_any_pattern_on_the_only_node() {
    same_answers_of(
        1,
        &[
            "RPUSH l 3 1 2",
            "MSET w_1 30 w_2 10 w_3 20 {a}1 x {b}2 y",
            "SORT l BY w_* GET # GET {a}* GET *",
            "SORT l BY w_* GET {b}* STORE sorted",
            "LRANGE sorted 0 -1",
            "SORT_RO l BY w_*->f GET w_*",
            "MULTI",
            "SORT l BY w_*",
            "GET w_1",
            "EXEC",
            // the script runs twice on this cluster
            "DEL l w_1 w_2 w_3 {a}1 {b}2 sorted",
        ],
    );
}

#[test]
fn sort_is_refused_where_a_pattern_may_read_other_nodes() {
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    let (here, there) = (cluster.key_of("cache-1"), cluster.key_of("cache-2"));
    client.call(&["RPUSH", &format!("{{{here}}}l"), "1"]);
    let list = format!("{{{here}}}l");
    // a tag behind the * is that of the element if it has one, and an empty tag is none
    for pattern in ["w_*", &format!("*{{{here}}}"), &format!("{{}}{{{here}}}*"), &format!("{{{here}*}}")] {
        for option in ["BY", "GET"] {
            let reply = client.text(&["SORT", &list, option, pattern]);
            assert!(reply.starts_with(NO_TAG), "{pattern}: {reply}");
        }
    }
    let crossslot = "-CROSSSLOT Keys in request don't hash to the same node\r\n";
    assert_eq!(client.text(&["SORT", &list, "BY", &format!("{{{there}}}w_*")]), crossslot);
    let fitting = format!("{{{here}}}w_*");
    let mixed = ["SORT", &list, "BY", &fitting, "GET", "*"];
    assert!(client.text(&mixed).starts_with(NO_TAG));
    client.call(&["MULTI"]);
    assert!(client.text(&mixed).starts_with(NO_TAG));
    assert!(client.text(&["EXEC"]).starts_with("-EXECABORT"));
    assert_one_reply_each(&mut client);
}
