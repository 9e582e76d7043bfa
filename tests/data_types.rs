//! Every data type, byte for byte: the same script runs through the proxy and on a bare server, and both must answer the
//! same, in RESP2 and in RESP3. Keys of one script share a hash tag, so that commands with several keys have one node.

use crate::support::{Cluster, RawClient, RedisServer};

/// Words of a line; double quotes hold a word with spaces together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('"').enumerate() {
        match at % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

pub(crate) fn same_answers(script: &[&str]) {
    same_answers_of(3, script);
}

/// The same with so many nodes behind the proxy.
pub(crate) fn same_answers_of(nodes: usize, script: &[&str]) {
    let cluster = Cluster::start(nodes);
    for protocol in ["2", "3"] {
        let bare = RedisServer::start();
        let mut through = cluster.client();
        let mut direct = bare.client();
        for client in [&mut through, &mut direct] {
            client.call(&["HELLO", protocol]);
        }
        for (at, line) in script.iter().enumerate() {
            // another tag per protocol: other keys, perhaps another node
            let args = words(&line.replace("{t}", &format!("{{tag{protocol}}}")));
            let expected = direct.call(&args);
            let got = through.call(&args);
            assert_eq!(
                String::from_utf8_lossy(&got),
                String::from_utf8_lossy(&expected),
                "RESP{protocol}, line {at}: {line}"
            );
        }
        assert_one_reply_each(&mut through);
    }
}

/// Nothing is left over: the next reply is that of the next command.
pub(crate) fn assert_one_reply_each(client: &mut RawClient) {
    assert_eq!(client.text(&["ECHO", "the end"]), "$7\r\nthe end\r\n");
}

#[test]
fn strings() {
    same_answers(&[
        "SET {t}s hello",
        "GET {t}s",
        "GET {t}none",
        "APPEND {t}s \" world\"",
        "STRLEN {t}s",
        "GETRANGE {t}s 0 4",
        "SUBSTR {t}s 0 4",
        "SETRANGE {t}s 6 WORLD",
        "GETSET {t}s new",
        "SET {t}s x NX",
        "SET {t}s y XX GET",
        "SET {t}s z EX 100",
        "SETNX {t}n 1",
        "INCR {t}n",
        "INCRBY {t}n 40",
        "DECR {t}n",
        "DECRBY {t}n 5",
        "INCRBYFLOAT {t}n 0.5",
        "INCR {t}n",
        "SETEX {t}e 100 v",
        "PSETEX {t}p 100000 v",
        "GETEX {t}e PERSIST",
        "TTL {t}e",
        "GETDEL {t}p",
        "GET {t}p",
        "MSET {t}a 1 {t}b 2",
        "MGET {t}a {t}none {t}b",
        "MSETNX {t}a 9 {t}c 9",
        "MSETNX {t}d 4 {t}f 5",
        "MGET {t}c {t}d",
        "SET {t}l1 ohmytext",
        "SET {t}l2 mynewtext",
        "LCS {t}l1 {t}l2",
        "LCS {t}l1 {t}l2 IDX WITHMATCHLEN",
        "SET {t}s",
        "SETEX {t}e 0 v",
        "SET {t}empty \"\"",
        "GET {t}empty",
        "STRLEN {t}empty",
    ]);
}

#[test]
fn hashes() {
    same_answers(&[
        "HSET {t}h a 1 b 2",
        "HGET {t}h a",
        "HGET {t}h none",
        "HMGET {t}h a none b",
        "HGETALL {t}h",
        "HMSET {t}h c 3",
        "HSETNX {t}h a 9",
        "HINCRBY {t}h a 41",
        "HINCRBYFLOAT {t}h b 0.5",
        "HLEN {t}h",
        "HEXISTS {t}h a",
        "HKEYS {t}h",
        "HVALS {t}h",
        "HSTRLEN {t}h a",
        "HSCAN {t}h 0",
        "HSCAN {t}h 0 MATCH a* COUNT 100",
        "HDEL {t}h a b none",
        "HGETALL {t}h",
        "HRANDFIELD {t}h",
        "HRANDFIELD {t}h 2 WITHVALUES",
        "HGETALL {t}none",
        "SET {t}s x",
        "HGET {t}s a",
        "HINCRBY {t}h c x",
    ]);
}

