//! Every data type as an application written with redis-rs would use it, in RESP2 and RESP3.

use std::collections::{BTreeSet, HashMap};

use redis::streams::{StreamRangeReply, StreamReadReply};
use redis::{Commands, ErrorKind, RedisResult, Script, ServerErrorKind};

use crate::support::Cluster;

fn in_both_protocols(test: impl Fn(&mut redis::Connection, &str)) {
    let cluster = Cluster::start(3);
    for protocol in [2, 3] {
        test(&mut cluster.connection(protocol), &format!("p{protocol}"));
    }
}

#[test]
fn strings_and_expiry() -> RedisResult<()> {
    in_both_protocols(|c, p| {
        let key = format!("{p}:name");
        let () = c.set(&key, "ada").unwrap();
        assert_eq!(c.get::<_, String>(&key).unwrap(), "ada");
        assert_eq!(c.get::<_, Option<String>>(format!("{p}:none")).unwrap(), None);
        let () = c.set_ex(format!("{p}:short"), 1, 1000).unwrap();
        assert!((990..=1000).contains(&c.ttl::<_, i64>(format!("{p}:short")).unwrap()));
        assert!(c.persist::<_, bool>(format!("{p}:short")).unwrap());
        assert_eq!(c.incr::<_, _, i64>(format!("{p}:n"), 41).unwrap(), 41);
        assert_eq!(c.incr::<_, _, f64>(format!("{p}:n"), 0.5).unwrap(), 41.5);
        let pairs: Vec<(String, u32)> = (0..50).map(|n| (format!("{p}:m{n}"), n)).collect();
        let () = c.mset(&pairs).unwrap();
        let keys: Vec<&String> = pairs.iter().map(|(key, _)| key).collect();
        let values: Vec<u32> = c.mget(&keys).unwrap();
        assert_eq!(values, (0..50).collect::<Vec<_>>());
        assert_eq!(c.del::<_, u32>(&keys).unwrap(), 50);
    });
    Ok(())
}

#[test]
fn hashes_lists_and_sets() {
    in_both_protocols(|c, p| {
        let (hash, list, set) = (format!("{p}:hash"), format!("{p}:list"), format!("{p}:set"));
        let () = c.hset_multiple(&hash, &[("a", 1), ("b", 2)]).unwrap();
        let all: HashMap<String, i32> = c.hgetall(&hash).unwrap();
        assert_eq!(all, HashMap::from([("a".into(), 1), ("b".into(), 2)]));
        let some: (i32, Option<i32>) = c.hmget(&hash, &["a", "none"]).unwrap();
        assert_eq!(some, (1, None));

        let () = c.rpush(&list, &["x", "y", "z"]).unwrap();
        assert_eq!(c.lrange::<_, Vec<String>>(&list, 0, -1).unwrap(), ["x", "y", "z"]);
        assert_eq!(c.lpop::<_, String>(&list, None).unwrap(), "x");
        assert_eq!(c.llen::<_, usize>(&list).unwrap(), 2);

        let () = c.sadd(&set, &["one", "two", "three"]).unwrap();
        let members: BTreeSet<String> = c.smembers(&set).unwrap();
        assert_eq!(members, BTreeSet::from(["one".into(), "two".into(), "three".into()]));
        assert!(c.sismember::<_, _, bool>(&set, "two").unwrap());
    });
}

#[test]
fn sorted_sets_geo_and_hyperloglogs() {
    in_both_protocols(|c, p| {
        let (board, map, seen) = (format!("{p}:board"), format!("{p}:map"), format!("{p}:seen"));
        let () = c.zadd_multiple(&board, &[(1.5, "bronze"), (2.5, "silver"), (3.5, "gold")]).unwrap();
        let range: Vec<(String, f64)> = c.zrange_withscores(&board, 0, -1).unwrap();
        assert_eq!(range[0], ("bronze".into(), 1.5));
        assert_eq!(c.zscore::<_, _, Option<f64>>(&board, "gold").unwrap(), Some(3.5));
        assert_eq!(c.zrank::<_, _, Option<usize>>(&board, "none").unwrap(), None);
        let popped: Vec<(String, f64)> = c.zpopmin(&board, 1).unwrap();
        assert_eq!(popped, [("bronze".into(), 1.5)]);

        let () = c.geo_add(&map, (redis::geo::Coord::lon_lat(13.361389, 38.115556), "Palermo")).unwrap();
        let () = c.geo_add(&map, (redis::geo::Coord::lon_lat(15.087269, 37.502669), "Catania")).unwrap();
        let distance: f64 = c.geo_dist(&map, "Palermo", "Catania", redis::geo::Unit::Kilometers).unwrap();
        assert!((166.0..167.0).contains(&distance), "{distance}");

        let () = c.pfadd(&seen, &["a", "b", "c"]).unwrap();
        assert_eq!(c.pfcount::<_, u32>(&seen).unwrap(), 3);
        assert!(!c.setbit::<_, bool>(format!("{p}:bits"), 9, true).unwrap());
        assert_eq!(c.bitcount::<_, u32>(format!("{p}:bits")).unwrap(), 1);
    });
}