#[test]
fn lists() {
    same_answers(&[
        "RPUSH {t}l a b c",
        "LPUSH {t}l z",
        "LRANGE {t}l 0 -1",
        "LLEN {t}l",
        "LINDEX {t}l 1",
        "LINDEX {t}l 99",
        "LSET {t}l 0 y",
        "LSET {t}l 99 y",
        "LINSERT {t}l BEFORE b aa",
        "LPOS {t}l c",
        "LPOS {t}l none",
        "LPOS {t}l c COUNT 0",
        "LPUSHX {t}l q",
        "RPUSHX {t}none q",
        "LREM {t}l 0 q",
        "LTRIM {t}l 0 3",
        "RPOPLPUSH {t}l {t}m",
        "LMOVE {t}l {t}m LEFT RIGHT",
        "LRANGE {t}m 0 -1",
        "LPOP {t}l",
        "RPOP {t}l 5",
        "LPOP {t}l",
        "LPOP {t}l 2",
        "LMPOP 2 {t}l {t}m LEFT COUNT 2",
        "LMPOP 1 {t}none LEFT",
        "LRANGE {t}none 0 -1",
        "LPUSH {t}l",
    ]);
}

#[test]
fn sets() {
    // integers only: a set of small integers is kept sorted, so that both servers list it alike
    same_answers(&[
        "SADD {t}s 1 2 3",
        "SADD {t}s 3",
        "SMEMBERS {t}s",
        "SCARD {t}s",
        "SISMEMBER {t}s 2",
        "SMISMEMBER {t}s 2 9",
        "SADD {t}u 3 4",
        "SINTER {t}s {t}u",
        "SUNION {t}s {t}u",
        "SDIFF {t}s {t}u",
        "SINTERSTORE {t}i {t}s {t}u",
        "SUNIONSTORE {t}v {t}s {t}u",
        "SDIFFSTORE {t}d {t}s {t}u",
        "SINTERCARD 2 {t}s {t}u LIMIT 1",
        "SMOVE {t}s {t}u 1",
        "SREM {t}s 2 9",
        "SMEMBERS {t}s",
        "SRANDMEMBER {t}s",
        "SPOP {t}s",
        "SPOP {t}s",
        "SPOP {t}none 3",
        "SSCAN {t}u 0",
        "SMEMBERS {t}none",
        "SINTERCARD 0 {t}s",
    ]);
}