#[test]
fn streams_and_groups() {
    in_both_protocols(|c, p| {
        let log = format!("{p}:log");
        let ids: Vec<String> = (0..5).map(|n| c.xadd(&log, "*", &[("n", n)]).unwrap()).collect();
        let range: StreamRangeReply = c.xrange_all(&log).unwrap();
        assert_eq!(range.ids.iter().map(|entry| entry.id.clone()).collect::<Vec<_>>(), ids);
        let () = c.xgroup_create(&log, "workers", "0").unwrap();
        let options = redis::streams::StreamReadOptions::default().group("workers", "one").count(3);
        let read: StreamReadReply = c.xread_options(&[&log], &[">"], &options).unwrap();
        assert_eq!(read.keys[0].ids.len(), 3);
        assert_eq!(c.xack::<_, _, _, u32>(&log, "workers", &ids[..3]).unwrap(), 3);
    });
}

#[test]
fn scripts_by_digest_with_their_fallback() {
    in_both_protocols(|c, p| {
        let script = Script::new("redis.call('SET', KEYS[1], ARGV[1]); return redis.call('STRLEN', KEYS[1])");
        for n in 0..30 {
            let key = format!("{p}:script:{n}");
            // the digest must be known to, or taught to, whichever node owns the key
            let length: i64 = redis::cmd("EVALSHA")
                .arg(script.get_hash())
                .arg(1)
                .arg(&key)
                .arg("value")
                .query(c)
                .or_else(|error: redis::RedisError| {
                    assert_eq!(error.kind(), ErrorKind::Server(ServerErrorKind::NoScript), "{error}");
                    let code = "redis.call('SET', KEYS[1], ARGV[1]); return redis.call('STRLEN', KEYS[1])";
                    redis::cmd("EVAL").arg(code).arg(1).arg(&key).arg("value").query(c)
                })
                .unwrap();
            assert_eq!(length, 5);
        }
    });
}

#[test]
fn pipelines_and_errors() {
    in_both_protocols(|c, p| {
        let mut pipeline = redis::pipe();
        for n in 0..500 {
            pipeline.set(format!("{p}:k{n}"), n).ignore();
        }
        for n in 0..500 {
            pipeline.get(format!("{p}:k{n}"));
        }
        let values: Vec<u32> = pipeline.query(c).unwrap();
        assert_eq!(values, (0..500).collect::<Vec<_>>());

        let () = c.set(format!("{p}:text"), "text").unwrap();
        let error = c.lpush::<_, _, ()>(format!("{p}:text"), 1).unwrap_err();
        assert_eq!(error.code(), Some("WRONGTYPE"), "{error}");
        let error = c.incr::<_, _, i64>(format!("{p}:text"), 1).unwrap_err();
        assert_eq!(error.detail(), Some("value is not an integer or out of range"), "{error}");
    });
}

#[test]
fn a_hundred_connections_at_once() {
    let cluster = Cluster::start(3);
    std::thread::scope(|scope| {
        for thread in 0..10 {
            let cluster = &cluster;
            scope.spawn(move || {
                let mut connections: Vec<_> = (0..10).map(|n| cluster.connection(2 + n % 2)).collect();
                for round in 0..50 {
                    for (at, connection) in connections.iter_mut().enumerate() {
                        let key = format!("own:{thread}:{at}");
                        let () = connection.set(&key, round).unwrap();
                        assert_eq!(connection.get::<_, i32>(&key).unwrap(), round);
                    }
                }
            });
        }
    });
}