#[test]
fn sorted_sets() {
    same_answers(&[
        "ZADD {t}z 1 a 2 b 3 c",
        "ZADD {t}z XX CH 1.5 a",
        "ZADD {t}z INCR 2 a",
        "ZADD {t}z NX INCR 2 a",
        "ZSCORE {t}z a",
        "ZSCORE {t}z none",
        "ZMSCORE {t}z a none",
        "ZRANGE {t}z 0 -1",
        "ZRANGE {t}z 0 -1 WITHSCORES",
        "ZREVRANGE {t}z 0 0 WITHSCORES",
        "ZRANGEBYSCORE {t}z (1 +inf LIMIT 0 2",
        "ZREVRANGEBYSCORE {t}z +inf -inf",
        "ZRANK {t}z b",
        "ZREVRANK {t}z none",
        "ZCOUNT {t}z 2 3",
        "ZCARD {t}z",
        "ZINCRBY {t}z 0.25 b",
        "ZADD {t}y 7 a 8 q",
        "ZUNION 2 {t}z {t}y WITHSCORES",
        "ZINTER 2 {t}z {t}y WEIGHTS 2 1 WITHSCORES",
        "ZDIFF 2 {t}z {t}y",
        "ZUNIONSTORE {t}u 2 {t}z {t}y AGGREGATE MAX",
        "ZINTERSTORE {t}i 2 {t}z {t}y",
        "ZDIFFSTORE {t}d 2 {t}z {t}y",
        "ZINTERCARD 2 {t}z {t}y",
        "ZRANGESTORE {t}r {t}z 0 1",
        "ZPOPMIN {t}u",
        "ZPOPMAX {t}u 2",
        "ZMPOP 1 {t}z MIN COUNT 2",
        "ZMPOP 1 {t}none MAX",
        "ZADD {t}l 0 a 0 b 0 c",
        "ZRANGEBYLEX {t}l [a (c",
        "ZREVRANGEBYLEX {t}l + -",
        "ZLEXCOUNT {t}l - +",
        "ZREMRANGEBYLEX {t}l [a [a",
        "ZREMRANGEBYRANK {t}l 0 0",
        "ZREMRANGEBYSCORE {t}l 0 0",
        "ZREM {t}y a none",
        "ZSCAN {t}y 0",
        "ZRANDMEMBER {t}y",
        "ZADD {t}y inf top",
        "ZSCORE {t}y top",
        "ZADD {t}y nan x",
        "ZUNION 0 {t}y",
    ]);
}

#[test]
fn streams() {
    same_answers(&[
        "XADD {t}x 1-1 f v g w",
        "XADD {t}x 2-1 f v2",
        "XADD {t}x 1-0 f late",
        "XLEN {t}x",
        "XRANGE {t}x - +",
        "XREVRANGE {t}x + - COUNT 1",
        "XREAD COUNT 10 STREAMS {t}x 0",
        "XREAD STREAMS {t}x {t}none 0 0",
        "XREAD STREAMS {t}x $",
        "XGROUP CREATE {t}x g 0",
        "XGROUP CREATE {t}x g 0",
        "XREADGROUP GROUP g one COUNT 1 STREAMS {t}x >",
        "XREADGROUP GROUP g one STREAMS {t}x 0",
        "XPENDING {t}x g",
        "XACK {t}x g 1-1 9-9",
        "XGROUP CREATECONSUMER {t}x g two",
        "XREADGROUP GROUP g two STREAMS {t}x >",
        "XCLAIM {t}x g one 0 2-1 JUSTID",
        "XAUTOCLAIM {t}x g two 0 0 JUSTID",
        "XINFO GROUPS {t}x",
        "XINFO STREAM {t}x",
        "XGROUP SETID {t}x g 0",
        "XGROUP DELCONSUMER {t}x g two",
        "XGROUP DESTROY {t}x g",
        "XDEL {t}x 1-1",
        "XTRIM {t}x MAXLEN 0",
        "XSETID {t}x 5-0",
        "XADD {t}x NOMKSTREAM MAXLEN ~ 10 6-0 f v",
        "XLEN {t}x",
        "XREAD STREAMS {t}x",
        "XADD {t}x 7-0 odd",
    ]);
}

#[test]
fn bitmaps_and_hyperloglogs() {
    same_answers(&[
        "SETBIT {t}b 7 1",
        "SETBIT {t}b 7 0",
        "SETBIT {t}b 100 1",
        "GETBIT {t}b 100",
        "BITCOUNT {t}b",
        "BITCOUNT {t}b 0 50 BIT",
        "BITPOS {t}b 1",
        "BITFIELD {t}b SET u8 0 255 INCRBY u8 0 10 OVERFLOW FAIL INCRBY u8 0 255",
        "BITFIELD_RO {t}b GET u8 0",
        "SET {t}c abc",
        "BITOP AND {t}d {t}b {t}c",
        "BITOP NOT {t}e {t}c",
        "GET {t}e",
        "SETBIT {t}b -1 1",
        "PFADD {t}p a b c",
        "PFADD {t}p a",
        "PFCOUNT {t}p",
        "PFADD {t}q c d",
        "PFCOUNT {t}p {t}q",
        "PFMERGE {t}r {t}p {t}q",
        "PFCOUNT {t}r",
        "PFADD {t}c x",
    ]);
}

#[test]
fn geo() {
    same_answers(&[
        "GEOADD {t}g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
        "GEODIST {t}g Palermo Catania km",
        "GEODIST {t}g Palermo none",
        "GEOHASH {t}g Palermo none",
        "GEOPOS {t}g Palermo none",
        "GEOSEARCH {t}g FROMLONLAT 15 37 BYRADIUS 200 km ASC WITHDIST WITHCOORD",
        "GEOSEARCH {t}g FROMMEMBER Palermo BYBOX 400 400 km ASC",
        "GEOSEARCHSTORE {t}h {t}g FROMLONLAT 15 37 BYRADIUS 200 km STOREDIST",
        "ZCARD {t}h",
        "GEORADIUS {t}g 15 37 200 km ASC",
        "GEORADIUS {t}g 15 37 200 km STORE {t}i",
        "GEORADIUSBYMEMBER {t}g Palermo 200 km ASC",
        "GEORADIUS_RO {t}g 15 37 200 km ASC",
        "GEORADIUSBYMEMBER_RO {t}g Palermo 200 km ASC",
        "GEOADD {t}g 999 0 nowhere",
    ]);
}

#[test]
fn scripts() {
    same_answers(&[
        "EVAL \"return {KEYS[1],KEYS[2],ARGV[1]}\" 2 {t}a {t}b c",
        "EVAL \"return redis.call('set',KEYS[1],ARGV[1])\" 1 {t}a v",
        "EVAL \"return redis.call('get',KEYS[1])\" 1 {t}a",
        "EVALSHA fd758d1589d044dd850a6f05d52f2eefd27f033f 1 {t}a",
        "EVALSHA ffffffffffffffffffffffffffffffffffffffff 1 {t}a",
        "EVAL_RO \"return redis.call('get',KEYS[1])\" 1 {t}a",
        "EVALSHA_RO fd758d1589d044dd850a6f05d52f2eefd27f033f 1 {t}a",
        "EVAL \"return redis.error_reply('MY error')\" 1 {t}a",
        "EVAL \"return {1,2.5,'x',false,{ok='fine'},{}}\" 0",
        "EVAL \"return redis.call('lpush',KEYS[1],1)\" 1 {t}a",
        "EVAL \"syntax error\" 0",
        "EVAL \"return 1\" -1",
        "EVAL \"return 1\" 99 {t}a",
        "EVAL \"return 1\" x",
        "EVAL \"return 1\"",
        "FUNCTION LOAD REPLACE \"#!lua name=l\nredis.register_function('f', function() return 1 end)\"",
        "FCALL f 0",
        "FCALL f x {t}a",
        "FCALL f -1 {t}a",
        "FCALL f 99 {t}a",
        "FCALL_RO f 1.5 {t}a",
        "EVAL \"redis.setresp(3); return redis.call('hgetall',KEYS[1])\" 1 {t}none",
    ]);
}

#[test]
fn keys_as_such() {
    same_answers(&[
        "RPUSH {t}l 3 1 2",
        "SORT {t}l",
        "SORT {t}l DESC LIMIT 0 2",
        "SORT {t}l STORE {t}sorted",
        "LRANGE {t}sorted 0 -1",
        "SORT_RO {t}l",
        "SORT {t}l ALPHA",
        "MSET {t}w_1 30 {t}w_2 20 {t}w_3 10 {t}n_1 one {t}n_3 three",
        "HSET {t}h_2 name two",
        "SORT {t}l BY {t}w_*",
        "SORT {t}l BY {t}w_* GET # GET {t}n_* GET {t}h_*->name",
        "SORT_RO {t}l by {t}w_* DESC get {t}n_*",
        "SORT {t}l BY nosort GET {t}n_* GET nothing",
        "SORT {t}l BY {t}w_* STORE {t}sorted",
        "LRANGE {t}sorted 0 -1",
        "SORT {t}l BY {t}w_* nonsense GET *",
        "COPY {t}l {t}copy",
        "COPY {t}l {t}copy",
        "COPY {t}l {t}copy REPLACE",
        "TYPE {t}copy",
        "TYPE {t}none",
        "OBJECT ENCODING {t}l",
        "OBJECT REFCOUNT {t}l",
        "OBJECT ENCODING {t}none",
        "OBJECT FREQ {t}l",
        "SET {t}d payload",
        "DUMP {t}d",
        "DUMP {t}none",
        "RENAME {t}d {t}e",
        "RENAMENX {t}e {t}l",
        "RENAME {t}none {t}x",
        "EXPIRE {t}e 1000",
        "EXPIRE {t}e 500 GT",
        "EXPIRE {t}none 10",
        "TTL {t}e",
        "PERSIST {t}e",
        "TTL {t}e",
        "TTL {t}none",
        "PEXPIRE {t}e 1000000 NX",
        "EXPIREAT {t}e 33177117420",
        "EXPIRETIME {t}e",
        "PEXPIREAT {t}e 33177117420000",
        "PEXPIRETIME {t}e",
        "EXPIRE {t}e x",
        "EXPIRE {t}e 0",
        "EXISTS {t}e",
        "EXISTS {t}l {t}l {t}none",
        "TOUCH {t}l {t}copy {t}none",
        "UNLINK {t}copy {t}none",
        "DEL {t}l {t}sorted",
        "DEL {t}l",
    ]);
}

#[test]
fn dump_and_restore_carry_binary_payloads() {
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    client.call(&["HSET", "{d}from", "field", "v\r\n\0lue"]);
    let dump = client.call(&["DUMP", "{d}from"]);
    let head = dump.iter().position(|&byte| byte == b'\n').expect("a bulk") + 1;
    let payload = dump[head..dump.len() - 2].to_vec();
    // the copy goes to a key that any node may own
    for n in 0..20 {
        let key = format!("copy:{n}").into_bytes();
        let reply = client.call(&[b"RESTORE".to_vec(), key.clone(), b"0".to_vec(), payload.clone()]);
        assert_eq!(reply, b"+OK\r\n");
        let value = client.call(&[b"HGET".to_vec(), key.clone(), b"field".to_vec()]);
        assert_eq!(value, b"$7\r\nv\r\n\0lue\r\n");
        let again = client.call(&[b"RESTORE".to_vec(), key, b"0".to_vec(), payload.clone()]);
        assert!(again.starts_with(b"-BUSYKEY"));
    }
}

#[test]
fn every_key_lies_on_the_node_that_owns_it_and_nowhere_else() {
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    let commands: [&[&str]; 6] = [
        &["SET", "K", "v"],
        &["RPUSH", "K", "v"],
        &["HSET", "K", "f", "v"],
        &["SADD", "K", "v"],
        &["ZADD", "K", "1", "v"],
        &["XADD", "K", "*", "f", "v"],
    ];
    for n in 0..120 {
        let key = format!("where:{n}");
        let args: Vec<&str> = commands[n % commands.len()]
            .iter()
            .map(|word| if *word == "K" { key.as_str() } else { word })
            .collect();
        let reply = client.call(&args);
        assert!(!reply.starts_with(b"-"), "{}", String::from_utf8_lossy(&reply));
        for (at, server) in cluster.nodes.iter().enumerate() {
            let here = crate::support::harness::node_name(at) == cluster.owner(&key);
            assert_eq!(server.call::<bool>(&["EXISTS", &key]), here, "{key}");
        }
    }
}
